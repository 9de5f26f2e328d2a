/*
 * transformer.c: the forward pass of Llama 2: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 *
 * Every product of a matrix and a vector takes eight rows at a time, and attention four positions at a time. The
 * results differ from llama2.c's only by the order of summation and the last bits of the exponential; the greedy
 * text is the same.
 *
 * Invariants: 0 <= pos < seq_len, positions come in order from 0, and the scratch arrays have room for a multiple
 * of four floats, so that element-wise loops may work in whole vectors.
 *
 * Read next: vector.h for v4, generate.c for the loop around the forward pass.
 */
#include "transformer.h"
#include "shardlib.h"
#include "vector.h"

/* Rounds up to a multiple of four. */
static size_t round4(size_t n) { return (n + 3) & ~(size_t)3; }

/* Returns the numbers that a head takes in the KV cache: eight are computed at a time, so the rest is zero. */
static size_t padded_head(const struct checkpoint *m) { return ((size_t)m->head_size + 7) & ~(size_t)7; }

/* Returns the number of floats of one head's keys (or values) of all positions. */
static size_t head_cache_floats(const struct checkpoint *m) { return round4((size_t)m->seq_len) * padded_head(m); }

/* Takes n floats, rounded up to a multiple of four, from the memory that begins at `memory`. */
static float *take(uintptr_t memory, size_t *used, size_t n) {
	float *array = (float *)(memory + *used);

	*used += round4(n) * sizeof(float);
	return array;
}

/* Lays out the arrays of `t` from address `memory` on. Returns the number of bytes they take. */
static size_t lay_out(struct transformer *t, uintptr_t memory) {
	const struct checkpoint *m = t->model;
	size_t dim = (size_t)m->dim, hidden = (size_t)m->hidden_dim, kv_dim = (size_t)m->kv_dim, used = 0;
	size_t layers = (size_t)(t->last_layer - t->first_layer + 1);
	size_t cache = layers * (size_t)m->n_kv_heads * head_cache_floats(m);

	t->x = take(memory, &used, dim);
	t->normed = take(memory, &used, dim + 8); /* attend() writes heads in eights */
	t->mixed = take(memory, &used, dim);
	t->gate = take(memory, &used, hidden);
	t->up = take(memory, &used, hidden);
	t->q = take(memory, &used, dim);
	t->k = take(memory, &used, kv_dim);
	t->v = take(memory, &used, kv_dim);
	t->lanes = take(memory, &used, padded_head(m) * 4);
	t->scores = take(memory, &used, (size_t)m->seq_len);
	t->logits = take(memory, &used, t->last_layer == m->n_layers - 1 ? (size_t)m->vocab_size : 0);
	t->key_cache = take(memory, &used, cache);
	t->value_cache = take(memory, &used, cache);
	return used;
}

/* Returns how many bytes of memory transformer_init() needs for these layers. */
size_t transformer_memory(const struct checkpoint *model, int first_layer, int last_layer) {
	struct transformer t = { .model = model, .first_layer = first_layer, .last_layer = last_layer };

	return lay_out(&t, 0);
}

/* Prepares a transformer for layers first..last of the model. `memory` is zeroed, 16-byte aligned and as large as
 * transformer_memory() says; it and the model stay in use. */
void transformer_init(struct transformer *t, const struct checkpoint *model, int first_layer, int last_layer,
	void *memory) {
	t->model = model;
	t->first_layer = first_layer;
	t->last_layer = last_layer;
	lay_out(t, (uintptr_t)memory);
}

/* Returns the product of one row with x, both of n columns. */
static float dot_row(const float *row, const float *x, size_t n) {
	v4 lanes = splat(0);
	float sum;
	size_t j = 0;

	for (; j + 4 <= n; j += 4)
		lanes += load4(row + j) * load4(x + j);
	sum = sum4(lanes);
	for (; j < n; j++)
		sum += row[j] * x[j];
	return sum;
}

/* out (8) = the products of the eight rows from `a` on with x, all of n columns. The rows share each load of x, and
 * their sums of four lanes are added up together. */
