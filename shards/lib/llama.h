/*
 * llama.h: what llama-inference and llama-pipeline have in common: their args, their files, their memory and what
 * they print.
 *
 * Each llama_ function that can fail prints one line that says why, and returns 0.
 *
 * Read next: llama-inference/main.c, then llama.c.
 */
#ifndef LLAMA_H
#define LLAMA_H

#include "checkpoint.h"
#include "generate.h"
#include "llama_options.h"
#include "shardlib.h"
#include "tokenizer.h"
#include "transformer.h"

struct llama {
	const char *name; /* begins every message */
	struct llama_options options;
	struct checkpoint model;
	struct tokenizer tokenizer;
	struct transformer transformer;
	struct generation generation;
	struct arena arena; /* above the files */
};

int llama_load_model(struct llama *l, const char *name, const char *args);
int llama_load_text(struct llama *l);
int llama_start(struct llama *l, int first_layer, int last_layer);
int llama_next(struct llama *l);
void llama_finish(const struct llama *l, const char *name, int64_t milliseconds);

#endif
