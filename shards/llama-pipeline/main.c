/*
 * llama-pipeline: the transformer of llama-inference, cut in two. Both halves run this program.
 *
 *     stage 0: embeds the token, runs its layers     --- x (dim floats) -->     stage 1: runs the other layers,
 *     and waits for the next token                   <-- next token -----       chooses the next token, prints it
 *
 * The configuration page says which stage this shard is, its layers and its channel. Each stage maps the same model
 * and reads only the weights of its own layers. Args are those of llama-inference, the same for both stages, and so is
 * the text. A stage that cannot go on prints one line and exits with 1; the other one then finds its channel closed
 * and does the same.
 *
 * Messages: stage 0 sends one greeting; then, for each position, x in pieces of at most COCONUT_MESSAGE_MAX bytes.
 * Stage 1 answers the last piece with one int32, the next token, or END_OF_TEXT.
 *
 * Read next: lib/llama.c, channel.c for the kernel's side of the messages.
 */
#include "coconut.h"
#include "llama.h"

/* The binary ends below the configuration page at 0x10000; shard.ld checks it. */
__asm__(".globl pipeline_shard\n.set pipeline_shard, 1");

#define END_OF_TEXT (-1)

/* What stage 0 says first, so that two stages with different models part at once. */
struct greeting {
	int32_t dim;
	int32_t n_layers;
	int32_t vocab_size;
	int32_t seq_len;
	int32_t next_layer; /* the first layer of stage 1 */
};

/* Prints why talking to the other stage failed. Returns 0. */
static int lost_peer(const struct llama *l, int64_t result)
{
	if (result == -COCONUT_E_CLOSED)
		print("%s: the other stage has ended\n", l->name);
	else if (result < 0)
		print("%s: the channel to the other stage failed: %s\n", l->name, error_text(result));
	else
		print("%s: the other stage sent something else than was expected\n", l->name);
	return 0;
}

/* Returns the size of the piece of x that begins at byte `at`. */
static size_t piece_size(const struct llama *l, size_t at)
{
	size_t left = (size_t)l->model.dim * sizeof(float) - at;

	return left < COCONUT_MESSAGE_MAX ? left : COCONUT_MESSAGE_MAX;
}

/* Stage 0: sends x and waits for the next token. Returns 0 when the other stage is lost. */
static int send_activations(struct llama *l, uint64_t channel, int32_t *token)
{
	const char *x = (const char *)l->transformer.x;
	size_t size = (size_t)l->model.dim * sizeof(float), at = 0;
	int64_t result;

	for (; at + COCONUT_MESSAGE_MAX < size; at += COCONUT_MESSAGE_MAX) {
		result = coconut_channel_send(channel, x + at, COCONUT_MESSAGE_MAX);
		if (result < 0)
			return lost_peer(l, result);
	}
	result = coconut_channel_call(channel, x + at, piece_size(l, at), token, sizeof(*token));
	if (result != sizeof(*token) || *token < END_OF_TEXT || *token >= l->model.vocab_size)
		return lost_peer(l, result);
	return 1;
}

/* Stage 1: takes x. Where `token` is not NULL it first answers with it, in the same call that waits for the next
 * piece. Returns 0 when the other stage is lost. */
static int receive_activations(struct llama *l, uint64_t channel, const int32_t *token)
{
	char *x = (char *)l->transformer.x;
	size_t size = (size_t)l->model.dim * sizeof(float), at = 0, expected;
	int64_t result;

	for (; at < size; at += expected) {
		expected = piece_size(l, at);
		if (token && at == 0)
			result = coconut_channel_call(channel, token, sizeof(*token), x, expected);
		else
			result = coconut_channel_recv(channel, x + at, expected);
		if (result != (int64_t)expected)
			return lost_peer(l, result);
	}
	return 1;
}

/* Runs the first part of the model until the other stage says that the text has ended. Returns the exit code. */
static int run_first_stage(struct llama *l, const struct pipeline_config *config)
{
	const struct checkpoint *m = &l->model;
	struct greeting greeting = { m->dim, m->n_layers, m->vocab_size, m->seq_len, (int32_t)config->last_layer + 1 };
	int32_t token = TOKEN_BOS;
	int64_t result;

	if (!llama_start(l, 0, (int)config->last_layer))
		return 1;
	result = coconut_channel_send(config->channel, &greeting, sizeof(greeting));
	if (result < 0)
		return !lost_peer(l, result);
	for (int pos = 0; token != END_OF_TEXT && pos < m->seq_len; pos++) {
		transformer_embed(&l->transformer, token);
		transformer_layers(&l->transformer, pos);
		if (!send_activations(l, config->channel, &token))
			return 1;
	}
	return 0;
}

/* Waits for the greeting and tells whether the other stage has the same model and ends where this one begins. */
static int meet_first_stage(struct llama *l, const struct pipeline_config *config)
{
	const struct checkpoint *m = &l->model;
	struct greeting greeting;
	int64_t result = coconut_channel_recv(config->channel, &greeting, sizeof(greeting));

	if (result != sizeof(greeting))
		return lost_peer(l, result);
	if (greeting.dim == m->dim && greeting.n_layers == m->n_layers && greeting.vocab_size == m->vocab_size &&
	    greeting.seq_len == m->seq_len && greeting.next_layer == (int32_t)config->first_layer)
		return 1;
	print("%s: the other stage has another model, or its layers do not end where these begin\n", l->name);
	return 0;
}

/* Runs the second part of the model, prints the text and tells stage 0 each next token. Returns the exit code. */
static int run_last_stage(struct llama *l, const struct pipeline_config *config)
{
	struct generation *g = &l->generation;
	int32_t token = END_OF_TEXT;
	int64_t start, result;

	if (!llama_load_text(l) || !llama_start(l, (int)config->first_layer, (int)config->last_layer) ||
	    !meet_first_stage(l, config))
		return 1;
	start = coconut_time();
	do {
		if (!receive_activations(l, config->channel, g->pos ? &token : NULL))
			return 1;
		transformer_layers(&l->transformer, g->pos);
		token = llama_next(l) ? g->token : END_OF_TEXT;
	} while (token != END_OF_TEXT);
	llama_finish(l, "llama-pipeline", coconut_time() - start);
	result = coconut_channel_send(config->channel, &token, sizeof(token));
	return result < 0 ? !lost_peer(l, result) : 0;
}

/* Tells whether the layers in the configuration page fit the model and this stage. */
static int layers_fit(const struct llama *l, const struct pipeline_config *config)
{
	uint32_t n_layers = (uint32_t)l->model.n_layers;

	if (config->stages == 2 && config->stage < 2 && config->first_layer <= config->last_layer &&
	    (config->stage == 0 ? config->first_layer == 0 && config->last_layer < n_layers - 1
				: config->first_layer > 0 && config->last_layer == n_layers - 1))
		return 1;
	print("%s: layers %u-%u as stage %u of %u do not fit: two stages have to share the model's layers 0-%u\n", l->name,
	      config->first_layer, config->last_layer, config->stage, config->stages, n_layers - 1);
	return 0;
}

int main(const char *args)
{
	const struct pipeline_config *config = coconut_pipeline_config();
	struct llama l;

	if (!config) {
		print("llama-pipeline: the configuration page is not one of a pipeline\n");
		return 1;
	}
	if (!llama_load_model(&l, config->stage == 0 ? "llama-pipeline: stage 0" : "llama-pipeline: stage 1", args) ||
	    !layers_fit(&l, config))
		return 1;
	return config->stage == 0 ? run_first_stage(&l, config) : run_last_stage(&l, config);
}
