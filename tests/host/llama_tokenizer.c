/*
 * Tests of tokenizer.c: llama2.c's results as constants, the naive reference on random vocabularies and strings, and
 * damaged files.
 *
 * SOURCES: shards/lib/tokenizer.c shards/lib/args.c tests/reference/naive_llama.c
 */
#include "check.h"
#include "llama_random.h"
#include "tokenizer.h"

#define BYTES 256

/* The tokens after <unk>, BOS, EOS and the 256 bytes, from 259 on, with their scores. */
static const struct {
	const char *text;
	float score;
} words[] = {
	{ " ", -100 }, { "a", -100 }, { "b", -100 }, { "c", -100 }, { "\xC3\xA9", -100 }, { " a", -1 }, { "ab", -2 },
	{ "bc", -2 }, { "abc", -5 }, { " abc", -9 }, { "cc", -3 }, { "cccc", -4 }, { "ccc", -4 }, { "a", -200 },
	{ "bb", -2e10f }, { "\x80", -100 },
};

#define WORDS ((int)(sizeof(words) / sizeof(*words)))
#define VOCAB (3 + BYTES + WORDS)

/* Returns the vocabulary above as a tokenizer file, and its size. */
static unsigned char *make_file(size_t *size) {
	unsigned char *file = calloc(1, 4 + VOCAB * 24), *at = file + 4;

	for (int token = 0; token < VOCAB; token++) {
		static const char *const special[] = { "<unk>", "\n<s>\n", "\n</s>\n" };
		char text[16];
		float score = token < 3 + BYTES ? 0 : words[token - 3 - BYTES].score;
		int len = token < 3 ? sprintf(text, "%s", special[token])
			  : token < 3 + BYTES ? sprintf(text, "<0x%02X>", (unsigned)token - 3)
					      : sprintf(text, "%s", words[token - 3 - BYTES].text);
		memcpy(at, &score, 4);
		memcpy(at + 4, &len, 4);
		memcpy(at + 8, text, (size_t)len);
		at += 8 + len;
	}
	*size = (size_t)(at - file);
	return realloc(file, *size);
}

/* Parses a copy of the bytes in a block of exactly their size. Returns the refusal or NULL. */
static const char *parse(const void *bytes, size_t size, int vocab_size) {
	struct tokenizer t;
	void *copy = memcpy(malloc(size ? size : 1), bytes, size), *memory = malloc(tokenizer_memory(vocab_size));
	const char *defect = tokenizer_parse(&t, copy, size, vocab_size, memory);

	free(copy);
	free(memory);
	return defect;
}

/* Encodes in memory of exactly the size that is asked for, and compares with `expected`, which ends with 0. */
static void check_encoding(const struct tokenizer *t, const char *string, const int *expected) {
	int *tokens = malloc(tokenizer_encode_memory(string)), count, n = 0;

	CHECK(!tokenizer_encode(t, string, tokens, &count));
	while (expected[n])
		n++;
	CHECK_EQ(count, n);
	for (int i = 0; i < count && i < n; i++)
		CHECK_EQ(tokens[i], expected[i]);
	free(tokens);
}

/* The expected tokens were printed by llama2.c's encode(). */
TEST(encodes_as_llama2c_does) {
	static const struct {
		const char *string;
		int tokens[16];
	} cases[] = {
		{ "", { 1 } },
		{ "a", { 1, 264 } },
		{ "abc", { 1, 268 } },
		{ "bc abc", { 1, 259, 266, 268 } },
		{ "cccc", { 1, 259, 270 } },
		{ "ccccc", { 1, 259, 270, 262 } },
		{ "bbc", { 1, 259, 261, 266 } },
		{ "ab\xC3\xA9" "c", { 1, 264, 261, 263, 262 } },
		{ "\xE2\x82\xAC", { 1, 259, 229, 133, 175 } },
		{ "a\x80\x80\x80\x80", { 1, 259, 100, 131, 131, 131, 274 } },
		{ "Zaa", { 1, 259, 93, 272, 272 } },
		{ "  aab", { 1, 259, 259, 264, 265 } },
		{ "abcabc", { 1, 268, 267 } },
	};
	struct tokenizer t;
	size_t size;
	unsigned char *file = make_file(&size);
	void *memory = malloc(tokenizer_memory(VOCAB));

	CHECK(!tokenizer_parse(&t, file, size, VOCAB, memory));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		check_encoding(&t, cases[i].string, cases[i].tokens);
	free(memory);
	free(file);
}

/* Checks what a token prints after another one. */
static void check_decoding(const struct tokenizer *t, int previous, int token, const char *expected) {
	char byte;
	struct text text = tokenizer_decode(t, previous, token, &byte);

	CHECK(text_equals(text, expected));
}

TEST(decodes_spaces_and_bytes) {
	struct tokenizer t;
	size_t size;
	unsigned char *file = make_file(&size);
	void *memory = malloc(tokenizer_memory(VOCAB));

	CHECK(!tokenizer_parse(&t, file, size, VOCAB, memory));
	check_decoding(&t, 5, 264, " a");
	check_decoding(&t, TOKEN_BOS, 264, "a");      /* the space that the encoder put there */
	check_decoding(&t, TOKEN_BOS, 259, "");
	check_decoding(&t, 5, 3 + 'A', "A");
	check_decoding(&t, 5, 3 + '\n', "\n");
	check_decoding(&t, 5, 3 + 0, "");             /* bytes that are not text are not printed */
	check_decoding(&t, 5, 3 + 0x1B, "");
	check_decoding(&t, 5, 3 + 0xC3, "");
	check_decoding(&t, 5, 263, "\xC3\xA9");
	check_decoding(&t, 5, 0, "<unk>");
	free(memory);
	free(file);
}

