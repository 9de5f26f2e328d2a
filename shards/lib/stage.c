/*
 * stage.c: the two stages of a pipeline. See stage.h for the picture.
 *
 * Messages: stage 0 sends one greeting. What follows for each position is the program's own, but that stage 1 answers
 * with one int32: the next token, or END_OF_TEXT.
 *
 * Read next: llama-pipeline/main.c, gpu-pipeline/main.c.
 */
#include "stage.h"

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
int stage_lost(const struct stage *s, int64_t result) {
	if (result == -COCONUT_E_CLOSED)
		print("%s: the other stage has ended\n", s->llama.name);
	else if (result < 0)
		print("%s: the channel to the other stage failed: %s\n", s->llama.name, error_text(result));
	else
		print("%s: the other stage sent something else than was expected\n", s->llama.name);
	return 0;
}

/* Tells whether the layers in the configuration page fit the model and this stage. */
static int layers_fit(const struct stage *s) {
	const struct pipeline_config *config = s->config;
	uint32_t n_layers = (uint32_t)s->llama.model.n_layers;

	if (config->stages == 2 && config->stage < 2 && config->first_layer < config->end_layer &&
	    (config->stage == 0 ? config->first_layer == 0 && config->end_layer < n_layers
				: config->first_layer > 0 && config->end_layer == n_layers))
		return 1;
	print("%s: layers %u-%u as stage %u of %u do not fit: two stages have to share the model's layers 0-%u\n",
	      s->llama.name, config->first_layer, config->end_layer - 1, config->stage, config->stages, n_layers - 1);
	return 0;
}

/* Reads configuration page and args, loads what this stage needs of the model, and gets ready to run its layers. */
int stage_load(struct stage *s, const struct stage_names *names, const char *args) {
	s->config = coconut_pipeline_config();
	if (!s->config) {
		print("%s: the configuration page is not one of a pipeline\n", names->program);
		return 0;
	}
	return llama_load_model(&s->llama, names->stage[s->config->stage == 0 ? 0 : 1], args) && layers_fit(s) &&
	       (s->config->stage == 0 || llama_load_text(&s->llama)) &&
	       llama_start(&s->llama, (int)s->config->first_layer, (int)s->config->end_layer - 1);
}

/* Returns what stage 0 says of itself, or what stage 1 wants to hear. */
static struct greeting make_greeting(const struct stage *s) {
	const struct checkpoint *m = &s->llama.model;
	uint32_t next_layer = s->config->stage == 0 ? s->config->end_layer : s->config->first_layer;

	return (struct greeting){ m->dim, m->n_layers, m->vocab_size, m->seq_len, (int32_t)next_layer };
}

/* Stage 0 greets; stage 1 waits for that, and sees whether both have the same model and whether their layers meet. */
int stage_meet(struct stage *s) {
	struct greeting expected = make_greeting(s), greeting;
	int64_t result;

	if (s->config->stage == 0) {
		result = coconut_channel_send(s->config->channel, &expected, sizeof(expected));
		return result < 0 ? stage_lost(s, result) : 1;
	}
	result = coconut_channel_recv(s->config->channel, &greeting, sizeof(greeting));
	if (result != sizeof(greeting)) return stage_lost(s, result);
	if (!memcmp(&greeting, &expected, sizeof(greeting))) return 1;
	print("%s: the other stage has another model, or its layers do not end where these begin\n", s->llama.name);
	return 0;
}

/* Says something to stage 1, and waits for the next token. */
int stage_ask(const struct stage *s, const void *message, size_t len, int32_t *token) {
	int64_t result = coconut_channel_call(s->config->channel, message, len, token, sizeof(*token));

	if (result != sizeof(*token) || *token < END_OF_TEXT || *token >= s->llama.model.vocab_size)
		return stage_lost(s, result);
	return 1;
}

/* Runs the first part of the model until the other stage says that the text has ended. */
int stage_run_first(struct stage *s, int (*hand_over)(struct stage *s, int32_t pos, int32_t *token)) {
	struct llama *l = &s->llama;
	int32_t token = TOKEN_BOS;

	for (int32_t pos = 0; token != END_OF_TEXT && pos < l->model.seq_len; pos++) {
		transformer_embed(&l->transformer, token);
		transformer_layers(&l->transformer, pos);
		if (!hand_over(s, pos, &token)) return 0;
	}
	return 1;
}

/* Runs the second part of the model and prints the text to its end, which the other stage does not know yet. */
int stage_run_last(struct stage *s, int (*take)(struct stage *s, const int32_t *token)) {
	struct llama *l = &s->llama;

	if (!take(s, NULL)) return 0;
	for (;;) {
		transformer_layers(&l->transformer, l->generation.pos);
		if (!llama_next(l)) return 1;
		int32_t token = l->generation.token;
		if (!take(s, &token)) return 0;
	}
}

/* Tells stage 0 that the text has ended. */
int stage_say_end(const struct stage *s) {
	int32_t token = END_OF_TEXT;
	int64_t result = coconut_channel_send(s->config->channel, &token, sizeof(token));

	return result < 0 ? stage_lost(s, result) : 1;
}
