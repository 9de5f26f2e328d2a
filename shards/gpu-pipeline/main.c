/*
 * gpu-pipeline: llama-pipeline with the activations in video memory. Both stages run this program, each with a GPU
 * partition of its own.
 *
 *     stage 0: embeds the token, runs its layers     === x by DMA, VRAM to VRAM ==>   stage 1: runs the other layers,
 *     and waits for the next token                   --- "x is there": position -->   chooses the next token, prints
 *                                                    <-- next token --------------    it
 *
 * Each stage keeps x, the residual stream, in an allocation of its partition and unveils that range alone. The CPU does
 * the computing. The channel carries no activations: only the greeting, the signals and the tokens. Args are those of
 * llama-inference, and so is the text. A stage that cannot go on prints one line and exits with 1; the other one then
 * finds its channel closed and does the same.
 *
 * Read next: llama-pipeline/main.c, which sends the same over the channel; gpu.c for the kernel's side of the DMA.
 */
#include "coconut.h"
#include "gpu_shard.h"
#include "llama.h"

/* Two configuration pages: the one at 0x4000 splits the binary, which ends below the one at 0x10000 (shard.ld). */
__asm__(".globl gpu_shard\n.set gpu_shard, 1");
__asm__(".globl pipeline_shard\n.set pipeline_shard, 1");

#define END_OF_TEXT (-1)

struct stage {
	struct llama llama;
	const struct pipeline_config *config;
	struct gpu *gpu;   /* in the heap */
	uint64_t x_offset; /* where x lies in the own partition */
	uint64_t dma;      /* handle of the capability for the other partition */
};

/* What stage 0 says first, so that two stages with different models part at once. Stage 1 answers with the offset of
 * its x, eight bytes. */
struct greeting {
	int32_t dim;
	int32_t n_layers;
	int32_t vocab_size;
	int32_t seq_len;
	int32_t next_layer; /* the first layer of stage 1 */
};

/* Prints why this stage cannot go on. Returns 0. */
static int complain(const struct stage *s, const char *what, int64_t result)
{
	print("%s: %s: %s\n", s->llama.name, what, result < 0 ? error_text(result) : "not what was expected");
	return 0;
}

/* ---- Getting ready ---- */

/* Tells whether the layers in the configuration page fit the model and this stage. */
static int layers_fit(const struct stage *s)
{
	const struct pipeline_config *config = s->config;
	uint32_t n_layers = (uint32_t)s->llama.model.n_layers;

	if (config->stages == 2 && config->stage < 2 && config->first_layer <= config->last_layer &&
	    (config->stage == 0 ? config->first_layer == 0 && config->last_layer < n_layers - 1
				: config->first_layer > 0 && config->last_layer == n_layers - 1))
		return 1;
	print("%s: layers %u-%u as stage %u of %u do not fit the model's layers 0-%u\n", s->llama.name,
	      config->first_layer, config->last_layer, config->stage, config->stages, n_layers - 1);
	return 0;
}

/* Returns the bytes that x takes in VRAM: the transformer works on whole vectors of four floats. */
static uint64_t x_size(const struct stage *s)
{
	return ((uint64_t)s->llama.model.dim + 3) / 4 * 16;
}

/* Moves x from the heap to VRAM. It gets a page of its own, since the IOMMU lets DMA into whole pages. */
static int move_x_to_vram(struct stage *s)
{
	int64_t offset = vram_alloc(&s->gpu->vram, VRAM_ACTIVATIONS, x_size(s), COCONUT_PAGE_SIZE);

	if (offset < 0) {
		print("%s: no room for x in VRAM: %s\n", s->llama.name, gpu_error_text(offset));
		return 0;
	}
	s->x_offset = (uint64_t)offset;
	s->llama.transformer.x = (float *)(s->gpu->vram.memory + offset);
	return 1;
}

/* Loads the model and takes over the partition; then gives up every right that running the layers does not need. */
static int start(struct stage *s, const char *args)
{
	struct llama *l = &s->llama;

	if (!llama_load_model(l, s->config->stage == 0 ? "gpu-pipeline: stage 0" : "gpu-pipeline: stage 1", args) ||
	    !layers_fit(s) || (s->config->stage == 1 && !llama_load_text(l)) ||
	    !llama_start(l, (int)s->config->first_layer, (int)s->config->last_layer))
		return 0;
	s->gpu = gpu_open(l->name, &l->arena);
	return s->gpu && move_x_to_vram(s) && gpu_find_handle(l->name, CAP_GPU_DMA, &s->dma) &&
	       gpu_confine(l->name, s->x_offset, x_size(s));
}