TEST(notices_another_vocabulary) {
	size_t size;
	unsigned char *file = make_file(&size);

	CHECK(!parse(file, size, VOCAB));
	CHECK(strstr(parse(file, size, VOCAB + 1), "fewer tokens"));
	CHECK(strstr(parse(file, size, VOCAB - 1), "more tokens"));
	CHECK(strstr(parse(file, 3, VOCAB), "no tokenizer"));
	CHECK(strstr(parse(file, 0, VOCAB), "no tokenizer"));
	for (size_t cut = 4; cut < size; cut++)
		CHECK(parse(file, cut, VOCAB));
	free(file);
}

TEST(refuses_bad_lengths) {
	static const int lengths[] = { 0, -1, 0x7FFFFFFF, (int)0x80000000 };
	size_t size;
	unsigned char *file = make_file(&size);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		memcpy(file + 8, &lengths[i], 4);
		CHECK(strstr(parse(file, size, VOCAB), "past the end"));
	}
	free(file);
}

/* Without byte tokens a strange character cannot be encoded; without a space the leading one is left out. */
TEST(says_what_a_small_vocabulary_lacks) {
	static const unsigned char file[] = "\1\0\0\0" "\0\0\0\0\1\0\0\0u" "\0\0\0\0\1\0\0\0s"
					    "\0\0\0\0\1\0\0\0e" "\0\0\0\0\1\0\0\0x";
	int memory[8], tokens[16], count;
	struct tokenizer t;

	CHECK(!tokenizer_parse(&t, file, sizeof(file) - 1, 4, memory));
	CHECK(!tokenizer_encode(&t, "xx", tokens, &count));
	CHECK_EQ(count, 3);
	CHECK(strstr(tokenizer_encode(&t, "xyx", tokens, &count), "not in the vocabulary"));
	CHECK(!tokenizer_parse(&t, file, 13, 1, memory));
	CHECK(tokenizer_encode(&t, "u", tokens, &count));
}

/* Encodes a string with both implementations and decodes the result with both. */
static void compare_with_reference(const struct tokenizer *t, const struct naive_tokenizer *reference,
	const char *string) {
	int *expected = malloc((strlen(string) + 2) * sizeof(int)), n = naive_encode(reference, string, expected);
	char naive_byte[2];

	expected = realloc(expected, (size_t)(n + 1) * sizeof(int));
	expected[n] = 0;
	check_encoding(t, string, expected);
	for (int i = 1; i < n; i++)
		check_decoding(t, expected[i - 1], expected[i],
			       naive_decode(reference, expected[i - 1], expected[i], naive_byte));
	free(expected);
}

TEST(agrees_with_the_reference_on_random_vocabularies) {
	for (int round = 0; round < 60; round++) {
		int vocab_size = 301 + (int)(random_u32() % 400);
		struct tokenizer t;
		size_t size;
		unsigned char *file = random_tokenizer(vocab_size, &size);
		struct naive_tokenizer *reference = naive_tokenizer_new(file, vocab_size);
		void *memory = malloc(tokenizer_memory(vocab_size));
		CHECK(!tokenizer_parse(&t, file, size, vocab_size, memory));
		for (int i = 0; i < 60; i++) {
			char string[80];
			int len = (int)(random_u32() % 70);
			for (int c = 0; c < len; c++)
				string[c] = random_u32() % 6 ? " abcdef"[random_u32() % 7] : (char)(1 + random_u32() % 255);
			string[len] = 0;
			compare_with_reference(&t, reference, string);
		}
		naive_tokenizer_free(reference);
		free(memory);
		free(file);
	}
}

/* Damages a good file in random places; whatever is still taken must encode and decode without a fault. */
TEST(survives_damaged_files) {
	int taken = 0;

	for (int round = 0; round < 3000; round++) {
		struct tokenizer t;
		size_t size;
		unsigned char *file = random_tokenizer(40, &size);
		int memory[80], tokens[64], count;
		char byte;
		for (uint32_t i = random_u32() % 4; i > 0; i--)
			file[random_u32() % size] = (unsigned char)random_u32();
		if (!tokenizer_parse(&t, file, size, 40, memory)) {
			taken++;
			if (!tokenizer_encode(&t, "abcab\xFF ee", tokens, &count))
				for (int i = 1; i < count; i++)
					tokenizer_decode(&t, tokens[i - 1], tokens[i], &byte);
		}
		free(file);
	}
	CHECK(taken > 100);
}

int main(void) {
	RUN(encodes_as_llama2c_does);
	RUN(decodes_spaces_and_bytes);
	RUN(notices_another_vocabulary);
	RUN(refuses_bad_lengths);
	RUN(says_what_a_small_vocabulary_lacks);
	RUN(agrees_with_the_reference_on_random_vocabularies);
	RUN(survives_damaged_files);
	return check_result();
}
