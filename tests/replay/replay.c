/*
 * replay.c: plays the log of a machine on the specification, and tells the first difference as a story.
 *
 * replay MEMORY OFFSET MANIFEST [EVENTS]: the machine's memory, where in it `spec_log` lies, and what was booted; how
 * many events are played, if not all. Each event of the log is either what the specification expects now, or a
 * difference, which is told and ends the program: no shorter prefix of the log has one. The status is 0 when there is
 * none, 1 when there is one.
 *
 * Read next: tests/spec/README.md.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest.h"
#include "log.h"
#include "tests/spec/spec.h"

#define KEPT 4096       /* events, of which a story */
#define TOLD 24         /* has the last that concern the shards that it is about, */
#define LAST 6          /* and the last of all */
#define WAIT_DMA 3      /* enum wait_kind of structures.h */

static FILE *memory;
static struct log_event recent[KEPT];
static uint64_t events, calls, of_kind[LOG_KINDS];
/* calls that were woken and then lost their capability; whose handle names another */
static uint64_t lost, filled_anew;
static struct { uint64_t good, refused; } of_call[SYS_LIMIT]; /* results */

/* What the call of each shard has come to, when that is known; a KILL whose effect on priorities is to be looked at. */
static struct { bool known; int64_t result; } outcome[SLOTS];
static int victim = NOBODY, killer_priority;
static uint64_t circle; /* the shards that the supervisor is killing as deadlocked */

/* ---- The story ---- */

#define LOG_WORDS(name, words) words,
static const char *const kinds[] = {"?", LOG_EVENTS(LOG_WORDS)};
static const char *const errors[] = {"0", "E_NOSYS", "E_FAULT", "E_INVAL", "E_BADHANDLE", "E_TYPE", "E_RIGHTS",
	"E_CLOSED", "E_BUSY", "E_TOOSMALL", "E_NOMEM", "E_QUOTA", "E_FULL", "E_EXISTS", "E_NOENT", "E_NOTFILE", "E_IO",
	"E_NOMAP", "E_NODEV", "E_PLEDGE", "E_VEILED", "E_NOEXEC"};
static const char *const calls_by_number[SYS_LIMIT] = {
	[SYS_EXIT] = "EXIT", [SYS_SERIAL_WRITE] = "SERIAL_WRITE", [SYS_CAP_GRANT] = "GRANT", [SYS_CAP_REVOKE] = "REVOKE",
	[SYS_CAP_RESTRICT] = "RESTRICT", [SYS_CAP_INSPECT] = "INSPECT", [SYS_CHANNEL_SEND] = "SEND",
	[SYS_CHANNEL_RECV] = "RECV", [SYS_CHANNEL_CALL] = "CALL", [SYS_GPU_PLEDGE] = "PLEDGE", [SYS_MMAP] = "MMAP",
	[SYS_MUNMAP] = "MUNMAP", [SYS_TIME] = "TIME", [SYS_SPAWN] = "SPAWN", [SYS_WAIT] = "WAIT", [SYS_KILL] = "KILL",
	[SYS_YIELD] = "YIELD"};

static const char *name(unsigned slot) {
	static char names[4][32];
	static int next;

	if (slot == LOG_SUPERVISOR) return "the supervisor";
	if (slot < manifest.shard_count) return manifest.shard[slot].name;
	next = (next + 1) % 4;
	snprintf(names[next], sizeof(names[next]), "child %u", slot);
	return names[next];
}

static const char *result_words(int64_t result) {
	static char text[4][64];
	static int next;

	next = (next + 1) % 4;
	if (result == WAITS) return "that it has to sleep";
	if (result == HALFWAY) return "that it does the first part and goes on";
	if (result < 0 && result >= -COCONUT_E_NOEXEC)
		snprintf(text[next], sizeof(text[next]), "%s (%" PRId64 ")", errors[-result], result);
	else
		snprintf(text[next], sizeof(text[next]), "%" PRId64, result);
	return text[next];
}

