/*
 * Fuzz target: a vocabulary of any bytes is refused or can encode any prompt and decode any token.
 *
 * The bytes are one for the size of the vocabulary less one, the prompt with its NUL, and the file.
 *
 * SOURCES: shards/lib/tokenizer.c
 * PLANT: if (len < 1 || (size_t)len > size - at - ENTRY_HEADER)
 * INTO: if (len < 1)
 */
#include "tokenizer.h"
#include "fuzz.h"

/* Encodes the prompt and decodes every token after every other one that matters: BOS and itself. */
static void use(const struct tokenizer *tokenizer, const char *prompt) {
	char byte;
	int count, *tokens = malloc(tokenizer_encode_memory(prompt));

	if (tokenizer_encode(tokenizer, prompt, tokens, &count) == NULL) {
		REQUIRE(count >= 1 && (size_t)count <= strlen(prompt) + 2);
		for (int i = 0; i < count; i++)
			REQUIRE(tokens[i] >= 0 && tokens[i] < tokenizer->vocab_size);
	}
	free(tokens);
	for (int token = 0; token < tokenizer->vocab_size; token++) {
		struct text first = tokenizer_decode(tokenizer, TOKEN_BOS, token, &byte);
		touch(first.start, first.len);
		struct text later = tokenizer_decode(tokenizer, token, token, &byte);
		touch(later.start, later.len);
	}
}

/* Takes the bytes apart; the file gets a block of its own, of exactly its size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct tokenizer tokenizer;
	const uint8_t *end = size < 2 ? NULL : memchr(data + 1, 0, size - 1);

	if (end == NULL) return 0;
	int vocab_size = data[0] + 1;
	size_t file_size = (size_t)(data + size - end) - 1;
	uint8_t *file = malloc(file_size + (file_size == 0));
	void *memory = malloc(tokenizer_memory(vocab_size));
	memcpy(file, end + 1, file_size);
	if (tokenizer_parse(&tokenizer, file, file_size, vocab_size, memory) == NULL)
		use(&tokenizer, (const char *)data + 1);
	free(memory);
	free(file);
	return 0;
}
