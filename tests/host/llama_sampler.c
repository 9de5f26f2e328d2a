/*
 * Tests of sampler.c: what llama2.c's sampler chose, as constants, and the naive reference on random logits.
 *
 * SOURCES: shards/lib/sampler.c tests/reference/naive_llama.c
 */
#include "check.h"
#include "llama_random.h"
#include "sampler.h"

#define N 12

/* Three equal highest ones: top-p has to keep their order. */
static const float logits[N] = { 1.5f, -0.25f, 2.0f, 2.0f, 0.5f, -3.0f, 1.0f, 2.0f, 0.0f, 1.5f, -1.0f, 0.75f };

TEST(greedy_takes_the_first_of_the_highest) {
	struct sampler s = { 0, 0.9f, 42 };
	float copy[N];

	memcpy(copy, logits, sizeof(copy));
	CHECK_EQ(sampler_choose(&s, copy, N, NULL), 2);
	CHECK(!memcmp(copy, logits, sizeof(copy)));
	CHECK_EQ(s.state, 42);
}

TEST(flips_the_coins_of_llama2c) {
	static const float coins[] = { 0.339085221f, 0.782255828f, 0.790136993f, 0.944042623f, 0.764393628f, 0.835739851f };
	struct sampler s = { 1, 1, 42 };

	for (int i = 0; i < 6; i++)
		CHECK(sampler_coin(&s) == coins[i]);
}

TEST(chooses_what_llama2c_chose) {
	static const struct {
		struct sampler sampler;
		int tokens[24];
	} cases[] = {
		{ { 1.0f, 1.00f, 42 }, { 3, 7, 7, 10, 7, 9, 2, 3, 2, 7, 3, 3, 9, 2, 0, 6, 3, 2, 11, 3, 3, 7, 3, 3 } },
		{ { 0.5f, 0.90f, 42 }, { 3, 7, 7, 9, 7, 0, 2, 3, 3, 7, 3, 3, 0, 2, 2, 7, 3, 3, 9, 3, 3, 7, 3, 3 } },
		{ { 0.7f, 0.50f, 7 }, { 7, 7, 2, 2, 3, 3, 7, 2, 3, 7, 7, 7, 3, 7, 2, 3, 7, 7, 3, 7, 2, 2, 3, 3 } },
		{ { 1.0f, 0.30f, 1234567 }, { 3, 3, 3, 2, 3, 2, 2, 2, 2, 3, 3, 3, 2, 3, 3, 2, 3, 2, 3, 3, 3, 3, 2, 2 } },
		{ { 2.0f, 0.95f, 99 }, { 7, 1, 8, 4, 7, 6, 2, 11, 6, 2, 2, 6, 2, 0, 4, 0, 9, 3, 0, 6, 9, 7, 9, 8 } },
		{ { 1.0f, 0.00f, 2147483647 }, { 7, 2, 9, 2, 7, 7, 11, 9, 3, 2, 7, 3, 7, 8, 3, 6, 9, 2, 7, 3, 3, 3, 11, 2 } },
	};
	struct candidate candidates[N];
	float copy[N];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sampler s = cases[i].sampler;
		for (int k = 0; k < 24; k++) {
			memcpy(copy, logits, sizeof(copy));
			CHECK_EQ(sampler_choose(&s, copy, N, candidates), cases[i].tokens[k]);
		}
	}
}

TEST(chooses_what_llama2c_chose_from_many) {
	static const int tokens[] = {
		33, 179, 543, 403, 530, 225, 421, 396, 570, 509, 392, 7, 73, 28, 569, 169, 274, 112, 392, 83, 292, 71, 364, 419,
	};
	struct sampler s = { 0.8f, 0.9f, 5 };
	struct candidate candidates[600];
	float many[600];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
		/* Coarse steps, so that many are equal. */
		for (int k = 0; k < 600; k++) {
			x = x * 1664525u + 1013904223u;
			many[k] = (float)(x >> 24) / 32.0f;
		}
		CHECK_EQ(sampler_choose(&s, many, 600, candidates), tokens[i]);
	}
}

TEST(agrees_with_the_reference_on_random_logits) {
	static const float top_ps[] = { 0, 0.1f, 0.5f, 0.9f, 0.99f, 1 };
	int differences = 0;

	for (int round = 0; round < 3000; round++) {
		struct sampler s = { 0.2f + (float)(round % 7) * 0.3f, top_ps[round % 6], random_u32() | 1 };
		struct naive_sampler reference = { s.temperature, s.top_p, s.state };
		int n = 2 + (int)(random_u32() % 300);
		struct candidate *candidates = malloc((size_t)n * sizeof(*candidates));
		float *a = malloc((size_t)n * sizeof(float)), *b = malloc((size_t)n * sizeof(float));
		for (int i = 0; i < n; i++)
			a[i] = b[i] = random_float() * 4;
		differences += sampler_choose(&s, a, n, candidates) != naive_sample(&reference, b, n);
		CHECK_EQ(s.state, reference.state);
		free(candidates);
		free(a);
		free(b);
	}
	CHECK_EQ(differences, 0);
}

/* What llama2.c leaves undefined still yields a token. */
TEST(always_chooses_a_token) {
	static const float wild[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0 };
	struct candidate candidates[6];
	float copy[6];

	for (int round = 0; round < 6000; round++) {
		struct sampler s = { 0.5f, (float)(round % 5) / 4, (uint64_t)round + 1 };
		int n = 1 + round % 6, token;
		for (int i = 0; i < n; i++)
			copy[i] = wild[random_u32() % 6];
		token = sampler_choose(&s, copy, n, candidates);
		CHECK(token >= 0 && token < n);
	}
	for (int i = 0; i < 6; i++)
		copy[i] = 1;
	CHECK_EQ(sampler_choose(&(struct sampler){ 1, 0.0001f, 9 }, copy, 6, candidates), 0);
}

int main(void) {
	RUN(greedy_takes_the_first_of_the_highest);
	RUN(flips_the_coins_of_llama2c);
	RUN(chooses_what_llama2c_chose);
	RUN(chooses_what_llama2c_chose_from_many);
	RUN(agrees_with_the_reference_on_random_logits);
	RUN(always_chooses_a_token);
	return check_result();
}