#define BIT(slot) ((slot) < SLOTS ? 1UL << (slot) : 0)

/* The shards that have done it, or to whom it was done. How their memory was counted is left out. */
static uint64_t concerned(const struct log_event *e) {
	if (e->kind == LOG_FRAME) return 0;
	return BIT(e->who) | (e->kind == LOG_CLOSES ? 0 : BIT(e->a));
}

static void tell(uint64_t number, const struct log_event *e) {
	bool other = e->a != e->who && e->kind != LOG_CLOSES;

	printf("  %7" PRIu64 "  %s %s", number, name(e->who), e->kind < LOG_KINDS ? kinds[e->kind] : "?");
	if (e->kind == LOG_CLOSES) printf(" %u", e->a);
	if (other) printf(" %s", name(e->a));
	if (e->kind == LOG_BEGINS || e->kind == LOG_RETURNS)
		printf(": %s", e->v[0] < SYS_LIMIT && calls_by_number[e->v[0]] ? calls_by_number[e->v[0]] : "an unknown number");
	if (e->kind == LOG_BEGINS)
		for (int i = 1; i <= 5; i++)
			printf("%s0x%" PRIx64 "%s", i == 1 ? "(" : "", e->v[i], i < 5 ? ", " : ")");
	if (e->kind == LOG_RETURNS) printf(" is %s", result_words((int64_t)e->v[1]));
	if (e->kind == LOG_REFUSED) printf(": %s", result_words(-(int64_t)e->v[0]));
	if (e->kind == LOG_WAKES) printf(": %s", result_words((int64_t)e->v[0]));
	if (e->kind == LOG_FRAME || e->kind == LOG_RELEASES || e->kind == LOG_REVOKES || e->kind == LOG_RAISES)
		printf(": %" PRId64, (int64_t)e->v[0]);
	if (e->kind == LOG_SENT || e->kind == LOG_TOOK || e->kind == LOG_SENT_FAST) printf(": %" PRIu64 " bytes", e->v[0]);
	if (e->kind == LOG_SWITCHES && e->v[0]) printf(", and sleeps");
	printf("\n");
}

/* Tells what happened to the shards of this set, what was expected and what was seen, and ends. */
static void differ_about(uint64_t shards, const char *expected, const char *seen) {
	uint64_t first = events, oldest = events > KEPT ? events - KEPT : 0;

	printf("DIFFERENCE in event %" PRIu64 ", call %" PRIu64 "; what led to it:\n", events, calls);
	for (int told = 0; first > oldest && told < TOLD; first--)
		told += (concerned(&recent[(first - 1) % KEPT]) & shards) != 0;
	for (uint64_t i = first; i < events; i++)
		if (concerned(&recent[i % KEPT]) & shards || i + LAST >= events) tell(i + 1, &recent[i % KEPT]);
	printf("expected: %s\nseen: %s\n", expected, seen);
	exit(1);
}

/* Likewise, about the shards that the last event concerns. */
static void differ(const char *expected, const char *seen) {
	const struct log_event *last = &recent[(events - 1) % KEPT];

	differ_about(BIT(last->who) | concerned(last), expected, seen);
}

static void rule(const char *broken) {
	if (broken) differ("that the rules are kept", broken);
}

/* Likewise, about one shard. */
static void rule_about(unsigned slot, const char *broken) {
	char text[128];

	if (!broken) return;
	snprintf(text, sizeof(text), "%s: %s", broken, name(slot));
	differ_about(BIT(slot), "that the rules are kept", text);
}

static void compare(const char *what, int64_t expected, int64_t seen) {
	char text[128], other[64];

	if (expected == seen) return;
	snprintf(text, sizeof(text), "%s %s", what, result_words(expected));
	snprintf(other, sizeof(other), "%s", result_words(seen));
	differ(text, other);
}

/* ---- Calls ---- */

