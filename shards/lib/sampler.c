/*
 * sampler.c: greedy choice, sampling with a temperature, and top-p ("nucleus") sampling.
 *
 * The same seed gives the same tokens as llama2.c. So the sums are floats in the order of the vocabulary, the
 * random numbers are xorshift64*, and equal probabilities keep the order of their tokens. The exponential is
 * computed in double precision and then rounded, which is what a good expf() gives.
 *
 * Read next: generate.c.
 */
#include "sampler.h"
#include "shardlib.h"

/* Returns e^x for x <= 0, rounded to float: e^x = 2^k * e^r with |r| <= ln(2) / 2. It is 0 below the smallest
 * float, and for what is no number. */
static float exp_rounded(float x) {
	static const double ln2 = 0.69314718055994530942;
	static const double inverse_factorial[] = { 1, 1, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
						    1.0 / 40320, 1.0 / 362880 };
	union {
		uint64_t bits;
		double value;
	} power;
	double r, series = 0;
	int k;

	if (!(x >= -104)) return 0;
	k = (int)(x * (1 / ln2) - 0.5);
	r = x - k * ln2;
#pragma GCC unroll 10
	for (int i = 9; i >= 0; i--)
		series = series * r + inverse_factorial[i];
	power.bits = (uint64_t)(1023 + k) << 52;
	return (float)(series * power.value);
}

/* Turns logits into probabilities in place. */
static void softmax(float *x, int n) {
	float max = x[0], sum = 0;

	for (int i = 1; i < n; i++)
		max = x[i] > max ? x[i] : max;
	for (int i = 0; i < n; i++) {
		x[i] = exp_rounded(x[i] - max);
		sum += x[i];
	}
	for (int i = 0; i < n; i++)
		x[i] /= sum;
}

/* Returns the first token with the highest logit. */
int sampler_argmax(const float *logits, int n) {
	int best = 0;

	for (int i = 1; i < n; i++) {
		if (logits[i] > logits[best]) best = i;
	}
	return best;
}

/* Returns the next random number in [0, 1): the upper 24 bits of a step of xorshift64*. */
float sampler_coin(struct sampler *sampler) {
	sampler->state ^= sampler->state >> 12;
	sampler->state ^= sampler->state << 25;
	sampler->state ^= sampler->state >> 27;
	return (float)((sampler->state * 0x2545F4914F6CDD1Dull) >> 40) / 16777216.0f;
}

/* Chooses among all tokens: the one in whose share of [0, 1) the coin lies. */
static int choose_from_all(const float *probabilities, int n, float coin) {
	float sum = 0;

	for (int i = 0; i < n; i++) {
		sum += probabilities[i];
		if (coin < sum) return i;
	}
	return n - 1; /* rounding left the sum below the coin */
}

/* Tells whether `a` is to be taken before `b`: the likelier one, of equal ones the lower token. */
static int likelier(struct candidate a, struct candidate b) {
	return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

/* Lets the candidate at heap place `root` sink until neither of its children is likelier. */
static void sink(struct candidate *heap, int root, int count) {
	for (int child = 2 * root + 1; child < count; child = 2 * root + 1) {
		if (child + 1 < count && likelier(heap[child + 1], heap[child])) child++;
		if (!likelier(heap[child], heap[root])) return;
		struct candidate parent = heap[root];
		heap[root] = heap[child];
		heap[child] = parent;
		root = child;
	}
}

/* Chooses among the likeliest tokens that together just exceed top_p. Only they are ever put in order: they are
 * taken from a heap one by one, and each goes where the heap has become shorter, at its end. */
static int choose_from_top(const float *probabilities, int n, float top_p, float coin, struct candidate *heap) {
	/* A token below the cutoff cannot be among them. */
	float cutoff = (1.0f - top_p) / (float)(n - 1), total = 0, sum = 0;
	int count = 0, left;

	for (int i = 0; i < n; i++) {
		if (probabilities[i] >= cutoff) heap[count++] = (struct candidate){ probabilities[i], i };
	}
	if (count == 0) return sampler_argmax(probabilities, n);
	for (int root = count / 2; root-- > 0;)
		sink(heap, root, count);
	for (left = count; left > 0 && total <= top_p;) {
		struct candidate best = heap[0];
		total += best.probability;
		heap[0] = heap[--left];
		heap[left] = best;
		sink(heap, 0, left);
	}
	for (int i = count - 1; i > left; i--) {
		sum += heap[i].probability;
		if (coin * total < sum) return heap[i].token;
	}
	return heap[left].token;
}

/* Chooses the next of n tokens. `logits` is overwritten unless the temperature is 0; `candidates` has room for n. */
int sampler_choose(struct sampler *sampler, float *logits, int n, struct candidate *candidates) {
	float coin;

	if (sampler->temperature == 0) return sampler_argmax(logits, n);
	for (int i = 0; i < n; i++)
		logits[i] /= sampler->temperature;
	softmax(logits, n);
	coin = sampler_coin(sampler);
	if (sampler->top_p <= 0 || sampler->top_p >= 1) return choose_from_all(logits, n, coin);
	return choose_from_top(logits, n, sampler->top_p, coin, candidates);
}
