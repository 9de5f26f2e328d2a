/*
 * errors.c: the errors of system calls in words, for messages to people.
 *
 * Read next: coconut.h, where each error is defined.
 */
#include "coconut.h"
#include "shardlib.h"

/* Returns the words for a result that is -COCONUT_E_... */
const char *error_text(int64_t result) {
	switch (-result) {
	case COCONUT_E_NOSYS:     return "no such system call";
	case COCONUT_E_FAULT:     return "bad buffer";
	case COCONUT_E_INVAL:     return "argument out of range";
	case COCONUT_E_BADHANDLE: return "bad handle";
	case COCONUT_E_TYPE:      return "capability of another type";
	case COCONUT_E_RIGHTS:    return "capability lacks the right";
	case COCONUT_E_CLOSED:    return "the other end has ended";
	case COCONUT_E_BUSY:      return "another holder is waiting in a call";
	case COCONUT_E_TOOSMALL:  return "message larger than the buffer";
	case COCONUT_E_NOMEM:     return "out of memory";
	case COCONUT_E_QUOTA:     return "the shard's memory quota is used up";
	case COCONUT_E_FULL:      return "table full";
	case COCONUT_E_EXISTS:    return "already mapped";
	case COCONUT_E_NOENT:     return "no such file";
	case COCONUT_E_NOTFILE:   return "not a regular file";
	case COCONUT_E_IO:        return "input or output failed";
	case COCONUT_E_NOMAP:     return "file cannot be mapped";
	case COCONUT_E_NODEV:     return "no such device";
	case COCONUT_E_PLEDGE:    return "pledged not to";
	case COCONUT_E_VEILED:    return "not unveiled";
	case COCONUT_E_NOEXEC:    return "the file is no program";
	default:                  return "unknown error";
	}
}