static void dot_eight_rows(float *out, const float *a, const float *x, size_t n) {
	const float *b = a + n, *c = b + n, *d = c + n, *e = d + n, *f = e + n, *g = f + n, *h = g + n;
	v4 sum_a = splat(0), sum_b = splat(0), sum_c = splat(0), sum_d = splat(0);
	v4 sum_e = splat(0), sum_f = splat(0), sum_g = splat(0), sum_h = splat(0);
	size_t j = 0;

#pragma GCC unroll 2
	for (; j < (n & ~(size_t)3); j += 4) {
		v4 xs = load4(x + j);
		sum_a += load4(a + j) * xs;
		sum_b += load4(b + j) * xs;
		sum_c += load4(c + j) * xs;
		sum_d += load4(d + j) * xs;
		sum_e += load4(e + j) * xs;
		sum_f += load4(f + j) * xs;
		sum_g += load4(g + j) * xs;
		sum_h += load4(h + j) * xs;
	}
	sum_a = sum_lanes(sum_a, sum_b, sum_c, sum_d);
	sum_e = sum_lanes(sum_e, sum_f, sum_g, sum_h);
	/* A row's tail is no whole vector: a load would reach into the next row, or past the end of the file. */
	for (; j < n; j++) {
		sum_a += _mm_setr_ps(a[j], b[j], c[j], d[j]) * splat(x[j]);
		sum_e += _mm_setr_ps(e[j], f[j], g[j], h[j]) * splat(x[j]);
	}
	store4(out, sum_a);
	store4(out + 4, sum_e);
}

/* out (rows) = w (rows, columns) * x (columns) */
static void matmul(float *out, const float *w, const float *x, int rows, int columns) {
	size_t n = (size_t)columns;
	int i = 0;

	for (; i + 8 <= rows; i += 8, w += 8 * n)
		dot_eight_rows(out + i, w, x, n);
	for (; i < rows; i++, w += n)
		out[i] = dot_row(w, x, n);
}

/* out (n) = x (n) scaled to a root mean square of one, times the weights (n). `out` may be `x`. */
static void rmsnorm(float *out, const float *x, const float *weight, int n) {
	v4 squares = splat(0);
	float sum, scale;
	int i = 0;

	for (; i + 4 <= n; i += 4)
		squares += load4(x + i) * load4(x + i);
	sum = sum4(squares);
	for (; i < n; i++)
		sum += x[i] * x[i];
	scale = 1.0f / square_root(sum / (float)n + 1e-5f);

	for (i = 0; i + 4 <= n; i += 4)
		store4(out + i, load4(weight + i) * (splat(scale) * load4(x + i)));
	for (; i < n; i++)
		out[i] = weight[i] * (scale * x[i]);
}

/* x (n) += y (n); both have room for a multiple of four floats. */
static void add(float *x, const float *y, int n) {
	for (int i = 0; i < n; i += 4)
		store4(x + i, load4(x + i) + load4(y + i));
}

/* RoPE: rotates the pairs of every head of `vector` (n) by the angles of this position, (head_size / 2) cosines
 * and sines. */
static void rotate(float *vector, int n, int head_size, const float *cosine, const float *sine) {
	for (float *head = vector; head < vector + n; head += head_size) {
		for (int i = 0; i < head_size / 2; i++) {
			float a = head[2 * i], b = head[2 * i + 1];
			head[2 * i] = a * cosine[i] - b * sine[i];
			head[2 * i + 1] = a * sine[i] + b * cosine[i];
		}
	}
}

/* Puts a vector (kv_dim) of position `pos` into one layer's part of the KV cache. */
static void cache_store(const struct checkpoint *m, float *cache, const float *vector, int pos) {
	for (int head = 0; head < m->n_kv_heads; head++) {
		float *slot = cache + (size_t)(pos / 4) * padded_head(m) * 4 + pos % 4;
		for (int i = 0; i < m->head_size; i++)
			slot[4 * i] = vector[i];
		vector += m->head_size;
		cache += head_cache_floats(m);
	}
}

