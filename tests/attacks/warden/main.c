/*
 * warden: starts the programs that a plan names, one after the other, and judges how they end.
 *
 * The plan is the file /plan, one step a line:
 *
 *     run LABEL EXPECT PROGRAM ARGS     start it and wait: EXPECT is `killed` or one or two exit codes, `7`, `0|killed`
 *     start LABEL PROGRAM ARGS          start it and go on
 *     rest LABEL ROUNDS                 talk to the canary so often
 *     join LABEL EXPECT                 wait for all that were started
 *     stop LABEL EXPECT                 kill all that were started, and wait for them
 *     cycle LABEL COUNT EXPECT PROGRAM ARGS   run it COUNT times
 *     slay LABEL COUNT EXPECT PROGRAM ARGS    start it and kill it after a while, another one each of COUNT times
 *
 * After each step the warden looks whether anything has come of it: its own memory and registers, its sibling the
 * canary (in all registers and by content), its second sibling that spins in a loop of its own, and the number of
 * frames that it can get. Its verdict is the line `row LABEL ok NONCE`. The nonce comes from the herald, who said it on
 * the console and sent it to the warden before any hostile program was there, so that nobody else can say the line.
 * Its exit code is 0 when all steps were right.
 *
 * Read next: ../herald/main.c, ../canary/main.c, ../attacker/main.c, and tests/test_attacks.py, which writes the plans.
 */
#include "../guard.h"

#define CANARY 0      /* handle of the channel to the canary */
#define HERALD 1      /* of the one from the herald */
#define STARTED_MAX 10
#define WORDS_MAX 32
#define PLAN 0x50000000UL /* addresses of the plan, of the watched pages, of the frames that are counted */
#define WATCHED 0x600000UL
#define WATCHED_PAGES 4
#define COUNTED 0x80000000UL
#define ROUND_TRIP_BYTES 200
#define FRAMES_EVERY 16 /* steps between two looks at the number of frames, which take long */

struct warden {
	uint64_t seed;
	char nonce[17];   /* with its NUL */
	uint64_t frames;  /* pages that it can map when no child of a step is there */
	uint64_t steps;   /* so far */
	uint64_t harm;    /* registers that were found changed */
	uint64_t sequence; /* of the talk with the canary */
	int64_t started[STARTED_MAX];
	int started_count;
	int64_t spinner;
	int bad; /* steps that were not right */
};

struct step {
	const char *word[WORDS_MAX]; /* start of each word; the line ends behind the last */
	const char *end;
	int words;
};

static uint64_t number_of(const char *word) {
	uint64_t value = 0;

	while (*word >= '0' && *word <= '9')
		value = value * 10 + (uint64_t)(*word++ - '0');
	return value;
}

static size_t word_length(const char *word) {
	size_t len = 0;

	while (word[len] != ' ' && word[len] != '\n' && word[len])
		len++;
	return len;
}

static int word_is(const char *word, const char *text) {
	return word_length(word) == strlen(text) && !memcmp(word, text, strlen(text));
}

/* ---- Looking for harm ---- */

static void fill_watched(const struct warden *w) {
	for (uint64_t i = 0; i < WATCHED_PAGES * PAGE / 8; i++)
		((uint64_t *)WATCHED)[i] = w->seed * (i + 1);
}

static int watched_unharmed(const struct warden *w) {
	for (uint64_t i = 0; i < WATCHED_PAGES * PAGE / 8; i++)
		if (((uint64_t *)WATCHED)[i] != w->seed * (i + 1)) return 0;
	return 1;
}

/* One question to the canary and its answer. Returns whether it was the right one. */
static int talk(struct warden *w) {
	uint8_t question[ROUND_TRIP_BYTES], answer[ROUND_TRIP_BYTES];
	int64_t got;

	w->sequence++;
	for (int i = 0; i < ROUND_TRIP_BYTES; i++)
		question[i] = (uint8_t)(w->sequence * 31 + (uint64_t)i * 7);
	got = guarded_call(w->seed, &w->harm, SYS_CHANNEL_CALL, CANARY, (uint64_t)question, sizeof(question),
			   (uint64_t)answer, sizeof(answer));
	if (got != sizeof(answer)) return 0;
	for (int i = 0; i < ROUND_TRIP_BYTES; i++)
		if (answer[i] != (question[i] ^ 0xFF)) return 0;
	return 1;
}

/* Returns how many pages it can map at once. */
static uint64_t count_frames(void) {
	uint64_t low = 0, high = 1024;

	while (low + 1 < high) {
		uint64_t middle = (low + high) / 2;
		if (coconut_mmap(COUNTED, middle) == 0) {
			coconut_munmap(COUNTED, middle);
			low = middle;
		} else {
			high = middle;
		}
	}
	return low;
}

/* Returns whether there are fewer or more frames than before all steps, or NULL. */
static const char *frames_missing(const struct warden *w) {
	if (coconut_mmap(COUNTED, w->frames)) return "frames are missing";
	coconut_munmap(COUNTED, w->frames);
	if (coconut_mmap(COUNTED, w->frames + 1) == 0) return "there are more frames than before";
	return NULL;
}

/* Returns what an attack has left behind, or NULL. */
static const char *harm_done(struct warden *w) {
	if (!watched_unharmed(w)) return "the warden's memory was changed";
	if (!talk(w)) return "the canary answered wrongly or not at all";
	if (w->harm) return "registers of the warden were changed";
	if (w->started_count || ++w->steps % FRAMES_EVERY) return NULL;
	return frames_missing(w);
}

/* ---- Steps ---- */

