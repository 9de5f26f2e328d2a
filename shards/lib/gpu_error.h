/*
 * gpu_error.h: the named errors of the GPU library. Functions return them negated; zero or more is success.
 *
 * The same numbers are the reasons of error fences (ring.h), so that what went wrong inside a compute unit reaches
 * the one who submitted the command.
 *
 * Read next: vram.h.
 */
#ifndef GPU_ERROR_H
#define GPU_ERROR_H

#define GPU_E_SIZE       1 /* no bytes at all, or more than the partition has */
#define GPU_E_ALIGN      2 /* an alignment that is no power of two, or an operand that is not aligned */
#define GPU_E_TYPE       3 /* no such type of region */
#define GPU_E_SPACE      4 /* no free range is large enough */
#define GPU_E_TABLE      5 /* the table of regions is full */
#define GPU_E_REGION     6 /* no region begins there */
#define GPU_E_RANGE      7 /* the range is not wholly inside one region */
#define GPU_E_ACCESS     8 /* regions of this type do not allow this access */
#define GPU_E_SEALED     9 /* the region is sealed: nobody may write it any more */
#define GPU_E_UNSEALED  10 /* the region is not sealed: nothing in it may be executed yet */
#define GPU_E_FULL      11 /* the ring is full */
#define GPU_E_FENCE     12 /* no such fence, or one that the ring has forgotten */
#define GPU_E_CHECKSUM  13 /* the command is corrupt */
#define GPU_E_OPERATION 14 /* no such operation */
#define GPU_E_SHAPE     15 /* a matrix without numbers, one that is too large, or a tile outside of it */
#define GPU_E_OVERLAP   16 /* the target overlaps a source */

const char *gpu_error_text(long long result);

#endif
