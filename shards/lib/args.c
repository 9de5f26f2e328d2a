/*
 * args.c: the args string of a shard, `key=value` words with single spaces or more between them.
 *
 * The value of `prompt=` is the whole rest of the string, so that it may hold spaces; it therefore comes last.
 * Nothing here makes a system call, and no function reads past the string it was given.
 *
 * Read next: llama_options.c for a user.
 */
#include "shardlib.h"

/* Tells whether a text is the same as a terminated string. */
int text_equals(struct text text, const char *string) {
	return text.len == strlen(string) && memcmp(text.start, string, text.len) == 0;
}

/* Takes the next word from *args, which may be NULL for no args. Returns 0 when there is none. A word
 * without `=` gets a value whose start is NULL. */
int args_next(const char **args, struct text *key, struct text *value) {
	const char *s = *args;

	if (!s) return 0;
	while (*s == ' ')
		s++;
	if (!*s) return 0;

	*key = (struct text){ s, 0 };
	*value = (struct text){ NULL, 0 };
	while (*s && *s != ' ' && *s != '=')
		s++;
	key->len = (size_t)(s - key->start);
	if (*s == '=') {
		int rest_of_string = text_equals(*key, "prompt");
		value->start = ++s;
		while (*s && (rest_of_string || *s != ' '))
			s++;
		value->len = (size_t)(s - value->start);
	}
	*args = s;
	return 1;
}

/* Reads a whole text as a decimal number. Returns 0 when it is none or does not fit. */
int text_to_u64(struct text text, uint64_t *number) {
	uint64_t result = 0;

	if (!text.start || text.len == 0) return 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned char)text.start[i] - '0';
		if (digit > 9 || __builtin_mul_overflow(result, 10, &result) ||
		    __builtin_add_overflow(result, digit, &result))
			return 0;
	}
	*number = result;
	return 1;
}

/* Reads a whole text such as `0.9` or `1` as a number of zero or more. Returns 0 when it is none, or has more
 * than 15 digits. Up to there the digits as an integer and the power of ten are both exact in a double, so the
 * quotient is the correctly rounded value, as atof() gives it. */
int text_to_float(struct text text, float *number) {
	double digits = 0, scale = 1;
	size_t n_digits = 0;
	int after_point = 0;

	if (!text.start) return 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned char)text.start[i] - '0';
		if (text.start[i] == '.' && !after_point) {
			after_point = 1;
			continue;
		}
		if (digit > 9 || ++n_digits > 15) return 0;
		digits = digits * 10 + digit;
		if (after_point) scale *= 10;
	}
	*number = (float)(digits / scale);
	return n_digits > 0;
}
