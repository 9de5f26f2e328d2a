/*
 * naive_llama.c: Llama 2 inference written down from the formulas.
 *
 * With gcc -O2 and no -ffast-math its results are those of llama2.c to the last bit, except that the angles of RoPE
 * come from the tables of the file. It was compared with llama2.c itself on random models and on model/stories.bin.
 *
 * Read next: generate.c, tests/host/llama_transformer.c.
 */
#include "naive_llama.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(long count, size_t size) {
	void *memory = calloc(count ? (size_t)count : 1, size);

	if (!memory) abort();
	return memory;
}

/* ---- The model ---- */

/* The arrays of the file, in its order. */
enum array {
	EMBEDDING, ATTENTION_NORM, WQ, WK, WV, WO, FFN_NORM, W1, W2, W3, FINAL_NORM, COSINE, SINE, CLASSIFIER, ARRAYS
};

static int head_size(const struct naive_model *m) { return m->dim / m->n_heads; }

static int kv_dim(const struct naive_model *m) { return head_size(m) * m->n_kv_heads; }

/* Returns the number of floats in an array: of one layer, where it has layers. */
static long array_floats(const struct naive_model *m, enum array array) {
	switch (array) {
	case EMBEDDING:
		return (long)m->vocab_size * m->dim;
	case CLASSIFIER:
		return m->separate_classifier ? (long)m->vocab_size * m->dim : 0;
	case WQ:
	case WO:
		return (long)m->dim * m->dim;
	case WK:
	case WV:
		return (long)m->dim * kv_dim(m);
	case W1:
	case W2:
	case W3:
		return (long)m->dim * m->hidden_dim;
	case COSINE:
	case SINE:
		return (long)m->seq_len * (head_size(m) / 2);
	default:
		return m->dim;
	}
}

static int has_layers(enum array array) { return array >= ATTENTION_NORM && array <= W3; }

/* Returns where an array begins; `layer` counts only where it has layers. */
static const float *array_at(const struct naive_model *m, enum array wanted, int layer) {
	long at = 0;

	for (enum array array = 0; array < wanted; array++)
		at += array_floats(m, array) * (has_layers(array) ? m->n_layers : 1);
	return m->weights + at + layer * array_floats(m, wanted);
}

long naive_model_floats(const struct naive_model *m) {
	long floats = 0;

	for (enum array array = 0; array < ARRAYS; array++)
		floats += array_floats(m, array) * (has_layers(array) ? m->n_layers : 1);
	return floats;
}

struct naive_model *naive_model_new(const void *file) {
	struct naive_model *m = allocate(1, sizeof(*m));
	const int *header = file;
	long cache;

	m->dim = header[0];
	m->hidden_dim = header[1];
	m->n_layers = header[2];
	m->n_heads = header[3];
	m->n_kv_heads = header[4];
	m->vocab_size = abs(header[5]);
	m->seq_len = header[6];
	m->separate_classifier = header[5] < 0;
	m->weights = (const float *)(header + 7);
	cache = (long)m->n_layers * m->seq_len * kv_dim(m);
	m->keys = allocate(cache, sizeof(float));
	m->values = allocate(cache, sizeof(float));
	m->logits = allocate(m->vocab_size, sizeof(float));
	return m;
}

void naive_model_free(struct naive_model *m) {
	free(m->keys);
	free(m->values);
	free(m->logits);
	free(m);
}

/* out (rows) = w (rows, columns) * x (columns) */
static void multiply(float *out, const float *w, const float *x, int rows, int columns) {
	for (int i = 0; i < rows; i++) {
		out[i] = 0;
		for (int j = 0; j < columns; j++)
			out[i] += w[(long)i * columns + j] * x[j];
	}
}

static void normalise(float *out, const float *x, const float *weight, int n) {
	float mean = 0;

	for (int i = 0; i < n; i++)
		mean += x[i] * x[i];
	mean /= (float)n;
	mean += 1e-5f;
	mean = 1.0f / sqrtf(mean);
	for (int i = 0; i < n; i++)
		out[i] = weight[i] * (mean * x[i]);
}

static void make_probabilities(float *x, int n) {
	float max = x[0], sum = 0;

	for (int i = 0; i < n; i++)
		max = fmaxf(max, x[i]);
	for (int i = 0; i < n; i++) {
		x[i] = expf(x[i] - max);
		sum += x[i];
	}
	for (int i = 0; i < n; i++)
		x[i] /= sum;
}

/* Rotates each pair of a vector (n) by the angles of the position. */
static void rotate_pairs(const struct naive_model *m, float *x, int n, int pos) {
	int half = head_size(m) / 2;

	for (int pair = 0; pair < n / 2; pair++) {
		float c = array_at(m, COSINE, 0)[pos * half + pair % half];
		float s = array_at(m, SINE, 0)[pos * half + pair % half];
		float a = x[2 * pair], b = x[2 * pair + 1];
		x[2 * pair] = a * c - b * s;
		x[2 * pair + 1] = a * s + b * c;
	}
}

