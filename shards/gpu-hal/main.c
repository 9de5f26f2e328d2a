/*
 * gpu-hal: the driver of one GPU partition: checks it, computes on it, and copies to its neighbour by DMA.
 *
 *     role=source peer=1 bytes=4095 attack=dma          role=target peer=0
 *
 * are the args of two such shards, on the partitions 0 and 1, with a channel between them; without a role a shard only
 * checks its partition. The source first tries what it must not do where attack=dma is given, then fills a range with a
 * pattern and lets the DMA engine copy it to the target, which looks for it in its own VRAM, and for nothing else:
 *
 *     source  <--- struct offer: the target's partition, and the range that it has unveiled there
 *             ---- GPU_DMA, VRAM to VRAM
 *             ---> struct notice: how much, and the seed of the pattern
 *             <--- verdict, one int32: 1 when every byte is right
 *
 * Before any of that a shard pledges to make only the calls it needs, and unveils one range of its partition: from then
 * on DMA reaches nothing else in it. The exit code is 1 when anything is not as it must be; one line says what.
 *
 * Read next: lib/gpu_partition.h, then gpu.c for the kernel's side.
 */
#include "coconut.h"
#include "gpu_shard.h"

/* The configuration page at 0x4000 splits the binary; see shard.ld. */
__asm__(".globl gpu_shard\n.set gpu_shard, 1");

#define VBE_ID_REGISTER 0x500  /* BAR2 of QEMU's VGA: the index 0 of the Bochs VBE registers */
#define VBE_ID          0xB0C0 /* the last digit is a version */
#define WINDOW_SIZE     65536  /* bytes of the unveiled range */
#define DEFAULT_BYTES   4095   /* one piece: the engine takes two tenths of a second for every 4,095 of them */
#define PATTERN_SEED    0xC0C0
#define NO_PEER         UINT64_MAX

struct options {
	struct text role; /* source, target, or empty */
	uint64_t peer;    /* the partition of the other one */
	uint64_t bytes;
	int attack;
};

struct hal {
	const struct gpu_config *config;
	struct gpu *gpu;  /* in the heap */
	uint64_t window;  /* VRAM offset of the unveiled range */
	uint64_t channel; /* handles */
	uint64_t dma;
	struct options options;
};

struct offer {
	uint64_t partition, offset, size;
};

struct notice {
	uint64_t bytes, seed;
	uint64_t partition; /* where they come from */
};

/* Prints what went wrong. Returns 0. */
static int complain(const char *what, const char *reason) {
	print("gpu-hal: %s: %s\n", what, reason);
	return 0;
}

/* ---- The partition ---- */

/* Reads the id register of QEMU's VGA. */
static int check_registers(const struct hal *hal) {
	uint16_t id;

	if (!hal->config->mmio_vaddr) return complain("registers", "the partition has none");
	id = *(const volatile uint16_t *)(hal->config->mmio_vaddr + VBE_ID_REGISTER);
	if ((id & 0xFFF0) == VBE_ID) return 1;
	print("gpu-hal: registers: the id is 0x%x, expected 0x%x to 0x%x\n", id, VBE_ID, VBE_ID + 15);
	return 0;
}

/* Tells whether VRAM is zero from one offset to another: nobody before us has left anything in it. */
static int vram_is_zero(const struct hal *hal, uint64_t from, uint64_t to) {
	const unsigned char *memory = hal->gpu->vram.memory;

	for (; from < to && from % sizeof(uint64_t); from++)
		if (memory[from]) return 0;
	for (; from + sizeof(uint64_t) <= to; from += sizeof(uint64_t))
		if (*(const uint64_t *)(memory + from)) return 0;
	for (; from < to; from++)
		if (memory[from]) return 0;
	return 1;
}

/* ---- A product of matrices on the units ---- */

#define ROWS    40
#define INNER   24
#define COLUMNS 56

/* Allocates a matrix and fills it with small whole numbers, whose products a float holds exactly. Returns its offset,
 * or an error. */
static int64_t make_matrix(struct gpu *gpu, enum vram_type type, uint32_t rows, uint32_t columns) {
	int64_t offset = vram_alloc(&gpu->vram, type, (uint64_t)rows * columns * sizeof(float), sizeof(float));

	for (uint32_t i = 0; offset >= 0 && i < rows * columns; i++) {
		float number = (float)(i * 7 % 23) - 11;
		int error = vram_upload(&gpu->vram, (uint64_t)offset + i * sizeof(number), &number, sizeof(number));
		if (error) return error;
	}
	return offset;
}

