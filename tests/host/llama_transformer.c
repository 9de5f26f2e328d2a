/*
 * Tests of transformer.c against the naive reference, over the shapes that checkpoints in the wild have: widths that
 * are no multiple of four or eight, fewer key and value heads than heads, tied and separate classifiers.
 *
 * SOURCES: shards/lib/checkpoint.c shards/lib/transformer.c shards/lib/sampler.c tests/reference/naive_llama.c
 */
#include "check.h"
#include "llama_random.h"
#include "sampler.h"
#include "transformer.h"

static const struct shape shapes[] = {
	{ 64, 172, 5, 8, 4, 512, 40 },    /* the smallest of llama2.c's story models */
	{ 128, 352, 2, 4, 4, 105, 24 },
	{ 48, 170, 3, 8, 2, -300, 33 },   /* heads of 6, a separate classifier */
	{ 30, 77, 2, 5, 5, -301, 21 },    /* rows whose tails are 2 and 1 */
	{ 44, 90, 2, 2, 1, 37, 18 },      /* heads of 22 */
	{ 2, 1, 1, 1, 1, 3, 9 },          /* as small as it gets */
	{ 12, 9, 2, 6, 3, 303, 17 },      /* heads of 2 */
	{ 72, 201, 2, 3, 1, 64, 20 },     /* heads of 24 */
};

#define SHAPES ((int)(sizeof(shapes) / sizeof(*shapes)))

/* A transformer over a range of layers, and the memory it lives in. */
struct part {
	struct checkpoint model;
	struct transformer t;
	void *memory;
};

/* Prepares layers first..last of a checkpoint. */
static void part_init(struct part *part, const void *file, size_t size, int first, int last) {
	size_t bytes;

	CHECK(!checkpoint_parse(&part->model, file, size));
	bytes = transformer_memory(&part->model, first, last);
	part->memory = calloc(1, bytes);
	transformer_init(&part->t, &part->model, first, last, part->memory);
}

/* Returns the largest difference between two arrays, relative to the largest number in the first. */
static float distance(const float *a, const float *b, int n) {
	float largest = 0, difference = 0;

	for (int i = 0; i < n; i++) {
		largest = fmaxf(largest, fabsf(a[i]));
		difference = fmaxf(difference, fabsf(a[i] - b[i]));
	}
	return difference / largest;
}

/* Runs a whole model over its context beside the reference, on the tokens that the reference says. The embedding is
 * multiplied by `scale`: where it is tiny the epsilon of RMSNorm matters. */
static void compare_with_reference(const struct shape *shape, float scale) {
	size_t size;
	char *file = random_checkpoint(shape, &size);
	float *embedding = (float *)(file + sizeof(*shape));
	struct naive_model *reference = naive_model_new(file);
	struct naive_sampler bold = { 1.0f, 0, 7 };
	struct part whole;
	int token = 1;

	for (int i = 0; i < abs(shape->vocab_size) * shape->dim; i++)
		embedding[i] *= scale;
	part_init(&whole, file, size, 0, shape->n_layers - 1);
	for (int pos = 0; pos < shape->seq_len; pos++) {
		float *expected = naive_forward(reference, token, pos), *got;
		transformer_embed(&whole.t, token);
		transformer_layers(&whole.t, pos);
		got = transformer_logits(&whole.t);
		CHECK(distance(expected, got, reference->vocab_size) < 2e-5f);
		CHECK_EQ(sampler_argmax(got, reference->vocab_size), sampler_argmax(expected, reference->vocab_size));
		token = naive_sample(&bold, expected, reference->vocab_size);
	}
	naive_model_free(reference);
	free(whole.memory);
	free(file);
}

TEST(agrees_with_the_reference_on_every_shape) {
	for (int i = 0; i < SHAPES; i++)
		compare_with_reference(&shapes[i], 1);
}

TEST(agrees_with_the_reference_on_tiny_activations) {
	for (int i = 0; i < SHAPES; i++)
		compare_with_reference(&shapes[i], 1e-3f);
}

