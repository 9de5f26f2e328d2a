/*
 * gpu_error.c: the errors of the GPU library in words, for messages to people.
 *
 * Read next: vram.c.
 */
#include "gpu_error.h"

/* Returns the words for a result that is -GPU_E_... */
const char *gpu_error_text(long long result) {
	switch (-result) {
	case GPU_E_SIZE:      return "size out of range";
	case GPU_E_ALIGN:     return "bad alignment";
	case GPU_E_TYPE:      return "no such type of region";
	case GPU_E_SPACE:     return "no free range is large enough";
	case GPU_E_TABLE:     return "table of regions full";
	case GPU_E_REGION:    return "no region begins there";
	case GPU_E_RANGE:     return "not wholly inside one region";
	case GPU_E_ACCESS:    return "the region's type does not allow this";
	case GPU_E_SEALED:    return "the region is sealed";
	case GPU_E_UNSEALED:  return "the region is not sealed";
	case GPU_E_FULL:      return "ring full";
	case GPU_E_FENCE:     return "unknown fence";
	case GPU_E_CHECKSUM:  return "corrupt command";
	case GPU_E_OPERATION: return "no such operation";
	case GPU_E_SHAPE:     return "impossible shape";
	case GPU_E_OVERLAP:   return "target overlaps a source";
	default:              return "unknown error";
	}
}
