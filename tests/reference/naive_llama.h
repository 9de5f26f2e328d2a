/*
 * naive_llama.h: a second, independent implementation of Llama inference, to compare the shards' with.
 *
 * It is as plain as the formulas: one number after the other, every sum from left to right in float, libm for the
 * functions, malloc for the memory. It trusts its files and shares no code with shards/lib.
 *
 * Read next: naive_llama.c.
 */
#ifndef NAIVE_LLAMA_H
#define NAIVE_LLAMA_H

#include <stdint.h>

struct naive_model {
	int dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
	int separate_classifier;
	const float *weights; /* all arrays of the file, after its header */
	float *keys, *values; /* (layer, seq, kv_dim) */
	float *logits;        /* (vocab) */
};

struct naive_tokenizer {
	int vocab_size;
	char **text;
	float *score;
	int *by_text; /* tokens sorted by text */
};

struct naive_sampler {
	float temperature, top_p;
	uint64_t state;
};

/* Returns the number of floats of a file with these sizes, its seven integers not counted. */
long naive_model_floats(const struct naive_model *m);
/* Reads the file's bytes, which stay in use. */
struct naive_model *naive_model_new(const void *file);
void naive_model_free(struct naive_model *m);
/* Runs one position. Returns the logits (vocab), which may be overwritten. */
float *naive_forward(struct naive_model *m, int token, int pos);

struct naive_tokenizer *naive_tokenizer_new(const void *file, int vocab_size);
void naive_tokenizer_free(struct naive_tokenizer *t);
/* Encodes BOS and the string into `tokens`, which has room for strlen(string) + 2. Returns how many there are. */
int naive_encode(const struct naive_tokenizer *t, const char *string, int *tokens);
/* Returns what to print for `token`. `byte` has room for two characters. */
const char *naive_decode(const struct naive_tokenizer *t, int previous, int token, char *byte);

/* Chooses the next token; overwrites the logits. */
int naive_sample(struct naive_sampler *s, float *logits, int n);

#endif
