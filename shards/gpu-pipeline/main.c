/*
 * gpu-pipeline: llama-pipeline with the activations in video memory. Both stages run this program, each with a GPU
 * partition of its own; lib/stage.h has the picture.
 *
 *     stage 0   <--- place: the partition of stage 1, and where x lies in it
 *               ==== x by DMA, VRAM to VRAM ====>                               stage 1
 *               ---- "x is there": position ---->
 *               <--- next token ----
 *
 * Each stage keeps x, the residual stream, in an allocation of its partition and unveils that range alone. The CPU does
 * the computing. The channel carries no activations: only the greeting, the place, the signals and the tokens. Args are
 * those of llama-inference, and so is the text.
 *
 * Read next: lib/stage.c; llama-pipeline/main.c, which sends the same over the channel; gpu.c for the kernel's side of
 * the DMA.
 */
#include "gpu_shard.h"
#include "stage.h"

/* Two configuration pages: the one at 0x4000 splits the binary, which ends below the one at 0x10000 (shard.ld). */
__asm__(".globl gpu_shard\n.set gpu_shard, 1");
__asm__(".globl pipeline_shard\n.set pipeline_shard, 1");

static const struct stage_names names = { "gpu-pipeline", { "gpu-pipeline: stage 0", "gpu-pipeline: stage 1" } };

struct place {
	uint64_t partition, offset;
};

struct gpu_stage {
	struct stage stage; /* the first member: a pointer to it is one to all */
	struct gpu *gpu;    /* in the heap */
	struct place own;   /* of x */
	uint64_t dma;       /* stage 0: handle of the capability for the other partition, */
	uint64_t target;    /* and where x goes in it */
};

/* Returns the bytes that x takes in VRAM: the transformer works on whole vectors of four floats. */
static uint64_t x_size(const struct stage *s) { return ((uint64_t)s->llama.model.dim + 3) / 4 * 16; }

/* Takes over the partition and moves x from the heap into it. It gets a page of its own, since the IOMMU lets DMA into
 * whole pages. */
static int move_x_to_vram(struct gpu_stage *g) {
	struct llama *l = &g->stage.llama;
	int64_t offset;

	g->gpu = gpu_open(l->name, &l->arena);
	if (!g->gpu) return 0;
	offset = vram_alloc(&g->gpu->vram, VRAM_ACTIVATIONS, x_size(&g->stage), COCONUT_PAGE_SIZE);
	if (offset < 0) {
		print("%s: no room for x in VRAM: %s\n", l->name, gpu_error_text(offset));
		return 0;
	}
	g->own = (struct place){ coconut_gpu_config()->partition, (uint64_t)offset };
	l->transformer.x = (float *)(g->gpu->vram.memory + offset);
	return 1;
}

/* Stage 0: learns where x of the other stage lies, and finds the capability for that partition. */
static int find_target(struct gpu_stage *g) {
	struct place place;
	int64_t result = coconut_channel_recv(g->stage.config->channel, &place, sizeof(place));

	if (result != sizeof(place)) return stage_lost(&g->stage, result);
	g->target = place.offset;
	return gpu_find_partition(g->stage.llama.name, place.partition, &g->dma);
}

/* Stage 0: copies x into the other stage's partition, says so, and waits for the next token. */
static int hand_over(struct stage *s, int32_t pos, int32_t *token) {
	const struct gpu_stage *g = (const struct gpu_stage *)s;
	int64_t result = coconut_gpu_dma(g->dma, g->own.offset, g->target << 32 | x_size(s));

	if (result < 0) {
		print("%s: DMA of the activations: %s\n", s->llama.name, error_text(result));
		return 0;
	}
	return stage_ask(s, &pos, sizeof(pos), token);
}

/* Stage 1: says the next token, or at first the place of x, and waits for the signal that x has been copied. */
static int take(struct stage *s, const int32_t *token) {
	const struct gpu_stage *g = (const struct gpu_stage *)s;
	const void *message = token ? (const void *)token : &g->own;
	int32_t pos = -1;
	int64_t result = coconut_channel_call(s->config->channel, message, token ? sizeof(*token) : sizeof(g->own), &pos,
					      sizeof(pos));

	return result == sizeof(pos) && pos == s->llama.generation.pos ? 1 : stage_lost(s, result);
}

/* Runs the second part of the model. The time is not known here: asking for it is no call that this shard has pledged
 * to make. */
static int run_last(struct stage *s) {
	const struct generation *generation = &s->llama.generation;

	if (!stage_run_last(s, take)) return 0;
	print("\ngpu-pipeline: %d tokens, their activations handed over by GPU_DMA\n", generation->pos);
	if (s->llama.options.logits) print("gpu-pipeline: logits %lx\n", generation->logits_hash);
	return stage_say_end(s);
}

int main(const char *args) {
	struct gpu_stage g;
	struct stage *s = &g.stage;
	int first;

	if (!stage_load(s, &names, args) || !move_x_to_vram(&g) || !stage_meet(s)) return 1;
	first = s->config->stage == 0;
	/* From gpu_confine on only the calls that running the layers needs are left. */
	if ((first && !find_target(&g)) || !gpu_confine(s->llama.name, g.own.offset, x_size(s))) return 1;
	return first ? !stage_run_first(s, hand_over) : !run_last(s);
}