/* Overwrites what stage `stage` of a model cut before layer `cut` must not look at. */
static void wipe_other_stage(const struct checkpoint *m, int stage, int cut) {
	size_t dim = (size_t)m->dim, first = stage ? 0 : (size_t)cut;
	size_t count = stage ? (size_t)cut : (size_t)(m->n_layers - cut);
	const float *norms[] = { m->attention_norm, m->ffn_norm };
	const float *matrices[] = { m->wq, m->wo, m->wk, m->wv, m->w1, m->w2, m->w3 };
	size_t rows[] = { dim, dim, (size_t)m->kv_dim, (size_t)m->kv_dim, (size_t)m->hidden_dim, (size_t)m->hidden_dim,
			  (size_t)m->hidden_dim };

	for (int i = 0; i < 2; i++)
		memset((float *)norms[i] + first * dim, 0xFF, count * dim * sizeof(float));
	for (int i = 0; i < 7; i++)
		memset((float *)matrices[i] + first * rows[i] * dim, 0xFF, count * rows[i] * dim * sizeof(float));
	if (stage == 0) memset((float *)m->final_norm, 0xFF, dim * sizeof(float));
	if (m->classifier != m->token_embedding)
		memset((float *)(stage ? m->token_embedding : m->classifier), 0xFF,
		       (size_t)m->vocab_size * dim * sizeof(float));
}

/* Runs a model whole and cut before layer `cut`: the logits are the same bits, although each stage has its own copy of
 * the file in which the other's weights are NaN. */
static void compare_split(const struct shape *shape, int cut) {
	size_t size;
	void *file = random_checkpoint(shape, &size), *copies[2];
	struct part whole, stages[2];
	int vocab_size = abs(shape->vocab_size);

	part_init(&whole, file, size, 0, shape->n_layers - 1);
	for (int s = 0; s < 2; s++) {
		copies[s] = memcpy(malloc(size), file, size);
		part_init(&stages[s], copies[s], size, s ? cut : 0, s ? shape->n_layers - 1 : cut - 1);
		wipe_other_stage(&stages[s].model, s, cut);
	}
	for (int pos = 0; pos < shape->seq_len; pos++) {
		int token = (pos * 7 + 1) % vocab_size;
		transformer_embed(&whole.t, token);
		transformer_layers(&whole.t, pos);
		transformer_embed(&stages[0].t, token);
		transformer_layers(&stages[0].t, pos);
		memcpy(stages[1].t.x, stages[0].t.x, (size_t)shape->dim * sizeof(float));
		transformer_layers(&stages[1].t, pos);
		CHECK(!memcmp(transformer_logits(&whole.t), transformer_logits(&stages[1].t),
			      (size_t)vocab_size * sizeof(float)));
	}
	for (int s = 0; s < 2; s++) {
		free(stages[s].memory);
		free(copies[s]);
	}
	free(whole.memory);
	free(file);
}

TEST(two_stages_are_one_model) {
	for (int i = 0; i < SHAPES; i++)
		for (int cut = 1; cut < shapes[i].n_layers; cut++)
			compare_split(&shapes[i], cut);
}

/* The KV cache of a stage holds its own layers only. */
TEST(a_stage_needs_less_memory) {
	struct part whole, stage;
	size_t size;
	void *file = random_checkpoint(&shapes[0], &size);

	part_init(&whole, file, size, 0, 4);
	part_init(&stage, file, size, 0, 1);
	CHECK(transformer_memory(&stage.model, 0, 1) < transformer_memory(&whole.model, 0, 4) / 2);
	free(whole.memory);
	free(stage.memory);
	free(file);
}

/* Nothing finite is promised for weights that are not, but nothing else may happen either. */
TEST(survives_infinite_weights) {
	struct part whole;
	size_t size;
	char *file = random_checkpoint(&shapes[2], &size);

	for (int i = 0; i < 400; i++) {
		float wild = i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN;
		memcpy(file + 28 + random_u32() % ((size - 28) / 4) * 4, &wild, sizeof(wild));
	}
	part_init(&whole, file, size, 0, shapes[2].n_layers - 1);
	for (int pos = 0; pos < shapes[2].seq_len; pos++) {
		int token;
		transformer_embed(&whole.t, pos);
		transformer_layers(&whole.t, pos);
		token = sampler_argmax(transformer_logits(&whole.t), whole.model.vocab_size);
		CHECK(token >= 0 && token < whole.model.vocab_size);
	}
	free(whole.memory);
	free(file);
}

int main(void) {
	RUN(agrees_with_the_reference_on_every_shape);
	RUN(agrees_with_the_reference_on_tiny_activations);
	RUN(two_stages_are_one_model);
	RUN(a_stage_needs_less_memory);
	RUN(survives_infinite_weights);
	return check_result();
}
