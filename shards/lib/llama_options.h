/*
 * llama_options.h: what the args of the two inference shards may say.
 *
 * Read next: llama_options.c.
 */
#ifndef LLAMA_OPTIONS_H
#define LLAMA_OPTIONS_H

#include <stdint.h>

#include "shardlib.h"

struct llama_options {
	struct text model;     /* model=/model.bin */
	struct text tokenizer; /* tokenizer=/tokenizer.bin */
	uint64_t steps;        /* steps=256 positions at most; 0 is all that the context holds */
	float temperature;     /* temperature=0 */
	float top_p;           /* topp=0.9 */
	uint64_t seed;         /* seed=42 */
	uint64_t logits;       /* logits=1 prints a hash of all logits at the end */
	const char *prompt;    /* prompt= and all that follows; terminated, empty by default */
};

const char *llama_options_parse(struct llama_options *options, const char *args);

#endif
