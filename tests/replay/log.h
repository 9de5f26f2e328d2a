/*
 * log.h: what a log of calls looks like: log.c writes it in the guest, replay.c reads it on the host.
 *
 * Read next: log.c.
 */
#ifndef LOG_H
#define LOG_H

#include <stdint.h>

#define LOG_MAGIC 0x31474F4C434F43 /* "COCLOG1" */
#define LOG_PAGE 4096
#define LOG_SUPERVISOR 64 /* `who` of the supervisor's thread */

/* X(NAME, what the story says of it): `who` is whose kernel stack is in use, a is a shard's slot unless the line
 * says otherwise. */
#define LOG_EVENTS(X)                                                                            \
	X(BEGINS, "begins a call")              /* v: number, five arguments */                  \
	X(RETURNS, "returns from its call")     /* v: number, result */                          \
	X(REFUSED, "is refused")                /* v: the error, above zero */                   \
	X(SENT, "sends a message")              /* v: bytes, a number for their content */       \
	X(TOOK, "takes a message")              /* likewise */                                   \
	X(SENT_FAST, "hands a message over to") /* a: the receiver; likewise */                  \
	X(WAKES, "wakes")                       /* v: the result that a finds */                 \
	X(SWITCHES, "gives the CPU to")         /* v: whether it sleeps; wait_kind, wait_object */ \
	X(KILLS, "kills")                                                                        \
	X(DIES, "begins to die")                /* v: whether by EXIT, the code */               \
	X(ENDED, "has ended")                                                                    \
	X(FREES, "frees the slot of")                                                            \
	X(MAKES, "makes")                       /* v: who spawns it, LOG_SUPERVISOR: its line */ \
	X(FAILS, "cannot make")                 /* v: the error */                               \
	X(BORN, "has made")                     /* v: the first address behind the program */    \
	X(OPENS, "opens the ends of")                                                            \
	X(CLOSES, "closes end")                 /* a: the end */                                 \
	X(GIVES, "gives a capability to")       /* v: handle, type, rights, object */            \
	X(RELEASES, "frees a handle of")        /* v: the handle */                              \
	X(REVOKES, "takes back a capability of") /* v: the handle */                             \
	X(RAISES, "raises")                     /* v: the priority */                            \
	X(FOUND, "looks a file up")             /* v: 0 or an error */                           \
	X(FRAME, "counts a frame of")           /* v: 1, -1, or the error */

#define LOG_ENUM(name, words) LOG_##name,
enum log_kind { LOG_NOTHING, LOG_EVENTS(LOG_ENUM) LOG_KINDS };

struct log_event {
	uint8_t kind, who, a, reserved[5]; /* enum log_kind */
	uint64_t v[6];
};

#define LOG_PER_PAGE ((LOG_PAGE - 8) / sizeof(struct log_event))

struct log_page {
	uint64_t next; /* physical address, 0: none */
	struct log_event event[LOG_PER_PAGE];
};

struct log_head {
	uint64_t magic;
	uint64_t first;   /* physical address of the first page */
	uint64_t written; /* events */
	uint64_t calls;
};

#endif
