/*
 * console.c: many writers, one line at a time.
 *
 * Whoever begins a line owns the console until the line ends, and may stream it piece by piece. What others
 * write meanwhile waits in a bounded buffer of theirs; when one is full, the open line is ended with a visible
 * mark. All bytes are cleaned: only printable text, newline and tab pass, so that no shard, no word of the
 * manifest and no name of a file can drive the user's terminal. Plain bytes are passed on many at a time.
 *
 * Whoever writes sends little at once. tell() is for news of a shard: it lets interrupts in between two bursts of the
 * UART until there is room, and then writes whole lines. print() writes at once: at boot, in an interrupt, in a panic,
 * in the report of a deadlock and in the summary.
 *
 * Invariant: a writer's bytes appear in the order in which they were written.
 *
 * Read next: panic.c.
 */
#include "kernel.h"

#define CUT_MARK " [cut]\n"
#define REPLACEMENT "?"

/* PENDING_MAX: how many bytes of a writer can wait. PRINT_MAX: the longest piece of one print() or tell(), which a path
 * and a reason fit into; the rest is cut. TELL_ROOM: the most that one tell() can queue: what the supervisor has
 * waiting, a mark for a line that is cut, and the text. */
enum { WRITERS = MAX_SHARDS + 1, NOBODY = WRITERS, PENDING_MAX = 1024, PRINT_MAX = 400 };
enum { TELL_ROOM = PENDING_MAX + PRINT_MAX + sizeof(CUT_MARK) };

/* UTF-8 (RFC 3629): the range of lead bytes, of which those from LEAD_3 and LEAD_4 on begin sequences of three and of
 * four bytes; in all that follow the two upper bits are those of CONTINUATION. */
enum { UTF8_CONTINUATION = 2, UTF8_BITS = 6, UTF8_LEAD_FIRST = 0xC2, UTF8_LEAD_3 = 0xE0, UTF8_LEAD_4 = 0xF0,
	UTF8_LEAD_LAST = 0xF4 };

/* Code points that are no text (Unicode 15, 3.4, 23): C1 controls, those that turn the direction of writing, end a
 * line, cannot be seen or stand for nothing, and surrogates. The two joiners U+200C and U+200D stay: scripts need
 * them. */
static const uint32_t no_text[][2] = {
	{0x80, 0x9F}, {0x61C, 0x61C}, {0x180E, 0x180E}, {0x200B, 0x200B}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F},
	{0xD800, 0xDFFF}, {0xFDD0, 0xFDEF}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE0FFF},
};

struct writer {
	char pending[PENDING_MAX]; /* what waits for its turn */
	uint32_t pending_len;
	uint8_t held[4], held_len, held_want; /* the beginning of a UTF-8 sequence that is not complete yet */
};

static struct writer writers[WRITERS];
static uint32_t owner = NOBODY;  /* whose line is open */
static uint32_t last_drained;    /* whose pending text was the last to have its turn */
static uint32_t writers_waiting; /* how many have pending text */

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

/* Sends one burst of what waits for the UART; if the queue is empty then and no line is open, one writer's waiting text
 * has its turn. Called at every tick, so that text does not wait for the next writer. It does no more, because the
 * time is taken from whichever shard is running. */
void console_poll(void) {
	bool waits = owner == NOBODY && writers_waiting;

	if ((serial_queued || waits) && serial_room(1) && !serial_queued && waits) drain_next();
}

/* Ends the open line, if there is one, with a visible mark. */
void console_cut(void) {
	if (owner != NOBODY) serial_write(CUT_MARK, sizeof(CUT_MARK) - 1);
	owner = NOBODY;
}

/* Prints clean bytes of a writer, one or more, if the console is its own or nobody's. Otherwise keeps them until it
 * is; if there is no room for them, cuts the open line and prints. */
static void put(uint32_t number, const char *text, size_t len) {
	struct writer *writer = &writers[number];

	if (owner != NOBODY && owner != number) {
		size_t kept = min(len, PENDING_MAX - writer->pending_len);
		memcpy(writer->pending + writer->pending_len, text, kept);
		writers_waiting += !writer->pending_len;
		writer->pending_len += (uint32_t)kept;
		if (kept == len) return;
		console_cut();
		text += kept, len -= kept;
	}
	if (owner == NOBODY && writer->pending_len) drain(number);
	serial_write(text, len);
	owner = text[len - 1] == '\n' ? NOBODY : number;
}

/* Whether the complete sequence of `len` bytes, two or more, is one that UTF-8 has, and what it stands for is text. */
static bool is_text(const uint8_t *sequence, uint32_t len) {
	static const uint32_t shortest[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000}; /* less is overlong */
	uint32_t code = sequence[0] & (0x7FU >> len);

	for (uint32_t i = 1; i < len; i++)
		code = code << UTF8_BITS | (sequence[i] & ((1U << UTF8_BITS) - 1));
	for (size_t i = 0; i < ARRAY_LENGTH(no_text); i++)
		if (code >= no_text[i][0] && code <= no_text[i][1]) return false;
	/* The last two code points of each plane of 65,536 are no characters. */
	return code >= shortest[len] && code <= 0x10FFFF && (code & 0xFFFE) != 0xFFFE;
}

