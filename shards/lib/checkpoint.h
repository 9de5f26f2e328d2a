/*
 * checkpoint.h: a llama2.c "v0" checkpoint in memory: what its header says and where its weights are.
 *
 * The file is a header of seven int32, then float32 arrays without any padding. It is trusted in nothing: a
 * struct checkpoint that checkpoint_parse() has filled describes a file whose size fits its header to the byte.
 *
 * Read next: checkpoint.c for the checks, transformer.c for the use.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include <stddef.h>

struct checkpoint {
	/* The header. */
	int dim;        /* width of the residual stream */
	int hidden_dim; /* width inside the feed-forward block */
	int n_layers;
	int n_heads;    /* query heads */
	int n_kv_heads; /* key and value heads, each shared by n_heads / n_kv_heads query heads */
	int vocab_size;
	int seq_len;    /* positions of the context */
	/* What follows from it. */
	int head_size;  /* dim / n_heads */
	int kv_dim;     /* n_kv_heads * head_size */
	/* The weights, inside the file, in its order. */
	const float *token_embedding; /* (vocab, dim) */
	const float *attention_norm;  /* (layer, dim) */
	const float *wq;              /* (layer, dim, dim) */
	const float *wk;              /* (layer, kv_dim, dim) */
	const float *wv;              /* (layer, kv_dim, dim) */
	const float *wo;              /* (layer, dim, dim) */
	const float *ffn_norm;        /* (layer, dim) */
	const float *w1;              /* (layer, hidden, dim) gate */
	const float *w2;              /* (layer, dim, hidden) down */
	const float *w3;              /* (layer, hidden, dim) up */
	const float *final_norm;      /* (dim) */
	const float *rope_cos;        /* (seq, head_size / 2) */
	const float *rope_sin;        /* (seq, head_size / 2) */
	const float *classifier;      /* (vocab, dim), the embedding itself when they are tied */
};

const char *checkpoint_parse(struct checkpoint *model, const void *bytes, size_t size);

#endif