/* Returns the scores of four positions: the query in `lanes` (head, 4) times `keys` (head, 4). */
static inline v4 score_block(const float *lanes, const float *keys, size_t head) {
	v4 score = splat(0);

	for (const float *end = lanes + 4 * head; lanes < end; lanes += 32, keys += 32) {
#pragma GCC unroll 8
		for (int i = 0; i < 32; i += 4)
			score += _mm_load_ps(lanes + i) * _mm_load_ps(keys + i);
	}
	return score;
}

/* scores (seq) = the query in `lanes` (head, 4) times the keys (seq / 4, head, 4) of positions 0..pos. Positions after
 * pos, which share the last block, get a score that softmax turns into 0. Returns the highest score in all lanes. */
static v4 score_positions(float *scores, const float *lanes, const float *keys, size_t head, size_t pos) {
	float *last = scores + (pos & ~(size_t)3);
	v4 highest = splat(-1e30f), score, beyond;

	for (; scores < last; scores += 4, keys += 4 * head) {
		score = score_block(lanes, keys, head);
		highest = _mm_max_ps(highest, score);
		_mm_store_ps(scores, score);
	}
	score = score_block(lanes, keys, head);
	beyond = _mm_cmpgt_ps(_mm_setr_ps(0, 1, 2, 3), splat((float)(pos % 4)));
	score = _mm_or_ps(_mm_andnot_ps(beyond, score), _mm_and_ps(beyond, splat(-1e30f)));
	_mm_store_ps(last, score);
	return max_lane(_mm_max_ps(highest, score));
}

/* Turns the scores of positions 0..pos into weights, 2^(score - highest). Returns their sum. The weights are not
 * divided by it, since dividing what is mixed with them is less work. */
static float softmax_undivided(float *scores, v4 highest, size_t pos) {
	v4 sum = splat(0);

	for (float *end = scores + pos + 1; scores < end; scores += 4) {
		v4 weight = exp2_4(_mm_load_ps(scores) - highest);
		_mm_store_ps(scores, weight);
		sum += weight;
	}
	return sum4(sum);
}

/* out (8) = eight neighbouring numbers of the sum of values 0..pos, each times its weight, divided by `total`.
 * `values` is at the first of the eight in (seq / 4, head, 4). */
static void mix_eight(float *out, const float *weights, const float *values, size_t head, size_t pos, v4 total) {
	v4 a = splat(0), b = splat(0), c = splat(0), d = splat(0);
	v4 e = splat(0), f = splat(0), g = splat(0), h = splat(0);

	for (const float *end = weights + pos + 1; weights < end; weights += 4, values += 4 * head) {
		v4 weight = _mm_load_ps(weights);
		a += weight * _mm_load_ps(values);
		b += weight * _mm_load_ps(values + 4);
		c += weight * _mm_load_ps(values + 8);
		d += weight * _mm_load_ps(values + 12);
		e += weight * _mm_load_ps(values + 16);
		f += weight * _mm_load_ps(values + 20);
		g += weight * _mm_load_ps(values + 24);
		h += weight * _mm_load_ps(values + 28);
	}
	store4(out, sum_lanes(a, b, c, d) / total);
	store4(out + 4, sum_lanes(e, f, g, h) / total);
}

/* Attention of one query head to positions 0..pos: out (head) = softmax(q * keys / sqrt(head)) * values. The scores are
 * taken times log2(e), so that softmax needs only powers of two. `out` has room for a multiple of eight. */
static void attend(struct transformer *t, float *out, const float *q, const float *keys, const float *values,
	size_t pos) {
	size_t head = padded_head(t->model);
	float scale = LOG2_E / square_root((float)t->model->head_size);
	v4 highest, total;

	for (int i = 0; i < t->model->head_size; i++)
		_mm_store_ps(t->lanes + 4 * i, splat(q[i] * scale));
	highest = score_positions(t->scores, t->lanes, keys, head, pos);
	total = splat(softmax_undivided(t->scores, highest, pos));
	for (size_t i = 0; i < head; i += 8)
		mix_eight(out + i, t->scores, values + 4 * i, head, pos, total);
}

