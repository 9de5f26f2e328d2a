/*
 * transformer.h: the Llama transformer over a range of layers, one token at a time.
 *
 * A shard that runs the whole model calls, for each position: transformer_embed, transformer_layers,
 * transformer_logits. A pipeline stage calls only the ones of its part and passes `x` on. Nothing here makes a
 * system call or allocates: the caller provides the memory.
 *
 * Read next: transformer.c, which reads like the paper; checkpoint.h for the shapes of the weights.
 */
#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include <stddef.h>

#include "checkpoint.h"

struct transformer {
	const struct checkpoint *model;
	int first_layer;
	int last_layer; /* inclusive */
	float *x;       /* (dim) the residual stream: what one layer hands to the next */
	/* Scratch of one layer. All arrays are 16-byte aligned and have room for a multiple of four floats. */
	float *normed;  /* (dim) x after RMSNorm */
	float *mixed;   /* (dim) what attention or the feed-forward block adds to x */
	float *gate;    /* (hidden) */
	float *up;      /* (hidden) */
	float *q;       /* (dim) queries of this position */
	float *k;       /* (kv_dim) key of this position */
	float *v;       /* (kv_dim) value of this position */
	float *lanes;   /* (head, 4) the query of one head, each number four times */
	float *scores;  /* (seq) attention of one head to each position */
	float *logits;  /* (vocab), only where last_layer is the model's last */
	/* The KV cache: keys and values of all positions so far, in blocks of four positions, so that four
	 * scores are computed at a time: (own layer, kv_head, seq / 4, head, 4), head_size rounded up to eights. */
	float *key_cache;
	float *value_cache;
};

size_t transformer_memory(const struct checkpoint *model, int first_layer, int last_layer);
void transformer_init(struct transformer *t, const struct checkpoint *model, int first_layer, int last_layer,
	void *memory);
void transformer_embed(struct transformer *t, int token);
void transformer_layers(struct transformer *t, int pos);
float *transformer_logits(struct transformer *t);

#endif
