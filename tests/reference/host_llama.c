/*
 * host_llama: runs the shards' own transformer on the host.
 *
 *     host_llama model=FILE tokenizer=FILE [steps=N] [temperature=T] [topp=P] [seed=N] [logits=1] [prompt=...]
 *
 * The arguments are those of llama-inference, and so is the text, byte for byte; with logits=1 a last line gives the
 * hash of all logits, which the shard prints as well. Tests compare both with the guest's.
 *
 * SOURCES: shards/lib/args.c shards/lib/llama_options.c shards/lib/checkpoint.c shards/lib/tokenizer.c shards/lib/sampler.c shards/lib/transformer.c shards/lib/generate.c
 *
 * Read next: generate.c for the reference that is written independently of the shards.
 */
#include "checkpoint.h"
#include "generate.h"
#include "hostfile.h"
#include "llama_options.h"
#include "transformer.h"

/* Ends the program when `defect` is not NULL. */
static void require(const char *what, const char *defect) {
	if (defect) die(what, defect);
}

/* Runs the model until the text ends. */
static void run(struct generation *g, struct transformer *t) {
	struct text piece;
	char byte;

	while (g->pos < g->steps) {
		transformer_embed(t, g->token);
		transformer_layers(t, g->pos);
		if (!generation_next(g, generation_needs_logits(g) ? transformer_logits(t) : NULL, &piece, &byte))
			break;
		fwrite(piece.start, 1, piece.len, stdout);
	}
	putchar('\n');
}

int main(int argc, char **argv) {
	struct llama_options options;
	struct checkpoint model;
	struct tokenizer tokenizer;
	struct transformer transformer;
	struct generation g = { .tokenizer = &tokenizer };
	size_t size;
	void *bytes;
	int *prompt, n_prompt;

	require("host_llama", llama_options_parse(&options, join_arguments(argc, argv)));
	bytes = host_file(options.model, &size);
	require("model", checkpoint_parse(&model, bytes, size));
	bytes = host_file(options.tokenizer, &size);
	require("tokenizer", tokenizer_parse(&tokenizer, bytes, size, model.vocab_size,
					     host_memory(tokenizer_memory(model.vocab_size))));
	prompt = host_memory(tokenizer_encode_memory(options.prompt));
	require("prompt", tokenizer_encode(&tokenizer, options.prompt, prompt, &n_prompt));
	transformer_init(&transformer, &model, 0, model.n_layers - 1,
			 host_memory(transformer_memory(&model, 0, model.n_layers - 1)));
	g.sampler = (struct sampler){ options.temperature, options.top_p, options.seed };
	g.candidates = host_memory((size_t)model.vocab_size * sizeof(struct candidate));
	g.hash_logits = (int)options.logits;
	if (options.steps == 0 || options.steps > (uint64_t)model.seq_len) options.steps = (uint64_t)model.seq_len;
	generation_start(&g, prompt, n_prompt, (int)options.steps);
	run(&g, &transformer);
	if (options.logits) printf("logits %lx\n", g.logits_hash);
	return 0;
}
