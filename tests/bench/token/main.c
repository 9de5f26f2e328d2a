/*
 * token: measures one token of inference: the mean over positions 50 to 250 of embedding, layers, classifier and the
 * choice of the next token, on the checkpoint that its args name as llama-inference's do.
 *
 * Read next: ../../../shards/lib/transformer.c.
 */
#include "../bench.h"
#include "llama.h"

#define FIRST 50
#define LAST 250

int main(const char *args) {
	struct llama l;
	uint64_t start = 0;
	int token = 1;

	if (!llama_load_model(&l, "token", args) || !llama_start(&l, 0, l.model.n_layers - 1)) return 1;
	for (int pos = 0; pos < LAST; pos++) {
		if (pos == FIRST) start = clock_now();
		transformer_embed(&l.transformer, token);
		transformer_layers(&l.transformer, pos);
		token = sampler_argmax(transformer_logits(&l.transformer), l.model.vocab_size);
	}
	print("BENCH token %lu\n", (clock_now() - start) / (LAST - FIRST));
	return 0;
}