/* The shard looks, and finds `seen`. */
static void step(struct life *me, int64_t seen) {
	if (!me->in_call || outcome[me->slot].known) differ("nothing more of this call", "it goes on");
	if (me->call.waiting && !me->call.told && !spec_held(me->call.cap)) {
		lost++;
		filled_anew += spec_named(me->slot, me->call.arg[0]) != NULL;
	}
	compare("that its call comes to", spec_look(me), seen);
	spec_step(me);
	if (seen != HALFWAY) outcome[me->slot].known = true, outcome[me->slot].result = seen;
}

static void begins(struct life *me, const struct log_event *e) {
	calls++;
	if (me->state != ALIVE || me->asleep || me->in_call || me->dying) differ("no call of this shard", "it begins one");
	if (me->killed) differ("that a killed shard executes no instruction", "it begins a call");
	spec_begin(me, e->v[0], &e->v[1]);
	outcome[me->slot].known = false;
	if (!spec_decides_at_once(e->v[0]) && !me->call.error) return;
	if (e->v[0] == SYS_KILL && !me->call.error && spec_look(me) == 0)
		victim = spec_cap(me->call.cap)->object, killer_priority = me->priority;
	step(me, spec_look(me));
}

static void returns(struct life *me, const struct log_event *e) {
	int64_t result = (int64_t)e->v[1];

	if (!me->in_call) differ("no return of this shard", "it returns");
	if (!outcome[me->slot].known && (spec_describes(e->v[0]) || me->call.error)) step(me, result);
	if (outcome[me->slot].known) compare("the result", outcome[me->slot].result, result);
	rule(spec_may_return(me));
	me->in_call = false;
	if (e->v[0] < SYS_LIMIT) ++*(result < 0 ? &of_call[e->v[0]].refused : &of_call[e->v[0]].good);
}

static void refused(struct life *me, int64_t error) {
	if (outcome[me->slot].known) {
		compare("the result", outcome[me->slot].result, error);
		return;
	}
	if (me->call.number == SYS_MMAP && error == -COCONUT_E_NOMEM) me->call.outside = error; /* the machine has none */
	if (spec_describes(me->call.number)) step(me, error);
}

/* ---- Messages ---- */

static void sent(struct life *me, const struct log_event *e) {
	struct end *other;

	step(me, me->call.number == SYS_CHANNEL_CALL ? HALFWAY : 0);
	other = &world.end[spec_end(&me->call) ^ 1];
	compare("a message of bytes:", (int64_t)me->call.arg[2], (int64_t)e->v[0]);
	other->queue[other->queued - 1].content = e->v[1];
}

static void took(struct life *me, const struct log_event *e) {
	if (spec_look(me) < 0) step(me, (int64_t)e->v[0]);
	if (world.end[spec_end(&me->call)].queue[0].content != e->v[1]) differ("the bytes that were sent", "others");
	step(me, (int64_t)e->v[0]);
}

/* ---- Lives ---- */

/* The supervisor has killed those of one circle. */
static void circle_ends(void) {
	for EACH_LIFE (life)
		if (circle >> life->slot & 1 && life->state == ALIVE && !life->killed)
			differ("that all of a circle are killed", "one lives on");
	circle = 0;
}

static void kills(unsigned who, int slot) {
	struct life *life = &world.life[slot];

	if (who == LOG_SUPERVISOR) {
		if (!(circle >> slot & 1)) { /* the first of a circle */
			circle_ends();
			circle = spec_waits_for(slot);
			rule(spec_deadlock(circle));
		}
	} else if (!life->killed && !(world.life[who].dying && life->parent == (int)who)) {
		differ("no KILL of this shard", "it is killed");
	}
	victim = slot;
	killer_priority = who == LOG_SUPERVISOR ? 0 : world.life[who].priority;
	spec_kill(slot);
}

static void frees(struct life *me, int slot) {
	if (me && me->in_call && me->call.number == SYS_WAIT) {
		if (spec_look(me) < -1) differ(result_words(spec_look(me)), "it frees the slot of who has ended");
		step(me, spec_look(me));
		return;
	}
	if (me) differ("no slot that is freed", "one is");
	if (slot >= world.lines && world.life[slot].ticket) differ("that the slot is kept for a WAIT", "it is freed");
	rule(spec_free(slot));
}

