/*
 * sampler.h: chooses the next token from the logits, greedily or by chance, as llama2.c does.
 *
 * Read next: sampler.c, generate.c.
 */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stdint.h>

struct sampler {
	float temperature; /* 0 is greedy; above, the higher the bolder */
	float top_p;       /* in 0..1; 0 and 1 mean that no token is left out */
	uint64_t state;    /* of the random numbers; never 0 */
};

/* A token that top-p sampling may choose. */
struct candidate {
	float probability;
	int token;
};

int sampler_argmax(const float *logits, int n);
float sampler_coin(struct sampler *sampler);
int sampler_choose(struct sampler *sampler, float *logits, int n, struct candidate *candidates);

#endif
