/*
 * old-pipeline: two stages of a transformer, written as a shard of the earlier implementation would be: its header and
 * no other, the channel and the layers of the configuration page, COCONUT_ERROR as the only error, an entry of its own.
 *
 * Stage 0 begins with token 0, always the likeliest token follows, sixteen times; both stages print each token's
 * number. Layers are layers_start up to, but not with, layers_end. tests/reference/greedy.c says what must come out.
 */
#include "../../include/coconut.h"

#define HEAP       0x100000
#define HEAP_PAGES 64
#define CHUNK      4096
#define TOKENS     16

void *memset(void *start, int value, size_t count) {
	for (uint8_t *at = start; count > 0; count--)
		*at++ = (uint8_t)value;
	return start;
}

void *memcpy(void *to, const void *from, size_t count) {
	const uint8_t *source = from;

	for (uint8_t *at = to; count > 0; count--)
		*at++ = *source++;
	return to;
}

/* The model's file: seven numbers, then the arrays in this order, those of layers for all layers together. */
struct model {
	int dim, hidden, layers, heads, kv_heads, vocab, seq;
	const float *embedding, *attention_norm, *wq, *wk, *wv, *wo, *ffn_norm, *w1, *w2, *w3, *final_norm, *cosine, *sine;
};

struct state {
	int first, end; /* the layers of this stage */
	float *x, *input, *q, *gate, *up, *weight, *keys, *values;
};

static void fail(const char *why) {
	coconut_puts(why);
	coconut_exit(1);
}

static void print_token(uint32_t stage, int position, uint32_t token) {
	char line[] = "old-pipeline[0]: 00 -> 00\n";

	line[13] = (char)('0' + stage);
	line[17] = (char)('0' + position / 10);
	line[18] = (char)('0' + position % 10);
	line[23] = (char)('0' + token / 10);
	line[24] = (char)('0' + token % 10);
	if (coconut_serial_write(line, sizeof(line) - 1) != 0) coconut_exit(2);
}

static void *take(uint8_t **heap, size_t count) {
	void *memory = *heap;

	*heap += count * sizeof(float);
	if (*heap > (uint8_t *)HEAP + HEAP_PAGES * CHUNK) fail("old-pipeline: the heap is too small\n");
	return memory;
}

static int kv_dim(const struct model *m) { return m->dim / m->heads * m->kv_heads; }

/* ---- Arithmetic without a library ---- */

static float root(float value) {
	__asm__("sqrtss %0, %0" : "+x"(value));
	return value;
}

