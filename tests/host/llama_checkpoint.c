/*
 * Tests of checkpoint.c: which files are taken for a model, and where their weights are.
 *
 * SOURCES: shards/lib/checkpoint.c tests/reference/naive_llama.c
 */
#include <limits.h>

#include "check.h"
#include "checkpoint.h"
#include "llama_random.h"

static const struct shape small = { 8, 12, 2, 2, 1, 10, 5 };

/* Returns the refusal of a file of `size` bytes with this header and zero weights, or NULL. */
static const char *parse(const struct shape *shape, size_t size, struct checkpoint *model) {
	char *file = calloc(1, size ? size : 1);
	const char *defect;

	memcpy(file, shape, size < sizeof(*shape) ? size : sizeof(*shape));
	file = realloc(file, size ? size : 1);
	defect = checkpoint_parse(model, file, size);
	free(file);
	return defect;
}

static size_t right_size(const struct shape *shape) { return sizeof(*shape) + shape_floats(shape) * sizeof(float); }

TEST(takes_tied_and_separate_classifiers) {
	struct shape separate = small;
	struct checkpoint m;

	separate.vocab_size = -10;
	CHECK(!parse(&small, right_size(&small), &m));
	CHECK(m.classifier == m.token_embedding);
	CHECK_EQ(m.vocab_size, 10);
	CHECK_EQ(m.head_size, 4);
	CHECK_EQ(m.kv_dim, 4);
	CHECK(!parse(&separate, right_size(&separate), &m));
	CHECK(m.classifier == m.rope_sin + 5 * 2);
	CHECK_EQ(m.vocab_size, 10);
}

TEST(places_the_arrays_in_the_order_of_the_file) {
	struct checkpoint m;
	size_t size;
	char *file = random_checkpoint(&small, &size);

	CHECK(!checkpoint_parse(&m, file, size));
	CHECK_EQ((const char *)m.token_embedding - file, 28);
	CHECK_EQ(m.attention_norm - m.token_embedding, 10 * 8);
	CHECK_EQ(m.wq - m.attention_norm, 2 * 8);
	CHECK_EQ(m.wk - m.wq, 2 * 8 * 8);
	CHECK_EQ(m.wv - m.wk, 2 * 4 * 8);
	CHECK_EQ(m.wo - m.wv, 2 * 4 * 8);
	CHECK_EQ(m.ffn_norm - m.wo, 2 * 8 * 8);
	CHECK_EQ(m.w1 - m.ffn_norm, 2 * 8);
	CHECK_EQ(m.w2 - m.w1, 2 * 12 * 8);
	CHECK_EQ(m.w3 - m.w2, 2 * 12 * 8);
	CHECK_EQ(m.final_norm - m.w3, 2 * 12 * 8);
	CHECK_EQ(m.rope_cos - m.final_norm, 8);
	CHECK_EQ(m.rope_sin - m.rope_cos, 5 * 2);
	CHECK_EQ((const char *)(m.rope_sin + 5 * 2) - file, (long long)size);
	free(file);
}

TEST(refuses_every_other_size) {
	struct checkpoint m;
	size_t size = right_size(&small);

	for (size_t wrong = 0; wrong < size; wrong++)
		CHECK(parse(&small, wrong, &m));
	CHECK(strstr(parse(&small, 27, &m), "header"));
	CHECK(strstr(parse(&small, size - 1, &m), "truncated"));
	CHECK(strstr(parse(&small, size + 1, &m), "longer"));
	CHECK(strstr(parse(&small, size + 4, &m), "longer"));
}

TEST(refuses_absurd_headers_by_name) {
	static const int absurd[] = { 0, -1, INT_MIN, INT_MAX, INT_MIN + 1, 0x40000000 };
	static const char *const names[] = {
		"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len",
	};
	struct checkpoint m;

	for (int field = 0; field < 7; field++) {
		for (size_t i = 0; i < sizeof(absurd) / sizeof(*absurd); i++) {
			struct shape shape = small;
			const char *defect;
			if (field == 5 && absurd[i] == -1)
				continue; /* one token and a separate classifier: odd, but consistent */
			((int *)&shape)[field] = absurd[i];
			defect = parse(&shape, right_size(&small), &m);
			CHECK(defect && strstr(defect, names[field]));
		}
	}
}

TEST(refuses_heads_that_do_not_divide) {
	struct checkpoint m;

	CHECK(strstr(parse(&(struct shape){ 9, 12, 2, 2, 1, 10, 5 }, 4096, &m), "multiple of n_heads"));
	CHECK(strstr(parse(&(struct shape){ 12, 12, 2, 6, 4, 10, 5 }, 4096, &m), "multiple of n_kv_heads"));
	CHECK(strstr(parse(&(struct shape){ 6, 12, 2, 2, 1, 10, 5 }, 4096, &m), "odd"));
}

/* The largest header that is taken promises 2^45 floats and more: the sum must not wrap. */
TEST(adds_up_the_largest_header_without_overflow) {
	struct checkpoint m;
	struct shape largest = { 65536, 65536, 1024, 1, 1, -16777216, 1048576 };

	CHECK(strstr(parse(&largest, 4096, &m), "truncated"));
}

TEST(survives_random_headers) {
	struct checkpoint m;
	int taken = 0;

	for (int i = 0; i < 100000; i++) {
		struct shape shape;
		for (int field = 0; field < 7; field++)
			((int *)&shape)[field] = random_u32() % 8 ? (int)(random_u32() % 5) : (int)random_u32();
		taken += !parse(&shape, 28 + random_u32() % 1000, &m);
	}
	CHECK(taken < 1000);
}

int main(void) {
	RUN(takes_tied_and_separate_classifiers);
	RUN(places_the_arrays_in_the_order_of_the_file);
	RUN(refuses_every_other_size);
	RUN(refuses_absurd_headers_by_name);
	RUN(refuses_heads_that_do_not_divide);
	RUN(adds_up_the_largest_header_without_overflow);
	RUN(survives_random_headers);
	return check_result();
}
