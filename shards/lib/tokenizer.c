/*
 * tokenizer.c: text to tokens and back, with the results of llama2.c's encode() and decode().
 *
 * tokenizer_parse() checks the whole file once. From then on every entry[] is a valid offset and every token is
 * in 0..vocab_size-1, which the other functions rely on. No function needs more memory than it is given.
 *
 * Read next: tokenizer.h for the format, tests/host/llama_tokenizer.c for its corners.
 */
#include "tokenizer.h"

#define FIRST_BYTE_TOKEN 3
#define ENTRY_HEADER     8       /* score and length stand before a token's bytes */
#define NEVER_MERGED     -1e10f  /* a pair whose score is no higher stays two tokens, as in llama2.c */

/* Returns a token's text. It ends at a NUL, since llama2.c keeps tokens as C strings. */
static struct text token_text(const struct tokenizer *tokenizer, int token) {
	const unsigned char *entry = tokenizer->bytes + tokenizer->entry[token];
	struct text text = { (const char *)entry + ENTRY_HEADER, 0 };
	int len;

	memcpy(&len, entry + 4, sizeof(len));
	while (text.len < (size_t)len && text.start[text.len])
		text.len++;
	return text;
}

/* Returns a token's score: pairs that make a token of a high score are merged first. */
static float token_score(const struct tokenizer *tokenizer, int token) {
	float score;

	memcpy(&score, tokenizer->bytes + tokenizer->entry[token], sizeof(score));
	return score;
}

/* Compares a text with the concatenation of `head` and `tail`, byte by byte like strcmp. */
static int compare_joined(struct text text, struct text head, struct text tail) {
	for (size_t i = 0; i < text.len && i < head.len + tail.len; i++) {
		int left = (unsigned char)text.start[i];
		int right = (unsigned char)(i < head.len ? head.start[i] : tail.start[i - head.len]);
		if (left != right) return left - right;
	}
	return (text.len > head.len + tail.len) - (text.len < head.len + tail.len);
}

/* Tells whether token `a` sorts before token `b`: by text, then by number, which makes the order a stable one. */
static int sorts_before(const struct tokenizer *tokenizer, int a, int b) {
	struct text nothing = { NULL, 0 };
	int order = compare_joined(token_text(tokenizer, a), token_text(tokenizer, b), nothing);

	return order ? order < 0 : a < b;
}

/* Lets the token at heap place `root` sink until neither of its children sorts after it. */
static void sink(struct tokenizer *tokenizer, int root, int count) {
	int *heap = tokenizer->sorted;

	for (int child = 2 * root + 1; child < count; child = 2 * root + 1) {
		if (child + 1 < count && sorts_before(tokenizer, heap[child], heap[child + 1])) child++;
		if (!sorts_before(tokenizer, heap[root], heap[child])) return;
		int token = heap[root];
		heap[root] = heap[child];
		heap[child] = token;
		root = child;
	}
}

/* Sorts the vocabulary in place (heapsort: no memory, no recursion, no bad case). */
static void sort_vocabulary(struct tokenizer *tokenizer) {
	int *heap = tokenizer->sorted;

	for (int i = 0; i < tokenizer->vocab_size; i++)
		heap[i] = i;
	for (int root = tokenizer->vocab_size / 2; root-- > 0;)
		sink(tokenizer, root, tokenizer->vocab_size);
	for (int count = tokenizer->vocab_size - 1; count > 0; count--) {
		int last = heap[0];
		heap[0] = heap[count];
		heap[count] = last;
		sink(tokenizer, 0, count);
	}
}

/* Returns how many bytes of memory tokenizer_parse() needs. */
size_t tokenizer_memory(int vocab_size) { return (size_t)vocab_size * (sizeof(uint32_t) + sizeof(int)); }

/* Describes the file in `bytes`, which must outlive `tokenizer`, for a model of `vocab_size` tokens. `memory` is
 * 4-byte aligned. Returns NULL, or one sentence about what is wrong. */
const char *tokenizer_parse(struct tokenizer *tokenizer, const void *bytes, size_t size, int vocab_size, void *memory) {
	size_t at = sizeof(int);

	if (size < at || size > UINT32_MAX) return "the file is no tokenizer";
	tokenizer->vocab_size = vocab_size;
	tokenizer->bytes = bytes;
	tokenizer->entry = memory;
	tokenizer->sorted = (int *)(tokenizer->entry + vocab_size);
	for (int token = 0; token < vocab_size; token++) {
		int len;
		if (size - at < ENTRY_HEADER) return "the tokenizer has fewer tokens than the model's vocabulary";
		memcpy(&len, tokenizer->bytes + at + 4, sizeof(len));
		if (len < 1 || (size_t)len > size - at - ENTRY_HEADER)
			return "a token of the tokenizer is empty or reaches past the end of the file";
		tokenizer->entry[token] = (uint32_t)at;
		at += ENTRY_HEADER + (size_t)len;
	}
	if (at != size) return "the tokenizer has more tokens than the model's vocabulary";
	sort_vocabulary(tokenizer);
	return NULL;
}

/* Returns the token whose text is `head` followed by `tail`, or -1. The halving is that of the C library's
 * bsearch(), so that the same one of several equal texts is found. */