/* e^x: 2^whole, times a series for the rest of at most half a ln 2. */
static float exponential(float x) {
	double scaled = (double)x * 1.4426950408889634, term = 1, sum = 1, rest;
	int whole = (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
	union { uint64_t bits; double value; } power;

	if (whole < -126) return 0;
	rest = (scaled - whole) * 0.6931471805599453;
	for (int i = 1; i < 14; i++)
		sum += term *= rest / i;
	power.bits = (uint64_t)(whole + 1023) << 52;
	return (float)(sum * power.value);
}

static void multiply(float *out, const float *w, const float *x, int rows, int columns) {
	for (int i = 0; i < rows; i++) {
		out[i] = 0;
		for (int j = 0; j < columns; j++)
			out[i] += w[i * columns + j] * x[j];
	}
}

static void normalise(float *out, const float *x, const float *weight, int n) {
	float mean = 0;

	for (int i = 0; i < n; i++)
		mean += x[i] * x[i];
	mean = 1.0f / root(mean / (float)n + 1e-5f);
	for (int i = 0; i < n; i++)
		out[i] = weight[i] * (mean * x[i]);
}

static void rotate(const struct model *m, float *x, int n, int pos) {
	int half = m->dim / m->heads / 2;

	for (int pair = 0; pair < n / 2; pair++) {
		float c = m->cosine[pos * half + pair % half], s = m->sine[pos * half + pair % half];
		float a = x[2 * pair], b = x[2 * pair + 1];
		x[2 * pair] = a * c - b * s;
		x[2 * pair + 1] = a * s + b * c;
	}
}

/* ---- The transformer ---- */

static void attend_head(const struct model *m, struct state *s, const float *keys, const float *values, int head,
	int pos) {
	int size = m->dim / m->heads, at = head / (m->heads / m->kv_heads) * size, row = kv_dim(m);
	float largest = -1e30f, sum = 0;

	for (int t = 0; t <= pos; t++) {
		float score = 0;
		for (int i = 0; i < size; i++)
			score += s->q[head * size + i] * keys[t * row + at + i];
		s->weight[t] = score / root((float)size);
		if (s->weight[t] > largest) largest = s->weight[t];
	}
	for (int t = 0; t <= pos; t++)
		sum += s->weight[t] = exponential(s->weight[t] - largest);
	for (int i = 0; i < size; i++) {
		float mixed = 0;
		for (int t = 0; t <= pos; t++)
			mixed += s->weight[t] / sum * values[t * row + at + i];
		s->input[head * size + i] = mixed;
	}
}

static void run_layer(const struct model *m, struct state *s, int layer, int pos) {
	int dim = m->dim, hidden = m->hidden, row = kv_dim(m), own = layer - s->first;
	float *keys = s->keys + own * m->seq * row, *values = s->values + own * m->seq * row;

	normalise(s->input, s->x, m->attention_norm + layer * dim, dim);
	multiply(s->q, m->wq + layer * dim * dim, s->input, dim, dim);
	multiply(keys + pos * row, m->wk + layer * dim * row, s->input, row, dim);
	multiply(values + pos * row, m->wv + layer * dim * row, s->input, row, dim);
	rotate(m, s->q, dim, pos);
	rotate(m, keys + pos * row, row, pos);
	for (int head = 0; head < m->heads; head++)
		attend_head(m, s, keys, values, head, pos);
	multiply(s->q, m->wo + layer * dim * dim, s->input, dim, dim);
	for (int i = 0; i < dim; i++)
		s->x[i] += s->q[i];
	normalise(s->input, s->x, m->ffn_norm + layer * dim, dim);
	multiply(s->gate, m->w1 + layer * dim * hidden, s->input, hidden, dim);
	multiply(s->up, m->w3 + layer * dim * hidden, s->input, hidden, dim);
	for (int i = 0; i < hidden; i++)
		s->gate[i] = s->gate[i] / (1.0f + exponential(-s->gate[i])) * s->up[i];
	multiply(s->q, m->w2 + layer * dim * hidden, s->gate, dim, hidden);
	for (int i = 0; i < dim; i++)
		s->x[i] += s->q[i];
}

static void run_layers(const struct model *m, struct state *s, int pos) {
	for (int layer = s->first; layer < s->end; layer++)
		run_layer(m, s, layer, pos);
}

/* The likeliest token after the last layer. */
static uint32_t choose(const struct model *m, struct state *s) {
	float best = -1e30f, score;
	uint32_t token = 0;

	normalise(s->input, s->x, m->final_norm, m->dim);
	for (int i = 0; i < m->vocab; i++) {
		multiply(&score, m->embedding + i * m->dim, s->input, 1, m->dim);
		if (score > best) {
			best = score;
			token = (uint32_t)i;
		}
	}
	return token;
}

/* ---- Getting ready ---- */

static const int *load(uint8_t **heap) {
	uint64_t fd = coconut_fs_open("/model.bin", 10), size, done = 0, got;
	uint8_t *file;

	if (fd == COCONUT_ERROR) fail("old-pipeline: there is no /model.bin\n");
	size = coconut_fs_stat(fd);
	if (size == COCONUT_ERROR || size == 0) fail("old-pipeline: the model has no size\n");
	file = take(heap, size / sizeof(float));
	while (done < size) {
		got = coconut_fs_read(fd, file + done, size - done < CHUNK ? size - done : CHUNK);
		if (got == COCONUT_ERROR || got == 0) fail("old-pipeline: the model cannot be read\n");
		done += got;
	}
	if (coconut_fs_close(fd) != 0) fail("old-pipeline: the model cannot be closed\n");
	return (const int *)file;
}

static const float *array(const float **at, int count) {
	const float *start = *at;

	*at += count;
	return start;
}

static void find_arrays(struct model *m, const int *file) {
	const float *at = (const float *)(file + 7);
	int dim, all, head_half;

	m->dim = file[0], m->hidden = file[1], m->layers = file[2], m->heads = file[3], m->kv_heads = file[4];
	m->vocab = file[5], m->seq = file[6];
	dim = m->dim, all = m->layers, head_half = dim / m->heads / 2;
	m->embedding = array(&at, m->vocab * dim);
	m->attention_norm = array(&at, all * dim);
	m->wq = array(&at, all * dim * dim);
	m->wk = array(&at, all * dim * kv_dim(m));
	m->wv = array(&at, all * dim * kv_dim(m));
	m->wo = array(&at, all * dim * dim);
	m->ffn_norm = array(&at, all * dim);
	m->w1 = array(&at, all * dim * m->hidden);
	m->w2 = array(&at, all * dim * m->hidden);
	m->w3 = array(&at, all * dim * m->hidden);
	m->final_norm = array(&at, dim);
	m->cosine = array(&at, m->seq * head_half);
	m->sine = array(&at, m->seq * head_half);
}

static void find_memory(struct state *s, const struct model *m, uint8_t **heap) {
	size_t dim = (size_t)m->dim, cache = (size_t)((s->end - s->first) * m->seq * kv_dim(m));

	s->x = take(heap, dim);
	s->input = take(heap, dim);
	s->q = take(heap, dim);
	s->gate = take(heap, (size_t)m->hidden);
	s->up = take(heap, (size_t)m->hidden);
	s->weight = take(heap, (size_t)m->seq);
	s->keys = take(heap, cache);
	s->values = take(heap, cache);
}

int main(void) {
	const struct pipeline_config *config = coconut_pipeline_config();
	uint8_t *heap = (uint8_t *)HEAP;
	uint32_t token = 0;
	size_t size;
	struct model m;
	struct state s;

	if (!config || config->num_stages != 2) fail("old-pipeline: this is not a pipeline of two\n");
	if (coconut_mmap(HEAP, HEAP_PAGES) != 0) fail("old-pipeline: there is no heap\n");
	find_arrays(&m, load(&heap));
	s.first = (int)config->layers_start, s.end = (int)config->layers_end;
	find_memory(&s, &m, &heap);
	size = (size_t)m.dim * sizeof(float);
	for (int pos = 0; pos < TOKENS; pos++) {
		if (config->stage == 0) {
			memcpy(s.x, m.embedding + token * (uint32_t)m.dim, size);
			run_layers(&m, &s, pos);
			coconut_channel_send(config->channel_id, s.x, size);
			coconut_channel_recv(config->channel_id, &token, sizeof(token));
		} else {
			coconut_channel_recv(config->channel_id, s.x, size);
			run_layers(&m, &s, pos);
			token = choose(&m, &s);
			coconut_channel_send(config->channel_id, &token, sizeof(token));
		}
		print_token(config->stage, pos, token);
	}
	return 0;
}