/* Adds what attention finds in positions 0..pos to x, for one layer. */
static void attention_block(struct transformer *t, int layer, int pos) {
	const struct checkpoint *m = t->model;
	size_t l = (size_t)layer, dim = (size_t)m->dim, kv_dim = (size_t)m->kv_dim;
	size_t layer_cache = (l - (size_t)t->first_layer) * (size_t)m->n_kv_heads * head_cache_floats(m);
	float *keys = t->key_cache + layer_cache, *values = t->value_cache + layer_cache;
	const float *cosine = m->rope_cos + (size_t)pos * (size_t)(m->head_size / 2);
	const float *sine = m->rope_sin + (size_t)pos * (size_t)(m->head_size / 2);
	int queries_per_kv = m->n_heads / m->n_kv_heads;

	rmsnorm(t->normed, t->x, m->attention_norm + l * dim, m->dim);
	matmul(t->q, m->wq + l * dim * dim, t->normed, m->dim, m->dim);
	matmul(t->k, m->wk + l * kv_dim * dim, t->normed, m->kv_dim, m->dim);
	matmul(t->v, m->wv + l * kv_dim * dim, t->normed, m->kv_dim, m->dim);
	rotate(t->q, m->dim, m->head_size, cosine, sine);
	rotate(t->k, m->kv_dim, m->head_size, cosine, sine);
	cache_store(m, keys, t->k, pos);
	cache_store(m, values, t->v, pos);
	for (int head = 0; head < m->n_heads; head++) {
		size_t cache = (size_t)(head / queries_per_kv) * head_cache_floats(m);
		size_t at = (size_t)head * (size_t)m->head_size;
		/* What a head writes beyond its end the next one overwrites. */
		attend(t, t->normed + at, t->q + at, keys + cache, values + cache, (size_t)pos);
	}
	matmul(t->mixed, m->wo + l * dim * dim, t->normed, m->dim, m->dim);
	add(t->x, t->mixed, m->dim);
}

/* SwiGLU: gate (n) = silu(gate) * up with silu(x) = x / (1 + e^-x). Both have room for a multiple of four floats. */
static void swiglu(float *gate, const float *up, int n) {
	for (int i = 0; i < n; i += 4) {
		v4 g = load4(gate + i);
		v4 sigmoid = splat(1) / (splat(1) + exp2_4(g * splat(-LOG2_E)));
		store4(gate + i, g * sigmoid * load4(up + i));
	}
}

/* Adds what the feed-forward block makes of x to x, for one layer. */
static void feed_forward_block(struct transformer *t, int layer) {
	const struct checkpoint *m = t->model;
	size_t l = (size_t)layer, dim = (size_t)m->dim, hidden = (size_t)m->hidden_dim;

	rmsnorm(t->normed, t->x, m->ffn_norm + l * dim, m->dim);
	matmul(t->gate, m->w1 + l * hidden * dim, t->normed, m->hidden_dim, m->dim);
	matmul(t->up, m->w3 + l * hidden * dim, t->normed, m->hidden_dim, m->dim);
	swiglu(t->gate, t->up, m->hidden_dim);
	matmul(t->mixed, m->w2 + l * dim * hidden, t->gate, m->dim, m->hidden_dim);
	add(t->x, t->mixed, m->dim);
}

/* Starts a position: x becomes the embedding of `token`, which is in 0..vocab_size-1. */
void transformer_embed(struct transformer *t, int token) {
	size_t dim = (size_t)t->model->dim;

	memcpy(t->x, t->model->token_embedding + (size_t)token * dim, dim * sizeof(float));
}

/* Takes x through the layers first..last at position `pos`. */
void transformer_layers(struct transformer *t, int pos) {
	for (int layer = t->first_layer; layer <= t->last_layer; layer++) {
		attention_block(t, layer, pos);
		feed_forward_block(t, layer);
	}
}

/* Returns the logits (vocab) of the token that follows. Only for a transformer that has the model's last layer. */
float *transformer_logits(struct transformer *t) {
	const struct checkpoint *m = t->model;

	rmsnorm(t->normed, t->x, m->final_norm, m->dim);
	matmul(t->logits, m->classifier, t->normed, m->vocab_size, m->dim);
	return t->logits;
}