/* Compares the product with one that is computed here, without VRAM's rules. */
static int product_is_right(const float *left, const float *right, const float *product) {
	for (int row = 0; row < ROWS; row++) {
		for (int column = 0; column < COLUMNS; column++) {
			float sum = 0;
			for (int i = 0; i < INNER; i++)
				sum += left[row * INNER + i] * right[i * COLUMNS + column];
			if (product[row * COLUMNS + column] != sum) return 0;
		}
	}
	return 1;
}

/* Multiplies two matrices through command buffer, ring and units, says so, and frees all of it again. */
static int check_product(const struct hal *hal) {
	struct gpu *gpu = hal->gpu;
	const unsigned char *memory = gpu->vram.memory;
	int64_t left = make_matrix(gpu, VRAM_WEIGHTS, ROWS, INNER);
	int64_t right = make_matrix(gpu, VRAM_ACTIVATIONS, INNER, COLUMNS);
	int64_t product = vram_alloc(&gpu->vram, VRAM_SCRATCH, ROWS * COLUMNS * sizeof(float), sizeof(float));
	uint64_t commands = 0;
	int64_t result;

	if (left < 0 || right < 0 || product < 0)
		return complain("matrices", gpu_error_text(left < 0 ? left : right < 0 ? right : product));
	result = gpu_run(gpu, &(struct gpu_command){ .operation = GPU_MATMUL,
						      .target = (uint64_t)product,
						      .left = (uint64_t)left,
						      .right = (uint64_t)right,
						      .rows = ROWS,
						      .inner = INNER,
						      .columns = COLUMNS });
	if (result) return complain("product of matrices", gpu_error_text(result));
	if (!product_is_right((const float *)(memory + left), (const float *)(memory + right),
			      (const float *)(memory + product)))
		return complain("product of matrices", "a number is wrong");
	for (uint32_t unit = 0; unit < gpu->units; unit++)
		commands += gpu->executed[unit];
	print("gpu-hal: product of %dx%d and %dx%d floats by %lu sealed commands: verified\n", ROWS, INNER, INNER, COLUMNS,
	      commands);
	vram_free(&gpu->vram, (uint64_t)left);
	vram_free(&gpu->vram, (uint64_t)right);
	vram_free(&gpu->vram, (uint64_t)product);
	return 1;
}

/* ---- Getting ready ---- */

/* Reads the args. */
static int read_options(struct options *options, const char *args) {
	struct text key, value;

	*options = (struct options){ .role = { "", 0 }, .peer = NO_PEER, .bytes = DEFAULT_BYTES };
	while (args_next(&args, &key, &value)) {
		if (text_equals(key, "role") && (text_equals(value, "source") || text_equals(value, "target")))
			options->role = value;
		else if (text_equals(key, "attack") && text_equals(value, "dma"))
			options->attack = 1;
		else if (!(text_equals(key, "peer") && text_to_u64(value, &options->peer)) &&
			 !(text_equals(key, "bytes") && text_to_u64(value, &options->bytes) && options->bytes))
			return complain("unknown argument", "there are role=source role=target peer=N bytes=N attack=dma");
	}
	return options->role.len && options->peer == NO_PEER ? complain("peer=N", "a role needs the other's partition") : 1;
}

/* Checks all that a shard can find out about its partition alone. */
static int check_partition(const struct hal *hal) {
	if (!vram_is_zero(hal, 0, hal->config->vram_size))
		return complain("VRAM", "somebody's data has been left in it");
	return check_registers(hal) && check_product(hal);
}

/* Finds its capabilities, takes the window, and gives up every right that serving does not need. */
static int confine(struct hal *hal) {
	int64_t window;

	if (!gpu_find_channel("gpu-hal", &hal->channel) ||
	    !gpu_find_partition("gpu-hal", hal->options.peer, &hal->dma))
		return 0;
	window = vram_alloc(&hal->gpu->vram, VRAM_ACTIVATIONS, WINDOW_SIZE, COCONUT_PAGE_SIZE);
	if (window < 0) return complain("range for DMA", gpu_error_text(window));
	hal->window = (uint64_t)window;
	return gpu_confine("gpu-hal", hal->window, WINDOW_SIZE);
}

/* ---- The source ---- */

/* Returns byte number `i` of the pattern. Neighbours, and bytes that are a page apart, differ. */
static unsigned char pattern(uint64_t seed, uint64_t i) {
	uint64_t mixed = (seed + i) * 0x9E3779B97F4A7C15ull;

	return (unsigned char)(mixed >> 56 | 1); /* never zero, which untouched VRAM is */
}

