/*
 * Tests of console.c: which bytes reach the port. Every sequence of three bytes, many of four, every code point, and
 * lines of the supervisor that are too long. What is allowed is decided here by other means than in console.c: the
 * table of well-formed sequences (Unicode 15, table 3-7), and for code points by tests/test_console.py, which calls
 * this program with the word `ranges` and compares what it prints with Python's table of characters.
 *
 * SOURCES: console.c
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include <stdarg.h>

#include "kernel.h"
#include "check.h"

#define WRITER 3
#define LAST_CODE 0x10FFFF
#define QUEUE 1280

static char port[1 << 18];
static size_t port_len;
size_t serial_queued; /* what is in the queue */
static size_t waits;  /* how often a byte found no room */

int serial_room(int bursts) { return bursts ? (int)(QUEUE - serial_queued) : 0; }

void serial_write(const char *text, size_t len) {
	for (size_t i = 0; i < len && port_len < sizeof(port); i++) {
		if (serial_queued == QUEUE) waits++, serial_queued = 0;
		serial_queued++;
		port[port_len++] = text[i];
	}
}

size_t format(char *out, size_t size, const char *template, va_list args) {
	return (size_t)vsnprintf(out, size, template, args);
}

/* Writes bytes as a shard does, in a line of their own. Returns how many came out, in `port`. */
static size_t through(const char *bytes, size_t len) {
	port_len = 0;
	serial_queued = 0;
	console_write(WRITER, bytes, len);
	console_write(WRITER, "\n", 1);
	return port_len - 1;
}

/* Writes a code point as UTF-8, or, above what is allowed, as the same rule would have it. Returns the length. */
static size_t encode(uint32_t code, char *out) {
	size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	if (len == 1) out[0] = (char)code;
	for (size_t i = len - 1; len > 1 && i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3F));
	if (len > 1) out[0] = (char)((0xF0 << (4 - len)) | code);
	return len;
}

