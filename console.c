/*
 * console.c: many writers, one line at a time.
 *
 * Whoever begins a line owns the console until the line ends, and may stream it piece by piece. What others
 * write meanwhile waits in a bounded buffer of theirs; when one is full, the open line is ended with a visible
 * mark. The bytes of shards are cleaned: only printable text, newline and tab pass, so that a shard cannot
 * drive the user's terminal.
 *
 * Invariant: a writer's bytes appear in the order in which they were written.
 *
 * Read next: cpu.c.
 */
#include "kernel.h"

#define CUT_MARK " [cut]\n"
#define REPLACEMENT '?'

/* PENDING_MAX: how many bytes of a writer can wait. PRINT_MAX: the longest piece of one print(); the rest is cut. */
enum { WRITERS = MAX_SHARDS + 1, NOBODY = WRITERS, PENDING_MAX = 1024, PRINT_MAX = 320 };

/* UTF-8 (RFC 3629): the ranges of continuation bytes and of lead bytes, of which those from LEAD_3 and LEAD_4 on begin
 * sequences of three and of four bytes. C1 control characters are C2 80 .. C2 9F. */
enum { UTF8_CONTINUATION_FIRST = 0x80, UTF8_C1_LAST = 0x9F, UTF8_CONTINUATION_LAST = 0xBF };
enum { UTF8_LEAD_FIRST = 0xC2, UTF8_LEAD_3 = 0xE0, UTF8_LEAD_4 = 0xF0, UTF8_LEAD_LAST = 0xF4 };

struct writer {
	char pending[PENDING_MAX]; /* what waits for its turn */
	uint32_t pending_len;
	uint8_t held[4], held_len, held_want; /* the beginning of a UTF-8 sequence that is not complete yet */
};

static struct writer writers[WRITERS];
static uint32_t owner = NOBODY;  /* whose line is open */
static uint32_t last_drained;    /* whose pending text was the last to have its turn */
static uint32_t writers_waiting; /* how many have pending text */
static bool panicking;

/* Sends what a waiting writer has, and makes it the owner when its last line is still open. The console must be
 * nobody's. */
static void drain(uint32_t number) {
	struct writer *writer = &writers[number];

	serial_write(writer->pending, writer->pending_len);
	if (writer->pending[writer->pending_len - 1] != '\n') owner = number;
	writer->pending_len = 0;
	writers_waiting--;
}

/* Does so for the next of the waiting writers, of whom there must be one. */
static void drain_next(void) {
	do
		last_drained = (last_drained + 1) % WRITERS;
	while (!writers[last_drained].pending_len);
	drain(last_drained);
}

/* Gives waiting text its turn. Called at every tick, so that text never waits for the next writer. */
void console_poll(void) {
	if (owner == NOBODY && writers_waiting) drain_next();
}

/* Ends the open line with a visible mark. */
static void cut_line(void) {
	serial_write(CUT_MARK, sizeof(CUT_MARK) - 1);
	owner = NOBODY;
}

/* Prints one byte of a writer if the console is its own or nobody's, and keeps it until then otherwise. */
static void put(uint32_t number, char c) {
	struct writer *writer = &writers[number];

	if (owner != NOBODY && owner != number && writer->pending_len == PENDING_MAX) cut_line();
	if (owner == NOBODY && writer->pending_len) drain(number);
	if (owner == NOBODY || owner == number) {
		serial_write(&c, 1);
		owner = c == '\n' ? NOBODY : number;
		return;
	}
	writers_waiting += writer->pending_len == 0;
	writer->pending[writer->pending_len++] = c;
}

/* Passes one byte of a shard: text as it is, complete UTF-8 sequences together, everything else replaced. */
static void put_clean(uint32_t number, uint8_t byte) {
	struct writer *writer = &writers[number];

	if (writer->held_len) {
		bool continues = byte >= UTF8_CONTINUATION_FIRST && byte <= UTF8_CONTINUATION_LAST;
		bool c1 = writer->held[0] == UTF8_LEAD_FIRST && byte <= UTF8_C1_LAST;
		if (continues && !c1) {
			writer->held[writer->held_len++] = byte;
			if (writer->held_len < writer->held_want) return;
			for (uint8_t i = 0; i < writer->held_len; i++)
				put(number, (char)writer->held[i]);
			writer->held_len = 0;
			return;
		}
		writer->held_len = 0;
		put(number, REPLACEMENT);
		if (continues) return;
	}
	/* A lead byte says how long its sequence is. */
	writer->held_want = byte < UTF8_LEAD_FIRST || byte > UTF8_LEAD_LAST ? 0
			  : byte >= UTF8_LEAD_4 ? 4 : byte >= UTF8_LEAD_3 ? 3 : 2;
	if (writer->held_want)
		writer->held[writer->held_len++] = byte;
	else
		put(number, byte == '\n' || byte == '\t' || (byte >= ' ' && byte < 0x7F) ? (char)byte : REPLACEMENT);
}

/* True when `len` more bytes of the writer would cut the line that another has open. */
bool console_would_cut(uint32_t number, size_t len) {
	return owner != NOBODY && owner != number && writers[number].pending_len + len > PENDING_MAX;
}

/* Writes `len` bytes for the given writer: a shard's slot or CONSOLE_SUPERVISOR. */
void console_write(uint32_t writer, const char *text, size_t len) {
	if (panicking) {
		serial_write(text, len);
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if (writer == CONSOLE_SUPERVISOR)
			put(writer, text[i]);
		else
			put_clean(writer, (uint8_t)text[i]);
	}
}

/* Ends the line that a dying shard left open, printed or pending. */
void console_end(uint32_t number) {
	struct writer *writer = &writers[number];

	writer->held_len = 0;
	if (owner == number || (writer->pending_len && writer->pending[writer->pending_len - 1] != '\n'))
		put(number, '\n');
}

/* Sends everything that waits: the run is over. */
void console_flush_all(void) {
	if (owner != NOBODY && owner != CONSOLE_SUPERVISOR) console_end(owner);
	while (writers_waiting) {
		drain_next();
		if (owner != NOBODY) put(owner, '\n');
	}
}

/* From now on text goes straight to the port: nobody will wait for anything any more. */
void console_panic(void) {
	if (!panicking && owner != NOBODY) cut_line();
	panicking = true;
}

/* Prints on the supervisor's behalf. */
void print(const char *template, ...) {
	char text[PRINT_MAX];
	va_list args;

	if (quiet) return;
	va_start(args, template);
	size_t len = format(text, sizeof(text), template, args);
	va_end(args);
	console_write(CONSOLE_SUPERVISOR, text, len < sizeof(text) ? len : sizeof(text) - 1);
}
