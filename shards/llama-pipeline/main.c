/*
 * llama-pipeline: the transformer of llama-inference, cut in two. Both halves run this program; lib/stage.h has the
 * picture. Args are those of llama-inference, the same for both stages, and so is the text.
 *
 * The activations travel over the channel: for each position stage 0 sends x in pieces of at most COCONUT_MESSAGE_MAX
 * bytes, and stage 1 answers the last piece with the next token.
 *
 * Read next: lib/stage.c, channel.c for the kernel's side of the messages.
 */
#include "stage.h"

/* The binary ends below the configuration page at 0x10000; shard.ld checks it. */
__asm__(".globl pipeline_shard\n.set pipeline_shard, 1");

static const struct stage_names names = { "llama-pipeline", { "llama-pipeline: stage 0", "llama-pipeline: stage 1" } };

/* Returns the size of the piece of x that begins at byte `at`. */
static size_t piece_size(const struct llama *l, size_t at) {
	size_t left = (size_t)l->model.dim * sizeof(float) - at;

	return left < COCONUT_MESSAGE_MAX ? left : COCONUT_MESSAGE_MAX;
}

/* Stage 0: sends x and waits for the next token. Returns 0 when the other stage is lost. */
static int send_activations(struct stage *s, int32_t pos, int32_t *token) {
	const char *x = (const char *)s->llama.transformer.x;
	size_t size = (size_t)s->llama.model.dim * sizeof(float), at = 0;
	int64_t result;

	(void)pos; /* stage 1 counts for itself */
	for (; at + COCONUT_MESSAGE_MAX < size; at += COCONUT_MESSAGE_MAX) {
		result = coconut_channel_send(s->config->channel, x + at, COCONUT_MESSAGE_MAX);
		if (result < 0) return stage_lost(s, result);
	}
	return stage_ask(s, x + at, piece_size(&s->llama, at), token);
}

/* Stage 1: takes x. Where `token` is not NULL it first answers with it, in the same call that waits for the next
 * piece. Returns 0 when the other stage is lost. */
static int receive_activations(struct stage *s, const int32_t *token) {
	char *x = (char *)s->llama.transformer.x;
	size_t size = (size_t)s->llama.model.dim * sizeof(float), at = 0, expected;
	int64_t result;

	for (; at < size; at += expected) {
		expected = piece_size(&s->llama, at);
		if (token && at == 0)
			result = coconut_channel_call(s->config->channel, token, sizeof(*token), x, expected);
		else
			result = coconut_channel_recv(s->config->channel, x + at, expected);
		if (result != (int64_t)expected) return stage_lost(s, result);
	}
	return 1;
}

int main(const char *args) {
	struct stage s;
	int64_t start;

	if (!stage_load(&s, &names, args) || !stage_meet(&s)) return 1;
	if (s.config->stage == 0) return !stage_run_first(&s, send_activations);
	start = coconut_time();
	if (!stage_run_last(&s, receive_activations)) return 1;
	llama_finish(&s.llama, "llama-pipeline", coconut_time() - start);
	return !stage_say_end(&s);
}
