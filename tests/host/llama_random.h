/*
 * llama_random.h: random checkpoints and vocabularies for the tests of the transformer.
 *
 * Random weights are a harder test than trained ones: nothing is small, and no mistake averages out. Every block is
 * allocated with exactly its size, so that the sanitizer sees a read of one byte too many.
 */
#ifndef LLAMA_RANDOM_H
#define LLAMA_RANDOM_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../reference/naive_llama.h"

/* The header of a checkpoint; a negative vocab_size means a separate classifier. */
struct shape {
	int dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
};

static uint64_t random_state = 0x9E3779B97F4A7C15ull;

static inline uint32_t random_u32(void) {
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 32);
}

/* Returns a number around 0 with a standard deviation of about 1: the sum of three uniform ones. */
static inline float random_float(void) {
	float sum = 0;

	for (int i = 0; i < 3; i++)
		sum += (float)random_u32() / 2147483648.0f - 1.0f;
	return sum;
}

/* Returns the floats of a model of this shape, without its header. */
static inline size_t shape_floats(const struct shape *shape) {
	struct naive_model m = {
		.dim = shape->dim, .hidden_dim = shape->hidden_dim, .n_layers = shape->n_layers,
		.n_heads = shape->n_heads, .n_kv_heads = shape->n_kv_heads, .vocab_size = abs(shape->vocab_size),
		.seq_len = shape->seq_len, .separate_classifier = shape->vocab_size < 0,
	};

	return (size_t)naive_model_floats(&m);
}

/* Returns a checkpoint of this shape with random weights, and its size. */
static inline void *random_checkpoint(const struct shape *shape, size_t *size) {
	size_t floats = shape_floats(shape), half = (size_t)(shape->dim / shape->n_heads / 2);
	size_t angles = (size_t)shape->seq_len * half;
	size_t classifier = shape->vocab_size < 0 ? (size_t)-shape->vocab_size * (size_t)shape->dim : 0;
	float *weights, *tables;
	char *file;

	*size = sizeof(*shape) + floats * sizeof(float);
	file = malloc(*size);
	memcpy(file, shape, sizeof(*shape));
	weights = (float *)(file + sizeof(*shape));
	for (size_t i = 0; i < floats; i++)
		weights[i] = random_float() * 1.2f / sqrtf((float)shape->dim);
	/* Embeddings of size one, and the tables of RoPE. */
	for (size_t i = 0; i < (size_t)abs(shape->vocab_size) * (size_t)shape->dim; i++)
		weights[i] *= sqrtf((float)shape->dim);
	tables = weights + floats - classifier - 2 * angles;
	for (size_t i = 0; i < angles; i++) {
		float angle = (float)(i / half) / powf(10000.0f, (float)(i % half) / (float)half);
		tables[i] = cosf(angle);
		tables[angles + i] = sinf(angle);
	}
	return file;
}

/* Returns a tokenizer file with `vocab_size` random tokens, and its size: the three special ones, byte tokens if there
 * is room, letters, and merges of them with random scores (equal ones among them). */
static inline void *random_tokenizer(int vocab_size, size_t *size) {
	char text[16], *file = malloc(4 + (size_t)vocab_size * (8 + sizeof(text))), *at = file + 4;
	int longest = 16, len;

	memcpy(file, &longest, 4);
	for (int token = 0; token < vocab_size; token++) {
		float score = -(float)(random_u32() % 50);
		if (token < 3) {
			len = sprintf(text, "%s", token == 0 ? "<unk>" : token == 1 ? "\n<s>\n" : "\n</s>\n");
		} else if (token < 259 && vocab_size > 300) {
			len = sprintf(text, "<0x%02X>", (unsigned)token - 3);
		} else {
			len = token % 29 < 4 ? 1 : 1 + (int)(random_u32() % 4);
			for (int i = 0; i < len; i++)
				text[i] = " abcde"[random_u32() % 6];
		}
		memcpy(at, &score, 4);
		memcpy(at + 4, &len, 4);
		memcpy(at + 8, text, (size_t)len);
		at += 8 + len;
	}
	*size = (size_t)(at - file);
	return realloc(file, *size);
}

#endif