/* Copies to the target's partition. Returns 0 or the error. */
static int64_t copy(uint64_t handle, uint64_t from, uint64_t to, uint64_t bytes) {
	return coconut_gpu_dma(handle, from, to << 32 | bytes);
}

/* Prints how an attack went, and tells whether it was refused. */
static int refused(const char *attack, int64_t result) {
	print("gpu-hal: DMA %s: %s%s\n", attack, result < 0 ? "refused, " : "NOT REFUSED",
	      result < 0 ? error_text(result) : "");
	return result < 0;
}

/* Tries DMA that this shard must not be able to do. Returns 0 when some of it works. */
static int attack(const struct hal *hal, const struct offer *offer) {
	uint64_t outside = hal->window + WINDOW_SIZE;
	uint64_t nobody = COCONUT_CAP_SLOTS - 1; /* a handle that names nothing: the table is far from full */

	return refused("from outside the own range", copy(hal->dma, outside, offer->offset, 64)) &&
	       refused("to outside the target's range",
		       copy(hal->dma, hal->window, offer->offset + offer->size, 64)) &&
	       refused("to a partition without a capability for it", copy(nobody, hal->window, offer->offset, 64));
}

/* Sends the pattern and asks whether it has arrived. Returns the exit code. */
static int run_source(struct hal *hal) {
	struct notice notice = { hal->options.bytes, PATTERN_SEED, hal->config->partition };
	unsigned char *window = hal->gpu->vram.memory + hal->window;
	struct offer offer;
	int32_t verdict = 0;
	int64_t result = coconut_channel_recv(hal->channel, &offer, sizeof(offer));

	if (result != sizeof(offer))
		return !complain("offer of the target", result < 0 ? error_text(result) : "malformed");
	if (offer.partition != hal->options.peer)
		return !complain("offer of the target", "it is not the partition that peer= names");
	if (notice.bytes > offer.size || notice.bytes > WINDOW_SIZE)
		return !complain("bytes", "more than the target has unveiled");
	if (hal->options.attack && !attack(hal, &offer)) return 1;
	for (uint64_t i = 0; i < notice.bytes; i++)
		window[i] = pattern(notice.seed, i);
	result = copy(hal->dma, hal->window, offer.offset, notice.bytes);
	if (result < 0) return !complain("DMA", error_text(result));
	result = coconut_channel_call(hal->channel, &notice, sizeof(notice), &verdict, sizeof(verdict));
	if (result < 0) return !complain("verdict of the target", error_text(result));
	return !verdict;
}

/* ---- The target ---- */

/* Tells whether the pattern is in the window and nothing anywhere else in the partition. */
static int arrived(const struct hal *hal, const struct notice *notice) {
	const unsigned char *window = hal->gpu->vram.memory + hal->window;

	for (uint64_t i = 0; i < notice->bytes; i++)
		if (window[i] != pattern(notice->seed, i)) return complain("transfer", "a byte is wrong");
	if (!vram_is_zero(hal, 0, hal->window) ||
	    !vram_is_zero(hal, hal->window + notice->bytes, hal->config->vram_size))
		return complain("transfer", "VRAM was written beside it");
	return 1;
}

/* Offers the window, waits, and looks at what has come. Returns the exit code. */
static int run_target(struct hal *hal) {
	struct offer offer = { hal->config->partition, hal->window, WINDOW_SIZE };
	struct notice notice;
	int32_t verdict;
	uint64_t size;
	const char *unit;
	int64_t result = coconut_channel_call(hal->channel, &offer, sizeof(offer), &notice, sizeof(notice));

	if (result != sizeof(notice) || notice.bytes > WINDOW_SIZE || notice.partition != hal->options.peer)
		return !complain("notice of the source", result < 0 ? error_text(result) : "malformed");
	verdict = arrived(hal, &notice);
	unit = size_unit(notice.bytes, &size);
	if (verdict)
		print("gpu-hal: %lu %s from partition %lu to partition %u: verified\n", size, unit, notice.partition,
		      hal->config->partition);
	result = coconut_channel_send(hal->channel, &verdict, sizeof(verdict));
	return result < 0 ? !complain("verdict", error_text(result)) : !verdict;
}

int main(const char *args) {
	struct hal hal;
	struct arena arena;

	arena_init(&arena, COCONUT_HEAP_BASE);
	if (!read_options(&hal.options, args) || !(hal.gpu = gpu_open("gpu-hal", &arena))) return 1;
	hal.config = coconut_gpu_config();
	if (!check_partition(&hal)) return 1;
	if (!hal.options.role.len) return 0;
	if (!confine(&hal)) return 1;
	return text_equals(hal.options.role, "source") ? run_source(&hal) : run_target(&hal);
}
