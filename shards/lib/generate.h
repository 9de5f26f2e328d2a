/*
 * generate.h: the loop around the forward pass: which token comes next, what it prints, when the text ends.
 *
 * It is a state machine without the forward pass, so that a pipeline stage, which gets its activations from
 * another shard, and the host's tests drive the same one.
 *
 * Read next: generate.c, llama-inference/main.c.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include <stdint.h>

#include "sampler.h"
#include "tokenizer.h"

struct generation {
	const struct tokenizer *tokenizer;
	struct sampler sampler;
	struct candidate *candidates; /* (vocab), memory for the sampler */
	const int *prompt;            /* tokens that the text begins with, BOS first */
	int n_prompt;
	int steps;                    /* positions to run, at most seq_len */
	int pos;                      /* positions that have been run */
	int token;                    /* the token to run at `pos` */
	int hash_logits;              /* keep a hash of the logits: costs time */
	uint64_t logits_hash;         /* FNV-1a of the logits of all positions that needed them */
};

void generation_start(struct generation *g, const int *prompt, int n_prompt, int steps);
int generation_needs_logits(const struct generation *g);
int generation_next(struct generation *g, float *logits, struct text *piece, char *byte);

#endif
