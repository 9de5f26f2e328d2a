/*
 * gpu_command.c: one simulated compute unit: checks a command and executes it.
 *
 * Invariant: a command that is refused has changed nothing. The target lies wholly in a region that commands may write,
 * each source in one that they may read, and the target overlaps no source.
 *
 * Read next: gpu_partition.c, which feeds the units.
 */
#include "gpu_command.h"
#include "gpu_error.h"
#include "shardlib.h"

_Static_assert(sizeof(struct gpu_command) == 64, "commands are arrays in VRAM: their layout is an interface");

/* The matrices of a command, once they have been checked. */
struct operands {
	float *target;
	const float *left, *right;
};

/* Returns the checksum of a command: FNV-1a over its words. Every change of a single word changes it. */
uint32_t gpu_checksum(const struct gpu_command *command) {
	uint32_t words[sizeof(*command) / sizeof(uint32_t)], sum = 0x811C9DC5;

	memcpy(words, command, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(*words) - 1; i++)
		sum = (sum ^ words[i]) * 0x01000193;
	return sum;
}

/* Returns the bytes of a matrix. */
static uint64_t matrix_size(uint32_t rows, uint32_t columns) { return (uint64_t)rows * columns * sizeof(float); }

/* Finds the matrix at an offset in VRAM. Returns 0 or an error. */
static int reach_matrix(const struct vram *vram, uint64_t offset, uint64_t size, unsigned access, void **memory) {
	return offset % sizeof(float) ? -GPU_E_ALIGN : vram_reach(vram, offset, size, access, memory);
}

/* Finds a matrix that the command reads; none of it may be written by the same command. */
static int reach_source(const struct vram *vram, const struct gpu_command *c, uint64_t offset, uint64_t size,
			const float **source) {
	uint64_t target_size = matrix_size(c->rows, c->columns);
	void *memory;
	int error = reach_matrix(vram, offset, size, VRAM_READ, &memory);

	if (error) return error;
	if (offset < c->target + target_size && c->target < offset + size) return -GPU_E_OVERLAP;
	*source = memory;
	return 0;
}

/* Tells whether the matrices have a size that can be, and whether the tile lies in the target. */
static int shape_is_good(const struct gpu_command *c) {
	if (c->rows == 0 || c->rows > GPU_DIMENSION_MAX || c->columns == 0 || c->columns > GPU_DIMENSION_MAX) return 0;
	if (c->operation == GPU_MATMUL && (c->inner == 0 || c->inner > GPU_DIMENSION_MAX)) return 0;
	return c->tile_rows > 0 && c->tile_row < c->rows && c->tile_rows <= c->rows - c->tile_row &&
	       c->tile_columns > 0 && c->tile_column < c->columns && c->tile_columns <= c->columns - c->tile_column;
}

/* Checks all of a command and finds its matrices. Returns 0 or an error. */
static int check(const struct vram *vram, const struct gpu_command *c, struct operands *operands) {
	void *target;
	int error;

	if (c->checksum != gpu_checksum(c)) return -GPU_E_CHECKSUM;
	if (c->operation < GPU_FILL || c->operation > GPU_MATMUL) return -GPU_E_OPERATION;
	if (!shape_is_good(c)) return -GPU_E_SHAPE;
	error = reach_matrix(vram, c->target, matrix_size(c->rows, c->columns), VRAM_WRITE, &target);
	operands->target = target;
	if (!error && c->operation == GPU_COPY)
		error = reach_source(vram, c, c->left, matrix_size(c->rows, c->columns), &operands->left);
	if (!error && c->operation == GPU_MATMUL)
		error = reach_source(vram, c, c->left, matrix_size(c->rows, c->inner), &operands->left);
	if (!error && c->operation == GPU_MATMUL)
		error = reach_source(vram, c, c->right, matrix_size(c->inner, c->columns), &operands->right);
	return error;
}

/* Returns one number of the product. */
static float dot(const struct gpu_command *c, const struct operands *operands, uint64_t row, uint64_t column) {
	const float *left = operands->left + row * c->inner, *right = operands->right + column;
	float sum = 0;

	for (uint32_t i = 0; i < c->inner; i++, right += c->columns)
		sum += left[i] * *right;
	return sum;
}

/* Executes a command that is in the unit's own memory. Returns 0, or the reason why it was refused. */
int gpu_execute(const struct vram *vram, const struct gpu_command *c) {
	struct operands operands;
	int error = check(vram, c, &operands);

	if (error) return error;
	for (uint64_t row = c->tile_row; row < (uint64_t)c->tile_row + c->tile_rows; row++) {
		for (uint64_t column = c->tile_column; column < (uint64_t)c->tile_column + c->tile_columns; column++) {
			uint64_t at = row * c->columns + column;
			if (c->operation == GPU_MATMUL)
				operands.target[at] = dot(c, &operands, row, column);
			else
				operands.target[at] = c->operation == GPU_COPY ? operands.left[at] : c->value;
		}
	}
	return 0;
}