static int find_token(const struct tokenizer *tokenizer, struct text head, struct text tail) {
	int low = 0, high = tokenizer->vocab_size;

	while (low < high) {
		int middle = low + (high - low) / 2;
		int order = compare_joined(token_text(tokenizer, tokenizer->sorted[middle]), head, tail);
		if (order == 0) return tokenizer->sorted[middle];
		if (order > 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

/* Returns the length of the UTF-8 sequence at `s`: a byte and the continuation bytes after it, 4 at most. */
static size_t codepoint_length(const char *s) {
	size_t len = 1;

	while (len < 4 && (s[len] & 0xC0) == 0x80)
		len++;
	return len;
}

/* Appends the token of one character, or the byte tokens of its bytes. Returns 0 when there are none. */
static int append_character(const struct tokenizer *tokenizer, struct text character, int *tokens, int *count) {
	int token = find_token(tokenizer, character, (struct text){ NULL, 0 });

	if (token >= 0) {
		tokens[(*count)++] = token;
		return 1;
	}
	for (size_t i = 0; i < character.len; i++) {
		token = (unsigned char)character.start[i] + FIRST_BYTE_TOKEN;
		if (token >= tokenizer->vocab_size) return 0;
		tokens[(*count)++] = token;
	}
	return 1;
}

/* Returns the token that tokens[i] and tokens[i + 1] merge into, or -1. */
static int merged_pair(const struct tokenizer *tokenizer, const int *tokens, int i) {
	int token = find_token(tokenizer, token_text(tokenizer, tokens[i]), token_text(tokenizer, tokens[i + 1]));

	return token >= 0 && token_score(tokenizer, token) > NEVER_MERGED ? token : -1;
}

/* Returns the place of the first pair that merges into the token with the highest score, or -1. */
static int best_pair(const struct tokenizer *tokenizer, const int *merged, int pairs) {
	int best = -1;

	for (int i = 0; i < pairs; i++) {
		if (merged[i] >= 0 &&
		    (best < 0 || token_score(tokenizer, merged[i]) > token_score(tokenizer, merged[best])))
			best = i;
	}
	return best;
}

/* Merges pairs of neighbours, the best first, until no pair makes a token. merged[i] is what the pair at i makes;
 * a merge changes only the pairs on its two sides. */
static void merge_pairs(const struct tokenizer *tokenizer, int *tokens, int *merged, int *count) {
	int best;

	for (int i = 0; i + 1 < *count; i++)
		merged[i] = merged_pair(tokenizer, tokens, i);
	while ((best = best_pair(tokenizer, merged, *count - 1)) >= 0) {
		tokens[best] = merged[best];
		(*count)--;
		for (int i = best + 1; i < *count; i++) {
			tokens[i] = tokens[i + 1];
			merged[i - 1] = merged[i];
		}
		if (best > 0) merged[best - 1] = merged_pair(tokenizer, tokens, best - 1);
		if (best + 1 < *count) merged[best] = merged_pair(tokenizer, tokens, best);
	}
}

/* Returns how many bytes of memory tokenizer_encode() needs behind `tokens` for this string. */
size_t tokenizer_encode_memory(const char *string) {
	/* BOS, the space before the text and a token a byte, twice: tokens and the merges of pairs. */
	return 2 * (strlen(string) + 2) * sizeof(int);
}

/* Encodes a string: BOS, a space if the string is not empty, its characters, then merges. `tokens` has the room
 * that tokenizer_encode_memory() says. Returns NULL and the number of tokens in *count, or what is wrong. */
const char *tokenizer_encode(const struct tokenizer *tokenizer, const char *string, int *tokens, int *count) {
	int *merged = tokens + strlen(string) + 2;
	size_t len;

	*count = 0;
	if (tokenizer->vocab_size <= TOKEN_BOS) return "the vocabulary has no token to begin a text with";
	tokens[(*count)++] = TOKEN_BOS;
	/* A vocabulary without a space cannot have the leading one either. */
	if (*string && find_token(tokenizer, (struct text){ " ", 1 }, (struct text){ NULL, 0 }) >= 0)
		append_character(tokenizer, (struct text){ " ", 1 }, tokens, count);
	for (; *string; string += len) {
		len = codepoint_length(string);
		if (!append_character(tokenizer, (struct text){ string, len }, tokens, count))
			return "the prompt has a character that is not in the vocabulary";
	}
	merge_pairs(tokenizer, tokens, merged, count);
	return NULL;
}

/* Returns the value of a hexadecimal digit, or -1. */
static int hex_digit(char c) {
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'A' && c <= 'F') return c - 'A' + 10;
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	return -1;
}

/* Returns the byte that a text like <0x0A> stands for, or -1. As in llama2.c's sscanf, one digit will do and what
 * follows the digits does not matter. */
static int raw_byte(struct text text) {
	int high, low;

	if (text.len < 4 || memcmp(text.start, "<0x", 3) != 0) return -1;
	high = hex_digit(text.start[3]);
	low = text.len > 4 ? hex_digit(text.start[4]) : -1;
	return high < 0 || low < 0 ? high : high * 16 + low;
}

/* Tells whether a single byte is printed: ASCII text and white space are, the rest could be parts of anything. */
static int is_printed(char c) { return (c >= ' ' && c <= '~') || (c >= '\t' && c <= '\r'); }

/* Returns what to print for `token` after `previous`. *byte keeps the text of a raw byte. */
struct text tokenizer_decode(const struct tokenizer *tokenizer, int previous, int token, char *byte) {
	struct text text = token_text(tokenizer, token);
	int raw;

	/* The encoder put a space before the text; the first token gives it back. */
	if (previous == TOKEN_BOS && text.len && text.start[0] == ' ') {
		text.start++;
		text.len--;
	}
	raw = raw_byte(text);
	if (raw >= 0) {
		*byte = (char)raw;
		text = (struct text){ byte, 1 };
	}
	if (text.len == 1 && !is_printed(text.start[0])) text.len = 0;
	return text;
}