/* Returns the length of the well-formed sequence at the beginning of the bytes, 0 when there is none. */
static size_t well_formed(const uint8_t *b, size_t len) {
	static const uint8_t table[][8] = { /* first byte from, to, second from, to, third, fourth */
		{0x00, 0x7F}, {0xC2, 0xDF, 0x80, 0xBF}, {0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF}, {0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
		{0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF}, {0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
		{0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF}, {0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
		{0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
	};

	for (size_t row = 0; row < ARRAY_LENGTH(table); row++) {
		size_t n = 0;
		while (n < 4 && (n == 0 || table[row][2 * n + 1]) && n < len && b[n] >= table[row][2 * n] &&
			b[n] <= table[row][2 * n + 1])
			n++;
		if (n && (n == 4 || !table[row][2 * n + 1])) return n;
	}
	return 0;
}

/* Checks that what came out is text: well-formed, and without control characters. */
static void check_output(const char *what, size_t len) {
	size_t out = port_len - 1;

	for (size_t at = 0, n; at < out; at += n) {
		const uint8_t *b = (const uint8_t *)port + at;
		n = well_formed(b, out - at);
		if (n && (n > 1 || (*b >= ' ' && *b < 0x7F) || *b == '\t' || *b == '\n') && !(*b == 0xC2 && b[1] < 0xA0)) continue;
		printf("  after the bytes");
		for (size_t i = 0; i < len; i++)
			printf(" %02x", (uint8_t)what[i]);
		printf(" the port has %02x at %zu\n", *b, at);
		check_failures++;
		return;
	}
}

TEST(three_bytes) {
	for (uint32_t all = 0; all < 1U << 24 && !check_failures; all++) {
		char bytes[] = {(char)(all >> 16), (char)(all >> 8), (char)all};
		through(bytes, 3);
		check_output(bytes, 3);
	}
}

TEST(four_bytes) {
	static const uint8_t ends[] = {0x0A, 0x1B, 0x41, 0x7F, 0x80, 0x8A, 0x8F, 0x90, 0x9B, 0x9F, 0xA0, 0xAE, 0xBF, 0xC0,
		0xC2, 0xE2, 0xF0, 0xFF};

	for (uint32_t first = 0xC0; first < 0x100; first++)
		for (uint32_t second = 0; second < 0x100; second++)
			for (size_t i = 0; i < sizeof(ends) * sizeof(ends) && !check_failures; i++) {
				char bytes[] = {(char)first, (char)second, (char)ends[i / sizeof(ends)], (char)ends[i % sizeof(ends)]};
				through(bytes, 4);
				check_output(bytes, 4);
			}
}

/* Whether a code point passes: unchanged, or as one question mark. */
static bool passes(uint32_t code) {
	char bytes[4];
	size_t len = encode(code, bytes), out = through(bytes, len);
	bool same = out == len && !memcmp(port, bytes, len);

	if (!same) CHECK(out == 1 && port[0] == '?');
	return same;
}

TEST(every_code_point) {
	static const uint32_t text[] = {'a', ' ', 0xA0, 0xE4, 0x5D0, 0x627, 0x200C, 0x200D, 0x20AC, 0xFE0F, 0xFFFD, 0x1F965,
		0xE000};
	static const uint32_t none[] = {0x1B, 0x7F, 0x80, 0x85, 0x9B, 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A,
		0x202E, 0x2066,
					0x2069, 0xD800, 0xDFFF, 0xFEFF, 0xFFFE, 0xFFFF, 0x1FFFE, 0xE0001, 0x10FFFF};

	for (uint32_t code = ' '; code <= LAST_CODE; code++)
		passes(code);
	for (size_t i = 0; i < ARRAY_LENGTH(text); i++)
		CHECK(passes(text[i]));
	for (size_t i = 0; i < ARRAY_LENGTH(none); i++)
		CHECK(!passes(none[i]));
	for (uint32_t code = LAST_CODE + 1; code < 0x140000; code++) /* those that begin with F4 */
		CHECK(!passes(code));
}

TEST(overlong) {
	static const char *const sequences[] = {"\xC0\x9B", "\xC1\xBF", "\xE0\x80\x9B", "\xE0\x80\x8A", "\xE0\x82\x9B",
		"\xE0\x9F\xBF",
						"\xF0\x80\x80\x9B", "\xF0\x80\x80\x8A", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80"};

	for (size_t i = 0; i < ARRAY_LENGTH(sequences); i++) {
		size_t out = through(sequences[i], strlen(sequences[i]));
		CHECK(out >= 1);
		for (size_t at = 0; at < out; at++)
			CHECK_EQ(port[at], '?');
	}
}

TEST(unfinished) {
	through("\xE2\x82" "A\xF0\x9F" "\xC3\xA4", 7);
	CHECK(!memcmp(port, "?A?\xC3\xA4\n", 6));
	port_len = 0;
	serial_queued = 0;
	console_write(WRITER, "\xE2", 1); /* in pieces, with the supervisor in between */
	print("words\n");
	console_write(WRITER, "\x82\xAC\n", 3);
	CHECK(!memcmp(port, "words\n\xE2\x82\xAC\n", 10));
}

TEST(lines_of_the_supervisor) {
	char word[1000];

	for (size_t len = 0; len < sizeof(word); len++) {
		memset(word, 'w', len);
		word[len] = 0;
		port_len = 0;
		print("long: %s!\n", word);
		CHECK_EQ(port[port_len - 1], '\n');
		CHECK(!memchr(port, '\n', port_len - 1));
		CHECK(port_len == len + 8 || (port_len < 410 && !memcmp(port + port_len - 7, " [cut]\n", 7)));
		CHECK(port_len == len + 8 || len > 390);
	}
	port_len = 0;
	print("from the manifest: \xC2\x9B" "31m \x9B" "2J %s\n", "\xE2\x80\xAE");
	CHECK(!memcmp(port, "from the manifest: ?31m ?2J ?\n", port_len));
}

/* Several writers at a time, as SERIAL_WRITE has them: their bytes are digits and letters of four bytes each, of which
 * each has its own, so that every byte that came out has an author. */
#define AUTHORS 5

static struct author {
	char text[1 << 15];    /* what it has written and writes now */
	size_t done, len, out; /* how much of it has been written, is there, and was seen */
	int turns;
} authors[AUTHORS];

/* A random number below the limit. */
static uint32_t draw(uint32_t limit) { return (uint32_t)rand() % limit; }

/* What an author wants to write next: up to 4 KiB of a kind, at times with newlines, and not always whole letters. */
static void compose(uint32_t number) {
	struct author *author = &authors[number];
	size_t len = draw(3) ? 1 + draw(40) : 1 + draw(COCONUT_WRITE_MAX);
	uint32_t kind = draw(3), newlines = 1 + draw(80);

	while (len-- && author->len + 8 < sizeof(author->text)) {
		if (!draw(newlines))
			author->text[author->len++] = '\n';
		else if (kind && draw(2))
			author->len += encode(0x10000 + 10 * number + draw(10), author->text + author->len);
		else
			author->text[author->len++] = (char)('0' + 10 * number + draw(10));
	}
}

/* One round of the loop in SERIAL_WRITE. It never waits for the UART. */
static void write_a_piece(uint32_t number) {
	struct author *author = &authors[number];
	size_t before = waits, len;
	int got;

	if (author->done == author->len) compose(number);
	got = console_room(number);
	author->turns = got > 0 ? 0 : author->turns + (got < 0);
	if (got < 0 && author->turns > 8) console_cut();
	len = author->len - author->done;
	if (len > CONSOLE_PIECE) len = CONSOLE_PIECE;
	if (got > 0) {
		console_write(number, author->text + author->done, len);
		author->done += len;
	}
	CHECK_EQ(waits, before);
}

/* Returns whose the character is, and AUTHORS when it is nobody's; `*len` is how many bytes it has. */
static uint32_t author_of(const char *at, size_t *len) {
	uint32_t code = (uint8_t)*at;

	*len = code >= 0xF0 ? 4 : 1;
	if (*len == 1) return code >= '0' && code < '0' + 10 * AUTHORS ? (code - '0') / 10 : AUTHORS;
	return ((uint32_t)(at[2] & 63) << 6 | (at[3] & 63)) / 10;
}

/* Checks that each line is of one author, and all that each has written came out once and in order, but for marks. */
static void check_port(void) {
	static const char mark[] = " [cut]\n";
	uint32_t whose = AUTHORS;

	for (size_t at = 0, len; at < port_len && !check_failures; at += len) {
		uint32_t number = author_of(port + at, &len);
		struct author *author = &authors[number < AUTHORS ? number : whose];
		if (port_len - at >= 7 && !memcmp(port + at, mark, 7)) {
			CHECK(whose < AUTHORS);
			whose = AUTHORS, len = 7;
			continue;
		}
		if (number == AUTHORS && whose == AUTHORS) continue; /* an empty line is anybody's */
		while (whose == AUTHORS && author->text[author->out] == '\n')
			author->out++;
		CHECK(whose == AUTHORS || number == whose || port[at] == '\n');
		CHECK(!memcmp(author->text + author->out, port + at, len));
		author->out += len;
		whose = port[at] == '\n' ? AUTHORS : number;
	}
	for (uint32_t i = 0; i < AUTHORS; i++) {
		while (authors[i].out < authors[i].done && authors[i].text[authors[i].out] == '\n')
			authors[i].out++;
		CHECK_EQ(authors[i].out, authors[i].done);
	}
}

TEST(many_writers) {
	for (unsigned lives = 0; lives < 300 && !check_failures; lives++) {
		srand(lives);
		uint32_t speed = 1 + draw(100), count = 1 + draw(AUTHORS);
		memset(authors, 0, sizeof(authors));
		port_len = 0;
		for (int round = 0; round < 4000; round++) {
			serial_queued -= serial_queued < speed ? serial_queued : speed;
			if (!draw(4)) console_poll();
			write_a_piece(draw(count));
		}
		for (uint32_t i = 0; i < count; i++) {
			while (authors[i].text[authors[i].done] >> 6 == -2) /* a letter that is not whole */
				authors[i].done--;
			if (authors[i].done && authors[i].text[authors[i].done - 1] != '\n')
				authors[i].text[authors[i].done++] = '\n';
			console_end(i);
		}
		console_flush_all();
		check_port();
	}
}

/* Prints the code points that are replaced, as ranges. */
static int print_ranges(void) {
	uint32_t first = 0;

	for (uint32_t code = ' '; code <= LAST_CODE + 1; code++) {
		bool replaced = code <= LAST_CODE && !passes(code);
		if (replaced && !first) first = code;
		if (!replaced && first) printf("%x-%x\n", first, code - 1);
		if (!replaced) first = 0;
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "ranges")) return print_ranges();
	RUN(three_bytes);
	RUN(four_bytes);
	RUN(every_code_point);
	RUN(overlong);
	RUN(unfinished);
	RUN(lines_of_the_supervisor);
	RUN(many_writers);
	return check_result();
}
