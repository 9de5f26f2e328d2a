/*
 * matmul: runs the graded transformer's matmul() on numbers that follow from a seed; its exit code is a checksum of the
 * products.
 *
 * args: "once|many|plain SEED ROWS COLUMNS": one product, or 40 with another vector each; plain takes the loop below
 * instead, as a measure. The matrix ends where the mapped memory ends, so that a read behind it kills the shard. Exit
 * code 1 << 31: something was written behind the result.
 *
 * Read next: shards/lib/transformer.c, labs/18-matmul/grader.py.
 */
#include "../../../shards/lib/transformer.c"

#include "../../../tests/shards/expect.h"

#define ROUNDS 40
#define REPEATS 12 /* of each product, so that preparing the numbers does not count */
#define MATRIX_END 0x300000UL
#define VECTOR COCONUT_HEAP_BASE
#define RESULT (COCONUT_HEAP_BASE + 4 * PAGE)
#define SENTINEL 12345.0f

static float value(uint64_t seed, uint64_t i) {
	return (float)((int)((uint32_t)((seed + i) * 2654435761u) >> 24) % 17 - 8);
}

static __attribute__((noinline)) void plain(float *out, const float *w, const float *x, int rows, int columns) {
	for (int i = 0; i < rows; i++) {
		float sum = 0;
		for (int j = 0; j < columns; j++)
			sum += w[i * columns + j] * x[j];
		out[i] = sum;
	}
}

static __attribute__((noinline)) void yours(float *out, const float *w, const float *x, int rows, int columns) {
	matmul(out, w, x, rows, columns);
}

int main(const char *args) {
	struct text word, value_word;
	uint64_t seed = 0, rows = 0, columns = 0, checksum = 0;
	const char *how = args;
	float *x = (float *)VECTOR, *out = (float *)RESULT, *w;

	args_next(&args, &word, &value_word);
	CHECK(args_next(&args, &word, &value_word) && text_to_u64(word, &seed));
	CHECK(args_next(&args, &word, &value_word) && text_to_u64(word, &rows));
	CHECK(args_next(&args, &word, &value_word) && text_to_u64(word, &columns));
	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, (MATRIX_END - COCONUT_HEAP_BASE) / PAGE), 0);
	w = (float *)(MATRIX_END - rows * columns * sizeof(float));
	for (uint64_t i = 0; i < rows * columns; i++)
		w[i] = value(seed, 1000 + i);
	for (uint64_t round = 0; round < (how[0] == 'o' ? 1 : ROUNDS); round++) {
		for (uint64_t j = 0; j < columns; j++)
			x[j] = value(seed + round, j);
		out[rows] = SENTINEL;
		for (int i = 0; i < (how[0] == 'o' ? 1 : REPEATS); i++)
			(how[0] == 'p' ? plain : yours)(out, w, x, (int)rows, (int)columns);
		if (out[rows] != SENTINEL) coconut_exit(1UL << 31);
		for (uint64_t i = 0; i < rows; i++)
			checksum = (checksum * 31 + (uint64_t)(int64_t)out[i]) & 0x7FFFFFFF;
	}
	coconut_exit(checksum);
}
