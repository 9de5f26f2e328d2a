/*
 * spec.h: the world that the calls of coconutOS change, as sets and sequences.
 *
 * README.md says how to read it. Nothing here is the kernel's: there are no queues of the scheduler, no lists of
 * waiters and no indices that link one thing to another.
 *
 * Read next: call.c.
 */
#ifndef SPEC_H
#define SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef COCONUT_NO_CALLS
#define COCONUT_NO_CALLS
#endif
#include "coconut.h"

enum { SLOTS = 64, LINES = 64, ENDS = 128, QUEUE = 4, HANDLES = COCONUT_CAP_SLOTS, GIFTS = HANDLES / 2 };
enum { PAGES = 512, NOBODY = -1 };

/* What a shard finds when it looks at its call, beside a result (zero or more) and an error (a negative number). */
#define WAITS   INT64_MIN       /* it has to sleep */
#define HALFWAY (INT64_MIN + 1) /* the first part is done: CALL has sent its request, SPAWN makes its child */

/* A capability. It is the same one for ever: `id` is no other one's, before or after. */
struct cap {
	uint64_t id, parent;  /* parent: what it was granted from, 0: it was not granted */
	int holder, handle;   /* a shard's slot, and the number by which it names this one */
	int type, object;     /* CAP_CHANNEL: an end; CAP_SHARD: a slot */
	uint64_t rights;
	bool gone;            /* it was revoked: nobody can use it, but its handle is not free yet */
};

struct message { uint64_t len, content; }; /* content: a number that stands for the bytes */

/* One end of a channel. The other end of e is e ^ 1. */
struct end {
	int home;             /* the slot of the shard that the manifest put here */
	enum { PENDING, OPEN, CLOSED } state; /* its home has yet to start; lives; has ended */
	struct message queue[QUEUE]; /* sent to this end and not received, oldest first */
	int queued;
	int caller;           /* who is in a CALL here and keeps the end for its answer, or NOBODY */
};

/* A call that a shard is in. */
struct call {
	uint64_t number, arg[5];
	uint64_t cap;         /* the capability that it goes through, 0: none */
	int64_t error;        /* why it was refused as it began, 0: it was not */
	bool begun, halfway;  /* of CALL: the end is kept for the answer. The first part is done: see HALFWAY */
	bool waiting;         /* it sleeps, or was woken and has not looked yet */
	bool closed;          /* the other end has closed since it fell asleep */
	int64_t told;         /* the error that has ended its sleep; 0: none has */
	int64_t outside;      /* what the file system or the memory of the machine has answered: 0 or an error */
	int64_t handle;       /* of SPAWN: what it will return */
};

/* A shard, from the moment that it is being made until its slot is free. */
struct life {
	enum { NONE, MAKING, ALIVE, ENDED } state;
	int slot, parent, payer; /* who spawned it, or NOBODY; whose quotas it counts against */
	int priority;         /* 0 is the most urgent */
	bool killed, dying, exited; /* it will die; it is dying; by EXIT */
	bool asleep;          /* inside a call that waits */
	bool in_call;
	struct call call;
	uint64_t code;        /* of its EXIT */
	uint64_t calls;       /* a bit for each call that it has not pledged away */
	uint64_t ticket;      /* the capability that SPAWN returned for it, 0: it is gone */
	uint64_t code_end;    /* the first address behind its program */
	uint64_t page[PAGES]; /* the numbers of the pages that it has mapped */
	int pages;
	uint64_t frames;      /* of physical memory that it has, page tables and all */
};

/* A line of the manifest. Its shard has the slot of the same number. */
struct line {
	int priority, after;  /* whose end it waits for, or NOBODY */
	bool spawn;
	uint64_t frames, children, restart; /* quotas of it with all that it spawns; how often it is brought back */
	uint64_t restarts;    /* how often it was */
	enum { TO_START, STARTED, OVER } progress;
};

extern struct world {
	struct line line[LINES];
	int lines;
	struct life life[SLOTS];
	struct end end[ENDS];
	int ends;
	struct cap cap[SLOTS * HANDLES];
	int caps;
	uint64_t last_id;
} world;

#define EACH_LIFE(l) (struct life *l = world.life; l < world.life + SLOTS; l++)
#define EACH_CAP(c) (struct cap *c = world.cap; c < world.cap + world.caps; c++)

/* What a shard finds when it looks at its call, and what happens then. */
#define RULES_OF(name) int64_t look_##name(const struct life *me); void act_##name(struct life *me, int64_t result)

/* call.c: how a call begins, and what it comes to */
void spec_begin(struct life *me, uint64_t number, const uint64_t *arg);
int64_t spec_look(const struct life *me);
int64_t spec_step(struct life *me);
bool spec_describes(uint64_t number), spec_decides_at_once(uint64_t number);

/* capability.c */
struct cap *spec_cap(uint64_t id);
bool spec_held(uint64_t id);
struct cap *spec_named(int holder, uint64_t handle);
struct cap *spec_use(const struct life *me, uint64_t handle, int type, uint64_t rights, int64_t *error);
int64_t spec_place(int holder, bool gift);
int64_t spec_give(int holder, int type, int object, uint64_t rights, uint64_t parent);
void spec_revoke(uint64_t id);
const char *spec_release(int holder, uint64_t handle);
RULES_OF(grant);
RULES_OF(revoke);
RULES_OF(restrict);
RULES_OF(inspect);

/* channel.c */
void spec_open(int home);
void spec_close(int end);
void spec_call_over(int slot);
void spec_call_begin(struct life *me);
int spec_end(const struct call *call);
RULES_OF(send);
RULES_OF(recv);
RULES_OF(call);

/* life.c */
bool spec_may_start(const struct line *line);
const char *spec_make(int slot, int parent);
void spec_unmake(int slot);
const char *spec_born(int slot, uint64_t code_end);
void spec_kill(int slot);
bool spec_descends(const struct life *life, int ancestor);
const char *spec_dies(struct life *me, bool exits, uint64_t code);
const char *spec_ended(struct life *me);
const char *spec_free(int slot);
uint64_t spec_children(int slot), spec_family(int payer);
int64_t begin_spawn(const struct life *me);
RULES_OF(spawn);
RULES_OF(wait);
RULES_OF(kill);

/* memory.c */
bool spec_inside(uint64_t address, uint64_t len);
bool spec_readable(const struct life *me, uint64_t address, uint64_t len);
bool spec_writable(const struct life *me, uint64_t address, uint64_t len);
uint64_t spec_family_frames(int payer);
const char *spec_frame(struct life *owner, int64_t error);
int64_t begin_mmap(const struct life *me);
RULES_OF(mmap);
RULES_OF(munmap);

/* order.c: who runs, who sleeps, and who waits for ever */
const char *spec_may_run(int slot);
const char *spec_may_return(const struct life *me);
const char *spec_sleeps(struct life *me);
const char *spec_oversleeps(const struct life *life);
const char *spec_killed_with(int victim, int killer_priority);
uint64_t spec_waits_for(int slot);
const char *spec_deadlock(uint64_t set);

#endif
