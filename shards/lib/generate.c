/*
 * generate.c: goes from one position to the next.
 *
 * While the prompt lasts the next token is given, afterwards it is sampled. The text ends when the model says BOS
 * or after `steps` positions.
 *
 * Read next: llama-inference/main.c, llama-pipeline/main.c.
 */
#include "generate.h"

#define FNV_OFFSET 0xCBF29CE484222325ull
#define FNV_PRIME  0x100000001B3ull

/* Begins a text. The caller has set tokenizer, sampler, candidates and hash_logits; the prompt has at least one
 * token. */
void generation_start(struct generation *g, const int *prompt, int n_prompt, int steps) {
	g->prompt = prompt;
	g->n_prompt = n_prompt;
	g->steps = steps;
	g->pos = 0;
	g->token = prompt[0];
	g->logits_hash = FNV_OFFSET;
}

/* Tells whether the next token has to be sampled: inside the prompt nobody looks at the logits. */
int generation_needs_logits(const struct generation *g) { return g->pos >= g->n_prompt - 1; }

/* Adds the bytes of the logits to the hash. */
static void hash_logits(struct generation *g, const float *logits) {
	const unsigned char *bytes = (const unsigned char *)logits;

	for (size_t i = 0; i < (size_t)g->tokenizer->vocab_size * sizeof(float); i++)
		g->logits_hash = (g->logits_hash ^ bytes[i]) * FNV_PRIME;
}

/* Moves on after the position g->pos has been run. `logits` may be NULL where they are not needed, and are
 * overwritten. Returns 1 and in *piece what to print, or 0 when the model has ended the text. The caller goes on
 * with g->token while g->pos < g->steps. */
int generation_next(struct generation *g, float *logits, struct text *piece, char *byte) {
	int previous = g->token;

	if (generation_needs_logits(g)) {
		if (g->hash_logits) hash_logits(g, logits);
		g->token = sampler_choose(&g->sampler, logits, g->tokenizer->vocab_size, g->candidates);
	} else {
		g->token = g->prompt[g->pos + 1];
	}
	g->pos++;
	if (g->token == TOKEN_BOS) return 0;
	*piece = tokenizer_decode(g->tokenizer, previous, g->token, byte);
	return 1;
}