/* True for the bytes that are text by themselves. */
static inline bool is_plain(uint8_t byte) { return (byte >= ' ' && byte < 0x7F) || byte == '\n' || byte == '\t'; }

/* Passes one byte: text as it is, complete UTF-8 sequences together, everything else replaced. */
static void put_clean(uint32_t number, uint8_t byte) {
	struct writer *writer = &writers[number];

	if (writer->held_len && byte >> UTF8_BITS != UTF8_CONTINUATION) {
		put(number, REPLACEMENT, 1); /* its sequence will not be complete */
		writer->held_len = 0;
	}
	if (!writer->held_len) /* a lead byte says how long its sequence is */
		writer->held_want = byte < UTF8_LEAD_FIRST || byte > UTF8_LEAD_LAST ? 1
				  : byte >= UTF8_LEAD_4 ? 4 : byte >= UTF8_LEAD_3 ? 3 : 2;
	writer->held[writer->held_len++] = byte;
	if (writer->held_len < writer->held_want) return;
	bool good = writer->held_len > 1 ? is_text(writer->held, writer->held_len) || ABLATE(utf8)
					 : is_plain(byte) || ABLATE(clean);
	put(number, good ? (const char *)writer->held : REPLACEMENT, good ? writer->held_len : 1);
	writer->held_len = 0;
}

/* Returns 1 when a writer's next CONSOLE_PIECE bytes, and what it has waiting, can be sent, or be kept while another's
 * line is open, without waiting for the UART; 0 as long as they cannot. Below zero: the buffer is full, and the open
 * line has to be ended or cut; the number is -1 minus its owner's. */
int console_room(uint32_t number) {
	const struct writer *writer = &writers[number];
	bool behind = owner != NOBODY && owner != number;

	if (behind && writer->pending_len + writer->held_len + CONSOLE_PIECE <= PENDING_MAX) return 1;
	if (serial_room(SERIAL_BURSTS) < PENDING_MAX + 2 * CONSOLE_PIECE && !ABLATE(uart)) return 0;
	return behind ? -1 - (int)owner : 1;
}

/* Writes `len` bytes for the given writer: a shard's slot or CONSOLE_SUPERVISOR. */
void console_write(uint32_t writer, const char *text, size_t len) {
	for (size_t run; len; text += run, len -= run) {
		for (run = 0; run < len && is_plain((uint8_t)text[run]) && !writers[writer].held_len; run++)
			;
		if (run)
			put(writer, text, run);
		else
			put_clean(writer, (uint8_t)text[run++]);
	}
	serial_room(SERIAL_BURSTS);
}

/* Ends the line that a dying shard left open, printed or pending. */
void console_end(uint32_t number) {
	struct writer *writer = &writers[number];

	writer->held_len = 0;
	if (owner == number || (writer->pending_len && writer->pending[writer->pending_len - 1] != '\n'))
		put(number, "\n", 1);
}

/* Sends everything that waits: the run is over. No line is open: shards that have ended have ended theirs. */
void console_flush_all(void) {
	for (; writers_waiting; console_cut())
		drain_next();
}

bool verbose, quiet;

/* Formats into `text`, of PRINT_MAX bytes. Returns the length, 0 under `quiet`. What is too long is cut visibly, and
 * ends its line. */
static size_t compose(char *text, const char *template, va_list args) {
	size_t len = quiet ? 0 : format(text, PRINT_MAX, template, args);

	if (len < PRINT_MAX) return len;
	memcpy(text + PRINT_MAX - sizeof(CUT_MARK), CUT_MARK, sizeof(CUT_MARK));
	return PRINT_MAX - 1;
}

/* Prints on the supervisor's behalf. Leaves interrupts as they are, even where it has to wait. */
void print(const char *template, ...) {
	char text[PRINT_MAX];
	va_list args;

	va_start(args, template);
	console_write(CONSOLE_SUPERVISOR, text, compose(text, template, args));
	va_end(args);
}

/* Prints whole lines, in a call, at the end of a shard, or in the supervisor's thread. Lets interrupts in before it
 * writes them, and as long as the queue has no room for them, after each burst; no shard runs meanwhile. */
void tell(const char *template, ...) {
	char text[PRINT_MAX];
	va_list args;

	va_start(args, template);
	size_t len = compose(text, template, args);
	va_end(args);
	do
		if (!ABLATE(looks)) interrupt_window();
	while (serial_room(1) < TELL_ROOM);
	console_write(CONSOLE_SUPERVISOR, text, len);
}
