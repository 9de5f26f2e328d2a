/*
 * random_model: writes a checkpoint of random weights and a tokenizer of random tokens, in llama2.c's file formats.
 *
 *     random_model DIM HIDDEN LAYERS HEADS KV_HEADS VOCABULARY CONTEXT MODEL-FILE TOKENIZER-FILE
 *
 * A negative vocabulary gives the model a classifier of its own. The same numbers give the same files.
 *
 * Read next: tests/host/llama_random.h, tests/test_inference.py.
 */
#include <stdio.h>

#include "../host/llama_random.h"

/* Writes a whole file, or ends the program. */
static void write_file(const char *path, const void *bytes, size_t size) {
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv) {
	int numbers[7];
	struct shape shape;
	void *bytes;
	size_t size;

	if (argc != 10) return 2;
	for (int i = 0; i < 7; i++)
		numbers[i] = atoi(argv[i + 1]);
	memcpy(&shape, numbers, sizeof(shape));
	bytes = random_checkpoint(&shape, &size);
	write_file(argv[8], bytes, size);
	bytes = random_tokenizer(abs(shape.vocab_size), &size);
	write_file(argv[9], bytes, size);
	return 0;
}
