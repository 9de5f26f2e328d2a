/*
 * tokenizer.h: the byte-pair encoding of llama2.c's tokenizer.bin.
 *
 * The file is an int32 (length of the longest token, not needed here), then for every token of the vocabulary a
 * float32 score, an int32 length and the bytes. It does not say how many tokens there are: the model does.
 * Tokens 0, 1, 2 are <unk>, BOS, EOS; tokens 3 to 258, where a vocabulary has them, are the single bytes.
 *
 * Read next: tokenizer.c, generate.c.
 */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "shardlib.h"

#define TOKEN_BOS 1 /* begins every text; the model says it to end one */

struct tokenizer {
	int vocab_size;
	const unsigned char *bytes; /* the file */
	uint32_t *entry;            /* (vocab) where the token's score stands in the file */
	int *sorted;                /* (vocab) tokens in the order of their text */
};

size_t tokenizer_memory(int vocab_size);
const char *tokenizer_parse(struct tokenizer *tokenizer, const void *bytes, size_t size, int vocab_size, void *memory);
size_t tokenizer_encode_memory(const char *string);
const char *tokenizer_encode(const struct tokenizer *tokenizer, const char *string, int *tokens, int *count);
struct text tokenizer_decode(const struct tokenizer *tokenizer, int previous, int token, char *byte);

#endif