static void gives(struct life *me, const struct log_event *e) {
	if (!me || me->call.number != SYS_SPAWN) differ("no new capability", "one is given");
	step(me, HALFWAY);
	compare("the handle", me->call.handle, (int64_t)e->v[0]);
	spec_named(me->slot, e->v[0])->object = (int)e->v[3];
}

static void makes(struct life *me, int slot) {
	rule(spec_make(slot, me ? me->slot : NOBODY));
	if (me) world.life[slot].ticket = spec_named(me->slot, (uint64_t)me->call.handle)->id;
}

/* A handle becomes free. A shard that dies revokes what it holds, one after the other, with all that is below it. This
 * shows here for the first time: whatever it frees then is below the one with the lowest handle that it still holds,
 * also where another was just revoking a part of that. */
static void releases(struct life *me, int holder, uint64_t handle) {
	struct cap *cap = NULL;
	uint64_t top = 0;
	int lowest = HANDLES;

	for EACH_CAP (c)
		if (c->holder == holder && (uint64_t)c->handle == handle) cap = c;
	if (cap && me && me->dying) {
		for (const struct cap *c = cap; c; c = spec_cap(c->parent))
			if (c->holder == me->slot && c->handle < lowest) top = c->id, lowest = c->handle;
		spec_revoke(top);
	}
	rule(spec_release(holder, handle));
}

static void takes_back(int holder, uint64_t handle) {
	struct cap *cap = spec_named(holder, handle);

	if (cap && world.life[holder].in_call && world.life[holder].call.number == SYS_SPAWN) spec_revoke(cap->id);
	else if (cap) differ("that this capability stays", "it is revoked");
}

/* ---- Waits ---- */

static void wakes(struct life *me, int slot, int64_t result) {
	struct life *life = &world.life[slot];

	if (result == -COCONUT_E_BUSY && me && me->call.number == SYS_CHANNEL_CALL && !me->call.begun) {
		int64_t found = spec_look(me);
		bool begins = found == HALFWAY || found == WAITS || found == -COCONUT_E_CLOSED;
		if (!begins) compare("that its call comes to", found, HALFWAY);
		spec_call_begin(me);
	}
	if (!life->asleep) differ("that it does not sleep", "it is woken");
	compare("that it is woken with", life->call.told, result);
	life->asleep = false;
}

static void switches(struct life *me, const struct log_event *e) {
	if (e->v[0] && e->v[1] != WAIT_DMA) rule(spec_sleeps(me));
	if (e->a == LOG_SUPERVISOR) return;
	circle_ends();
	for EACH_LIFE (life)
		rule_about((unsigned)life->slot, spec_oversleeps(life));
	rule(spec_may_run(e->a));
	for (int i = 0; !me && i < world.lines; i++)
		if (spec_may_start(&world.line[i])) differ("that each line that may start has started", "one has not");
}

/* ---- The log ---- */