/* ---- Stage 0 ---- */

/* Greets the other stage and learns where its x lies. */
static int meet_last_stage(struct stage *s, uint64_t *target)
{
	const struct checkpoint *m = &s->llama.model;
	int32_t next_layer = (int32_t)s->config->last_layer + 1;
	struct greeting greeting = { m->dim, m->n_layers, m->vocab_size, m->seq_len, next_layer };
	int64_t result = coconut_channel_call(s->config->channel, &greeting, sizeof(greeting), target, sizeof(*target));

	return result == sizeof(*target) ? 1 : complain(s, "greeting", result);
}

/* Copies x into the other stage's partition, says so, and waits for the next token. */
static int hand_over(struct stage *s, uint64_t target, int32_t pos, int32_t *token)
{
	int64_t result = coconut_gpu_dma(s->dma, s->x_offset, target << 32 | x_size(s));

	if (result < 0)
		return complain(s, "DMA of the activations", result);
	result = coconut_channel_call(s->config->channel, &pos, sizeof(pos), token, sizeof(*token));
	if (result != sizeof(*token) || *token < END_OF_TEXT || *token >= s->llama.model.vocab_size)
		return complain(s, "next token", result);
	return 1;
}

/* Runs the first part of the model until the other stage says that the text has ended. Returns the exit code. */
static int run_first_stage(struct stage *s)
{
	int32_t token = TOKEN_BOS;
	uint64_t target;

	if (!meet_last_stage(s, &target))
		return 1;
	for (int32_t pos = 0; token != END_OF_TEXT && pos < s->llama.model.seq_len; pos++) {
		transformer_embed(&s->llama.transformer, token);
		transformer_layers(&s->llama.transformer, pos);
		if (!hand_over(s, target, pos, &token))
			return 1;
	}
	return 0;
}

/* ---- Stage 1 ---- */

/* Waits for the greeting, and tells whether the other stage has the same model and ends where this one begins. */
static int meet_first_stage(struct stage *s)
{
	const struct checkpoint *m = &s->llama.model;
	struct greeting greeting;
	int64_t result = coconut_channel_recv(s->config->channel, &greeting, sizeof(greeting));

	if (result != sizeof(greeting))
		return complain(s, "greeting", result);
	if (greeting.dim == m->dim && greeting.n_layers == m->n_layers && greeting.vocab_size == m->vocab_size &&
	    greeting.seq_len == m->seq_len && greeting.next_layer == (int32_t)s->config->first_layer)
		return 1;
	print("%s: the other stage has another model, or its layers do not end where these begin\n", s->llama.name);
	return 0;
}

/* Says something, the place of x or the next token, and waits for the signal that x has been copied. */
static int wait_for_x(struct stage *s, const void *message, size_t len)
{
	int32_t pos = -1;
	int64_t result = coconut_channel_call(s->config->channel, message, len, &pos, sizeof(pos));

	if (result == sizeof(pos) && pos == s->llama.generation.pos)
		return 1;
	return complain(s, "signal of the other stage", result);
}

/* Runs the second part of the model, prints the text and tells stage 0 each next token. Returns the exit code. */
static int run_last_stage(struct stage *s)
{
	struct llama *l = &s->llama;
	int32_t token = END_OF_TEXT;
	int64_t result;
	int good;

	if (!meet_first_stage(s))
		return 1;
	do {
		good = token == END_OF_TEXT ? wait_for_x(s, &s->x_offset, sizeof(s->x_offset))
					    : wait_for_x(s, &token, sizeof(token));
		if (!good)
			return 1;
		transformer_layers(&l->transformer, l->generation.pos);
		token = llama_next(l) ? l->generation.token : END_OF_TEXT;
	} while (token != END_OF_TEXT);
	/* The time is not known here: asking for it is no call that this shard has pledged to make. */
	print("\ngpu-pipeline: %d tokens, their activations handed over by GPU_DMA\n", l->generation.pos);
	if (l->options.logits)
		print("gpu-pipeline: logits %lx\n", l->generation.logits_hash);
	result = coconut_channel_send(s->config->channel, &token, sizeof(token));
	return result < 0 ? !complain(s, "last token", result) : 0;
}

int main(const char *args)
{
	struct stage s;

	s.config = coconut_pipeline_config();
	if (!s.config) {
		print("gpu-pipeline: the configuration page is not one of a pipeline\n");
		return 1;
	}
	if (!start(&s, args))
		return 1;
	return s.config->stage == 0 ? run_first_stage(&s) : run_last_stage(&s);
}
