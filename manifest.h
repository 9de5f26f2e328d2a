/*
 * manifest.h: the boot manifest, /etc/coconut.conf, as data.
 *
 *     shard    NAME PATH [priority=critical|high|normal|low] [frames=N] [restart=N] [after=NAME] [spawn=yes|N]
 *              [args="..."]
 *     channel  SHARD_A SHARD_B
 *     gpu      SHARD
 *     pipeline SHARD_A SHARD_B layers=A-B,C-D
 *
 * One statement a line, which cannot be continued on the next; `#` at the start of a word begins a comment. Quotes
 * make blanks and # part of a word; inside them \" and \\ stand for a quote and a backslash, and other backslashes are
 * mistakes. A line may only name shards of earlier lines, so `after` can form no circle, and a pipeline needs an
 * earlier channel between its two shards.
 *
 * Read next: manifest.c. supervisor.c starts what the manifest asks for.
 */
#ifndef MANIFEST_H
#define MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_SHARDS   64 /* scripts/trace/read.py reads these two lines */
#define MANIFEST_NAME_MAX 23 /* bytes of a shard's name, without its NUL */

/* The other limits. A shard can be in one pipeline only. Frames are a shard's quota: 64 MiB when it names none, at most
 * 16 GiB. */
enum { MANIFEST_CHANNELS = 64, MANIFEST_PIPELINES = MANIFEST_SHARDS / 2, MANIFEST_DEFAULT_FRAMES = 16384,
	MANIFEST_DEFAULT_CHILDREN = 16, MANIFEST_FRAMES_MAX = 4194304, MANIFEST_RESTART_MAX = 1000000,
	MANIFEST_LAYER_MAX = 65535 };

enum { PRIORITY_CRITICAL, PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW };

struct manifest_shard {
	const char *name; /* unique */
	const char *path; /* absolute, at most COCONUT_PATH_MAX bytes */
	const char *args; /* at most COCONUT_ARGS_MAX - 1 bytes; "" when the line has none */
	uint8_t priority; /* PRIORITY_... */
	bool gpu;         /* a gpu line names this shard */
	bool spawn;       /* it may start other shards */
	uint8_t channels; /* how many it has an end of */
	uint32_t children; /* quota of shards that it and those that it starts may have started at a time */
	uint32_t frames;  /* quota, 1 to MANIFEST_FRAMES_MAX */
	uint32_t restart; /* how often it is brought back when it is killed */
	int16_t after;    /* index of the shard whose end it waits for, always a smaller one; -1: none */
	int16_t pipeline; /* index of its pipeline; -1: none */
};

struct manifest_channel {
	uint8_t shard[2]; /* indices, different ones */
};

struct manifest_pipeline {
	uint8_t shard[2];           /* the first stage, the second */
	uint16_t channel;           /* index of the channel between them */
	uint32_t first[2], last[2]; /* layers of each stage, inclusive; first[1] = last[0] + 1 */
};

struct manifest {
	uint32_t shard_count, channel_count, pipeline_count;
	struct manifest_shard shard[MANIFEST_SHARDS];
	struct manifest_channel channel[MANIFEST_CHANNELS];
	struct manifest_pipeline pipeline[MANIFEST_PIPELINES];
};

struct manifest_error {
	uint32_t line;      /* from 1 */
	const char *reason; /* a phrase for the console */
	const char *word;   /* the offending word, inside the text, without control bytes but tabs; NULL when there is none */
};

extern struct manifest manifest; /* what the ramdisk asks for: read only, once main.c has loaded it */

/* Parses `len` bytes at `text`, a buffer with room for one byte more, and fills in `m`. The text is cut up in place
 * and the strings of `m` and `error` point into it, so it has to live as long as they do. Returns 0, or
 * -COCONUT_E_INVAL with `error` filled in at the first line that is wrong; `m` is then of no use. */
int manifest_parse(char *text, size_t len, struct manifest *m, struct manifest_error *error);

#endif
