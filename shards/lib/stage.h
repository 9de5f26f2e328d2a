/*
 * stage.h: a transformer cut in two: what both stages of a pipeline do, however their activations travel.
 *
 *     stage 0: embeds the token, runs its layers     === x, the residual stream ==>   stage 1: runs the other layers,
 *     and waits for the next token                   <-- next token --------------    chooses the next token, prints it
 *
 * The configuration page says which stage a shard is, its layers and its channel. Both stages map the same model and
 * read only the weights of their own layers. A shard brings one function that lets x travel: over the channel in
 * llama-pipeline, by DMA in gpu-pipeline.
 *
 * Every function returns 0 when the stage cannot go on, after a line that says why; the other stage then finds its
 * channel closed and does the same.
 *
 * Read next: stage.c, llama-pipeline/main.c.
 */
#ifndef STAGE_H
#define STAGE_H

#include "coconut.h"
#include "llama.h"

struct stage {
	struct llama llama;
	const struct pipeline_config *config;
};

/* What a program calls itself in its messages. */
struct stage_names {
	const char *program, *stage[2];
};

int stage_load(struct stage *s, const struct stage_names *names, const char *args);
int stage_meet(struct stage *s);
int stage_lost(const struct stage *s, int64_t result);

/* Stage 0: `hand_over` gets x of a position across, and answers with the next token. */
int stage_run_first(struct stage *s, int (*hand_over)(struct stage *s, int32_t pos, int32_t *token));
int stage_ask(const struct stage *s, const void *message, size_t len, int32_t *token);

/* Stage 1: `take` tells the other stage the last token, if it is not NULL, and returns when x is there. */
int stage_run_last(struct stage *s, int (*take)(struct stage *s, const int32_t *token));
int stage_say_end(const struct stage *s);

#endif