/* Prints the verdict on a step: `problem` is NULL when it was right. */
static void verdict(struct warden *w, const char *label, const char *problem, int64_t got) {
	int len = (int)word_length(label);

	if (!problem) {
		print("row %.*s ok %s\n", len, label, w->nonce);
		return;
	}
	w->bad++;
	print("row %.*s bad %s %s (%ld, registers %lx)\n", len, label, w->nonce, problem, got, w->harm);
	w->harm = 0;
}

/* Whether a program may end so: EXPECT is `killed`, a code, or several of them with bars between. */
static int expected(const char *expect, int64_t got) {
	for (const char *at = expect;; at++) {
		if (got == (*at == 'k' ? -1 : (int64_t)number_of(at))) return 1;
		while (*at != '|')
			if (*at == ' ' || *at == '\n' || !*at++) return 0;
	}
}

/* Starts the program that a word of the step names, with the rest of the line as its args. */
static int64_t launch(struct warden *w, const struct step *step, int word) {
	const char *args = word + 1 < step->words ? step->word[word + 1] : step->end;

	return guarded_call(w->seed, &w->harm, SYS_SPAWN, (uint64_t)step->word[word], word_length(step->word[word]),
			    (uint64_t)args, (uint64_t)(step->end - args), 0);
}

static int64_t wait_for(struct warden *w, int64_t handle) {
	return guarded_call(w->seed, &w->harm, SYS_WAIT, (uint64_t)handle, 0, 0, 0, 0);
}

/* Waits for all that were started. Returns the first unexpected result, or 0 with *problem unchanged. */
static int64_t join(struct warden *w, const char *expect, int kill, const char **problem) {
	int64_t first = 0;

	for (int i = 0; i < w->started_count; i++) {
		if (kill) coconut_kill((uint64_t)w->started[i]);
		int64_t got = wait_for(w, w->started[i]);
		if (!expected(expect, got) && !*problem) {
			*problem = "a program ended otherwise";
			first = got;
		}
	}
	w->started_count = 0;
	return first;
}

/* Runs one program to its end. */
static int64_t run_once(struct warden *w, const struct step *step, int expect, const char **problem) {
	int64_t got = launch(w, step, expect + 1);

	if (got < 0) {
		*problem = "the program cannot be started";
		return got;
	}
	got = wait_for(w, got);
	if (!expected(step->word[expect], got)) *problem = "the program ended otherwise";
	return got;
}

/* Starts one program and kills it while it runs. */
static int64_t slay(struct warden *w, const struct step *step, uint64_t patience, const char **problem) {
	int64_t handle = launch(w, step, 4);

	if (handle < 0) {
		*problem = "the program cannot be started";
		return handle;
	}
	for (uint64_t i = patience % 4; i; i--)
		coconut_yield();
	w->harm |= guarded_spin(w->seed, patience * 7919 % 20000);
	coconut_kill((uint64_t)handle);
	int64_t got = wait_for(w, handle);
	if (!expected(step->word[3], got)) *problem = "the program ended otherwise";
	return got;
}

static void take_step(struct warden *w, const struct step *step) {
	const char *verb = step->word[0], *problem = NULL, *harm;
	int64_t got = 0;

	if (word_is(verb, "run")) {
		got = run_once(w, step, 2, &problem);
	} else if (word_is(verb, "cycle")) {
		for (uint64_t i = number_of(step->word[2]); i && !problem; i--)
			got = run_once(w, step, 3, &problem);
	} else if (word_is(verb, "slay")) {
		for (uint64_t i = number_of(step->word[2]); i && !problem; i--)
			got = slay(w, step, i, &problem);
	} else if (word_is(verb, "start")) {
		got = launch(w, step, 2);
		if (got < 0)
			problem = "the program cannot be started";
		else
			w->started[w->started_count++] = got;
	} else if (word_is(verb, "rest")) {
		for (uint64_t i = number_of(step->word[2]); i && !problem; i--)
			if (!talk(w)) problem = "the canary answered wrongly or not at all";
	} else if (word_is(verb, "join") || word_is(verb, "stop")) {
		got = join(w, step->word[2], word_is(verb, "stop"), &problem);
	} else {
		problem = "there is no such step";
	}
	harm = harm_done(w);
	verdict(w, step->word[1], problem ? problem : harm, got);
}

/* Cuts the line at `at` into words. Returns where the next line begins. */
static const char *read_step(const char *at, struct step *step) {
	step->words = 0;
	while (*at && *at != '\n') {
		if (step->words < WORDS_MAX) step->word[step->words++] = at;
		at += word_length(at);
		while (*at == ' ')
			at++;
	}
	step->end = at;
	return *at ? at + 1 : at;
}

int main(void) {
	struct warden w = {.seed = 0x5DEECE66D1234567};
	struct step step;
	int64_t size;

	CHECK_EQ(coconut_channel_recv(HERALD, w.nonce, sizeof(w.nonce)), sizeof(w.nonce));
	CHECK_EQ(coconut_mmap(WATCHED, WATCHED_PAGES), 0);
	size = file_load("/plan", 5, PLAN);
	CHECK(size > 0);
	fill_watched(&w);
	CHECK(talk(&w));
	w.spinner = coconut_spawn("/a/canary", 9, "spin", 4);
	CHECK(w.spinner >= 0);
	for (int i = 0; i < 20; i++)
		coconut_yield(); /* the spinner maps its page before the frames are counted */
	w.frames = count_frames();
	for (const char *at = (const char *)PLAN; at < (const char *)PLAN + size && *at;) {
		at = read_step(at, &step);
		if (step.words) take_step(&w, &step);
	}
	if (frames_missing(&w)) verdict(&w, "frames", frames_missing(&w), 0);
	coconut_kill((uint64_t)w.spinner);
	if (wait_for(&w, w.spinner) != -1) verdict(&w, "spinner", "the sibling that spins was harmed", 0);
	print("plan done %s\n", w.nonce);
	return w.bad > 0;
}