/* out (dim) = what all heads find in positions 0..pos of one layer. */
static void attend(const struct naive_model *m, float *out, const float *q, const float *keys, const float *values,
	int pos) {
	int size = head_size(m);
	float *weight = allocate(pos + 1, sizeof(float));

	for (int head = 0; head < m->n_heads; head++) {
		int kv = head / (m->n_heads / m->n_kv_heads) * size;
		for (int p = 0; p <= pos; p++) {
			float score = 0;
			for (int i = 0; i < size; i++)
				score += q[head * size + i] * keys[p * kv_dim(m) + kv + i];
			weight[p] = score / sqrtf((float)size);
		}
		make_probabilities(weight, pos + 1);
		for (int i = 0; i < size; i++) {
			out[head * size + i] = 0;
			for (int p = 0; p <= pos; p++)
				out[head * size + i] += weight[p] * values[p * kv_dim(m) + kv + i];
		}
	}
	free(weight);
}

static void run_attention(const struct naive_model *m, float *x, int layer, int pos) {
	float *keys = m->keys + (long)layer * m->seq_len * kv_dim(m);
	float *values = m->values + (long)layer * m->seq_len * kv_dim(m);
	float *k = keys + pos * kv_dim(m), *v = values + pos * kv_dim(m);
	float *input = allocate(m->dim, sizeof(float)), *q = allocate(m->dim, sizeof(float));

	normalise(input, x, array_at(m, ATTENTION_NORM, layer), m->dim);
	multiply(q, array_at(m, WQ, layer), input, m->dim, m->dim);
	multiply(k, array_at(m, WK, layer), input, kv_dim(m), m->dim);
	multiply(v, array_at(m, WV, layer), input, kv_dim(m), m->dim);
	rotate_pairs(m, q, m->dim, pos);
	rotate_pairs(m, k, kv_dim(m), pos);
	attend(m, input, q, keys, values, pos);
	multiply(q, array_at(m, WO, layer), input, m->dim, m->dim);
	for (int i = 0; i < m->dim; i++)
		x[i] += q[i];
	free(input);
	free(q);
}

static void run_feed_forward(const struct naive_model *m, float *x, int layer) {
	float *input = allocate(m->dim, sizeof(float));
	float *gate = allocate(m->hidden_dim, sizeof(float)), *up = allocate(m->hidden_dim, sizeof(float));

	normalise(input, x, array_at(m, FFN_NORM, layer), m->dim);
	multiply(gate, array_at(m, W1, layer), input, m->hidden_dim, m->dim);
	multiply(up, array_at(m, W3, layer), input, m->hidden_dim, m->dim);
	for (int i = 0; i < m->hidden_dim; i++)
		gate[i] = gate[i] * (1.0f / (1.0f + expf(-gate[i]))) * up[i];
	multiply(input, array_at(m, W2, layer), gate, m->dim, m->hidden_dim);
	for (int i = 0; i < m->dim; i++)
		x[i] += input[i];
	free(input);
	free(gate);
	free(up);
}

float *naive_forward(struct naive_model *m, int token, int pos) {
	float *x = allocate(m->dim, sizeof(float));

	memcpy(x, array_at(m, EMBEDDING, 0) + (long)token * m->dim, (size_t)m->dim * sizeof(float));
	for (int layer = 0; layer < m->n_layers; layer++) {
		run_attention(m, x, layer, pos);
		run_feed_forward(m, x, layer);
	}
	normalise(x, x, array_at(m, FINAL_NORM, 0), m->dim);
	multiply(m->logits, array_at(m, m->separate_classifier ? CLASSIFIER : EMBEDDING, 0), x, m->vocab_size, m->dim);
	free(x);
	return m->logits;
}

/* ---- The tokenizer ---- */

static const struct naive_tokenizer *sorting; /* qsort and bsearch pass no context */

static int compare_tokens(const void *a, const void *b) {
	return strcmp(sorting->text[*(const int *)a], sorting->text[*(const int *)b]);
}

static int compare_with_key(const void *key, const void *token) {
	return strcmp(key, sorting->text[*(const int *)token]);
}

struct naive_tokenizer *naive_tokenizer_new(const void *file, int vocab_size) {
	struct naive_tokenizer *t = allocate(1, sizeof(*t));
	const char *at = (const char *)file + 4;
	int len;

	t->vocab_size = vocab_size;
	t->text = allocate(vocab_size, sizeof(*t->text));
	t->score = allocate(vocab_size, sizeof(*t->score));
	t->by_text = allocate(vocab_size, sizeof(*t->by_text));
	for (int i = 0; i < vocab_size; i++) {
		memcpy(&t->score[i], at, 4);
		memcpy(&len, at + 4, 4);
		t->text[i] = allocate(len + 1, 1);
		memcpy(t->text[i], at + 8, (size_t)len);
		at += 8 + len;
		t->by_text[i] = i;
	}
	sorting = t;
	qsort(t->by_text, (size_t)vocab_size, sizeof(int), compare_tokens);
	return t;
}

