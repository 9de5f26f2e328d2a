/*
 * llama.c: prepares a shard for inference, and prints what it says.
 *
 * Address space: the model's file at COCONUT_LARGE_BASE, the tokenizer's file (where it is needed) on the pages after
 * it, and everything else in an arena above them. Only struct llama is on the stack, which is one page.
 *
 * Read next: files.c for the mapping of files, transformer.c, generate.c.
 */
#include "llama.h"

#include "coconut.h"

/* Prints one line about a file. Returns 0. */
static int complain(const struct llama *l, struct text file, const char *reason) {
	print("%s: %.*s: %s\n", l->name, (int)file.len, file.start, reason);
	return 0;
}

/* Returns `bytes` from the arena, or prints that there are none and returns NULL. */
static void *take_memory(struct llama *l, size_t bytes) {
	void *memory = arena_take(&l->arena, bytes);

	if (!memory) print("%s: out of memory: %lu KiB more are needed\n", l->name, (bytes + 1023) / 1024);
	return memory;
}

/* Loads a file at the end of the arena, which moves above it. Returns its first byte and its size, or NULL. */
static const void *load_file(struct llama *l, struct text path, size_t *size) {
	uint64_t address = l->arena.end;
	int64_t result = file_load(path.start, path.len, address);
	uint64_t pages;

	if (result < 0) {
		complain(l, path, error_text(result));
		return NULL;
	}
	*size = (size_t)result;
	pages = (*size + COCONUT_PAGE_SIZE - 1) / COCONUT_PAGE_SIZE;
	arena_init(&l->arena, address + pages * COCONUT_PAGE_SIZE);
	return (const void *)address;
}

/* Reads the args and loads the model they name. `name` begins all messages. */
int llama_load_model(struct llama *l, const char *name, const char *args) {
	const char *defect = llama_options_parse(&l->options, args);
	const void *file;
	size_t size;

	l->name = name;
	if (defect) {
		print("%s: %s\n", name, defect);
		return 0;
	}
	arena_init(&l->arena, COCONUT_LARGE_BASE);
	file = load_file(l, l->options.model, &size);
	if (!file) return 0;
	defect = checkpoint_parse(&l->model, file, size);
	return defect ? complain(l, l->options.model, defect) : 1;
}

/* Loads the tokenizer and gets ready to begin the text with the prompt. The model has been loaded. */
int llama_load_text(struct llama *l) {
	const struct llama_options *options = &l->options;
	uint64_t seq_len = (uint64_t)l->model.seq_len;
	uint64_t steps = options->steps == 0 || options->steps > seq_len ? seq_len : options->steps;
	const char *defect;
	const void *file;
	void *memory;
	int *prompt, n_prompt;
	size_t size;

	if (!(file = load_file(l, options->tokenizer, &size)) ||
	    !(memory = take_memory(l, tokenizer_memory(l->model.vocab_size))))
		return 0;
	defect = tokenizer_parse(&l->tokenizer, file, size, l->model.vocab_size, memory);
	if (defect) return complain(l, options->tokenizer, defect);
	if (!(prompt = take_memory(l, tokenizer_encode_memory(options->prompt))) ||
	    !(memory = take_memory(l, (size_t)l->model.vocab_size * sizeof(struct candidate))))
		return 0;
	defect = tokenizer_encode(&l->tokenizer, options->prompt, prompt, &n_prompt);
	if (defect) {
		print("%s: %s\n", l->name, defect);
		return 0;
	}
	if ((uint64_t)n_prompt > seq_len) {
		print("%s: the prompt has %d tokens, but the model's context holds %lu\n", l->name, n_prompt, seq_len);
		return 0;
	}
	l->generation.tokenizer = &l->tokenizer;
	l->generation.sampler = (struct sampler){ options->temperature, options->top_p, options->seed };
	l->generation.candidates = memory;
	l->generation.hash_logits = options->logits != 0;
	generation_start(&l->generation, prompt, n_prompt, (int)steps);
	return 1;
}

/* Gets ready to run layers first..last. The model has been loaded. */
int llama_start(struct llama *l, int first_layer, int last_layer) {
	void *memory = take_memory(l, transformer_memory(&l->model, first_layer, last_layer));

	if (memory) transformer_init(&l->transformer, &l->model, first_layer, last_layer, memory);
	return memory != NULL;
}

/* Finishes a position that has gone through the last layer: chooses the next token and prints it. Returns 0 when the
 * text has ended; the position to go on with is generation.pos, its token generation.token. */
int llama_next(struct llama *l) {
	struct generation *g = &l->generation;
	struct text piece;
	char byte;

	if (!generation_next(g, generation_needs_logits(g) ? transformer_logits(&l->transformer) : NULL, &piece, &byte))
		return 0;
	for (size_t len; piece.len; piece.start += len, piece.len -= len) {
		len = piece.len < COCONUT_WRITE_MAX ? piece.len : COCONUT_WRITE_MAX;
		coconut_serial_write(piece.start, len);
	}
	return g->pos < g->steps;
}

/* Ends the text's line and prints how long it took. */
void llama_finish(const struct llama *l, const char *name, int64_t milliseconds) {
	print("\n%s: %d tokens in %ld ms\n", name, l->generation.pos, milliseconds);
	if (l->options.logits) print("%s: logits %lx\n", name, l->generation.logits_hash);
}