static void play(const struct log_event *e) {
	struct life *me = e->who == LOG_SUPERVISOR ? NULL : &world.life[e->who], *other = &world.life[e->a % SLOTS];
	int64_t value = (int64_t)e->v[0];

	if (victim != NOBODY && e->kind != LOG_KILLS && e->kind != LOG_RAISES && e->kind != LOG_WAKES) {
		rule_about((unsigned)victim, spec_killed_with(victim, killer_priority));
		victim = NOBODY;
	}
	switch (e->kind) {
	case LOG_BEGINS: begins(me, e); break;
	case LOG_RETURNS: returns(me, e); break;
	case LOG_REFUSED: refused(me, -value); break;
	case LOG_SENT: sent(me, e); break;
	case LOG_TOOK: took(me, e); break;
	case LOG_SENT_FAST:
		sent(me, e);
		took(other, e);
		other->asleep = false;
		break;
	case LOG_WAKES: wakes(me, e->a, value); break;
	case LOG_SWITCHES: switches(me, e); break;
	case LOG_KILLS: kills(e->who, e->a); break;
	case LOG_DIES: rule(spec_dies(me, value, e->v[1])); break;
	case LOG_ENDED: rule(spec_ended(me)); break;
	case LOG_FREES: frees(me, e->a); break;
	case LOG_MAKES: makes(me, e->a); break;
	case LOG_FAILS:
		if (me) me->call.outside = value;
		spec_unmake(e->a);
		break;
	case LOG_BORN: rule(spec_born(e->a, e->v[0])); break;
	case LOG_OPENS: spec_open(e->a); break;
	case LOG_CLOSES: spec_close(e->a); break;
	case LOG_GIVES: gives(me, e); break;
	case LOG_RELEASES: releases(me, e->a, e->v[0]); break;
	case LOG_REVOKES: takes_back(e->a, e->v[0]); break;
	case LOG_RAISES: other->priority = (int)value; break;
	case LOG_FOUND:
		if (me && me->in_call && me->call.number == SYS_SPAWN) me->call.outside = value;
		break;
	case LOG_FRAME:
		if (value == -1) {
			other->frames--;
			break;
		}
		rule(spec_frame(other, value == 1 ? 0 : value));
		if (value != 1 && me == other && me->in_call && me->call.number == SYS_MMAP) me->call.outside = value;
		break;
	default: differ("an event that is known", "another one");
	}
}

/* Reads what the run was started from. */
static void set_up(const char *path) {
	static char text[65536];
	struct manifest_error error;
	FILE *file = fopen(path, "r");
	size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (!len || manifest_parse(text, len, &manifest, &error)) exit(2);
	fclose(file);
	world.lines = (int)manifest.shard_count;
	world.ends = 2 * (int)manifest.channel_count;
	for EACH_LIFE (life)
		life->slot = (int)(life - world.life);
	for (int i = 0; i < world.lines; i++) {
		const struct manifest_shard *from = &manifest.shard[i];
		world.line[i] = (struct line){.priority = from->priority, .spawn = from->spawn,
			.after = from->after < 0 ? NOBODY : from->after, .frames = from->frames,
			.children = from->children, .restart = from->restart};
	}
	for (int e = 0; e < world.ends; e++)
		world.end[e] = (struct end){.home = manifest.channel[e / 2].shard[e % 2], .state = PENDING, .caller = NOBODY};
}

static void read_at(uint64_t at, void *to, size_t len) {
	if (fseek(memory, (long)at, SEEK_SET) || fread(to, len, 1, memory) != 1) exit(2);
}

int main(int count, char **words) {
	struct log_head head;
	struct log_page page;

	if (count < 4 || !(memory = fopen(words[1], "rb"))) return 2;
	set_up(words[3]);
	read_at(strtoull(words[2], NULL, 0), &head, sizeof(head));
	if (head.magic != LOG_MAGIC) return 2;
	if (count == 5 && strtoull(words[4], NULL, 0) < head.written) head.written = strtoull(words[4], NULL, 0);
	page.next = head.first;
	while (events < head.written) {
		const struct log_event *e = &page.event[events % LOG_PER_PAGE];
		if (events % LOG_PER_PAGE == 0) read_at(page.next, &page, sizeof(page));
		recent[events++ % KEPT] = *e;
		of_kind[e->kind < LOG_KINDS ? e->kind : 0]++;
		play(e);
	}
	printf("%" PRIu64 " calls, %" PRIu64 " events\n", calls, events);
	printf("woken, but their capability was lost before they looked: %" PRIu64, lost);
	printf("; its handle was filled anew: %" PRIu64 "\n", filled_anew);
	for (int i = 1; i < LOG_KINDS; i++)
		printf("%s: %" PRIu64 "\n", kinds[i], of_kind[i]);
	for (int i = 0; i < SYS_LIMIT; i++)
		if (calls_by_number[i])
			printf("%s: %" PRIu64 " good, %" PRIu64 " refused\n", calls_by_number[i], of_call[i].good, of_call[i].refused);
	return 0;
}