void naive_tokenizer_free(struct naive_tokenizer *t) {
	for (int i = 0; i < t->vocab_size; i++)
		free(t->text[i]);
	free(t->text);
	free(t->score);
	free(t->by_text);
	free(t);
}

/* Returns the token with this text, or -1. */
static int look_up(const struct naive_tokenizer *t, const char *text) {
	int *found;

	sorting = t;
	found = bsearch(text, t->by_text, (size_t)t->vocab_size, sizeof(int), compare_with_key);
	return found ? *found : -1;
}

/* Merges the pair with the best score, the first of equals. Returns the new number of tokens. */
static int merge_once(const struct naive_tokenizer *t, int *tokens, int count) {
	float best_score = -1e10f;
	int best = -1, merged = -1;

	for (int i = 0; i + 1 < count; i++) {
		const char *left = t->text[tokens[i]], *right = t->text[tokens[i + 1]];
		char *pair = allocate((long)(strlen(left) + strlen(right)) + 1, 1);
		int token = look_up(t, strcat(strcpy(pair, left), right));
		free(pair);
		if (token >= 0 && t->score[token] > best_score) {
			best_score = t->score[token];
			best = i;
			merged = token;
		}
	}
	if (best < 0) return count;
	tokens[best] = merged;
	memmove(tokens + best + 1, tokens + best + 2, (size_t)(count - best - 2) * sizeof(int));
	return count - 1;
}

int naive_encode(const struct naive_tokenizer *t, const char *string, int *tokens) {
	int count = 0, before, space = look_up(t, " ");

	tokens[count++] = 1;
	if (*string && space >= 0) tokens[count++] = space;
	while (*string) {
		char character[5] = { 0 };
		int len = 0, token;
		do
			character[len++] = *string++;
		while (len < 4 && ((unsigned char)*string & 0xC0) == 0x80);
		token = look_up(t, character);
		if (token >= 0)
			tokens[count++] = token;
		else
			for (int i = 0; i < len; i++)
				tokens[count++] = (unsigned char)character[i] + 3;
	}
	do {
		before = count;
		count = merge_once(t, tokens, count);
	} while (count < before);
	return count;
}

const char *naive_decode(const struct naive_tokenizer *t, int previous, int token, char *byte) {
	const char *text = t->text[token];
	unsigned char value;

	if (previous == 1 && *text == ' ') text++;
	if (sscanf(text, "<0x%02hhX>", &value) == 1) {
		byte[0] = (char)value;
		byte[1] = 0;
		text = byte;
	}
	if (strlen(text) == 1 && !isprint((unsigned char)*text) && !isspace((unsigned char)*text)) return "";
	return text;
}

/* ---- The sampler ---- */

struct choice {
	float probability;
	int token;
};

static int compare_choices(const void *a, const void *b) {
	float left = ((const struct choice *)a)->probability, right = ((const struct choice *)b)->probability;

	return (left < right) - (left > right);
}

static float random_number(struct naive_sampler *s) {
	uint32_t upper;

	s->state ^= s->state >> 12;
	s->state ^= s->state << 25;
	s->state ^= s->state >> 27;
	upper = (uint32_t)(s->state * 0x2545F4914F6CDD1Dull >> 32);
	return (float)(upper >> 8) / 16777216.0f;
}

static int sample_likeliest(struct naive_sampler *s, const float *p, int n, float coin) {
	struct choice *choices = allocate(n, sizeof(*choices));
	float cutoff = (1.0f - s->top_p) / (float)(n - 1), total = 0, sum = 0;
	int count = 0, last, i, token;

	for (i = 0; i < n; i++)
		if (p[i] >= cutoff) choices[count++] = (struct choice){ p[i], i };
	qsort(choices, (size_t)count, sizeof(*choices), compare_choices);
	for (last = 0; last < count - 1; last++) {
		total += choices[last].probability;
		if (total > s->top_p) break;
	}
	if (last == count - 1) total += choices[last].probability;
	for (i = 0; i < last; i++) {
		sum += choices[i].probability;
		if (coin * total < sum) break;
	}
	token = choices[i].token;
	free(choices);
	return token;
}

int naive_sample(struct naive_sampler *s, float *logits, int n) {
	float coin, sum = 0;
	int best = 0;

	if (s->temperature == 0) {
		for (int i = 0; i < n; i++)
			best = logits[i] > logits[best] ? i : best;
		return best;
	}
	for (int i = 0; i < n; i++)
		logits[i] /= s->temperature;
	make_probabilities(logits, n);
	coin = random_number(s);
	if (s->top_p > 0 && s->top_p < 1) return sample_likeliest(s, logits, n, coin);
	for (int i = 0; i < n; i++) {
		sum += logits[i];
		if (coin < sum) return i;
	}
	return n - 1;
}
