/*
 * include/coconut.h: the names that C shards of the earlier implementation (coconutOS v0.3.4, in Rust) were written
 * with.
 *
 * Such a shard says `#include "../../include/coconut.h"` and finds this file, wherever its folder lies. Numbers,
 * registers and offsets are those of ../coconut.h; what differs is here: results are unsigned, and the only error is
 * COCONUT_ERROR. Two calls are made to behave as there: RECV cuts a message that is longer than the buffer, PLEDGE
 * ignores bits that it does not know. New shards include coconut.h, which tells one error from the other.
 *
 * Read next: docs/from-rust.md, which says what else differs.
 */
#ifndef COCONUT_H
#define COCONUT_H

#include <stddef.h>
#include <stdint.h>

#define SYS_EXIT          0
#define SYS_SERIAL_WRITE  1
#define SYS_CAP_GRANT    11
#define SYS_CAP_REVOKE   12
#define SYS_CAP_RESTRICT 13
#define SYS_CAP_INSPECT  14
#define SYS_CHANNEL_SEND 21
#define SYS_CHANNEL_RECV 22
#define SYS_FS_OPEN      30
#define SYS_FS_READ      31
#define SYS_FS_STAT      32
#define SYS_FS_CLOSE     33
#define SYS_GPU_DMA      40
#define SYS_GPU_PLEDGE   41
#define SYS_GPU_UNVEIL   42
#define SYS_MMAP         43
#define SYS_YIELD        62

#define PLEDGE_SERIAL  1ULL
#define PLEDGE_CHANNEL 2ULL
#define PLEDGE_GPU_DMA 4ULL

#define COCONUT_ERROR (~0ULL) /* what every call returns that fails */

#define GPU_CONFIG_VADDR 0x4000
#define GPU_CONFIG_MAGIC 0x47504346
struct gpu_config {
	uint32_t magic;        /* @0x00 GPU_CONFIG_MAGIC */
	uint32_t partition_id; /* @0x04 */
	uint64_t vram_size;    /* @0x08 bytes */
	uint32_t cu_count;     /* @0x10 compute units */
	uint32_t _pad;         /* @0x14 */
	uint64_t vram_vaddr;   /* @0x18 */
	uint64_t mmio_vaddr;   /* @0x20 */
};

#define PIPELINE_CONFIG_VADDR 0x10000
#define PIPELINE_CONFIG_MAGIC 0x50495045
struct pipeline_config {
	uint32_t magic;        /* @0x00 PIPELINE_CONFIG_MAGIC */
	uint32_t stage;        /* @0x04 this stage, from 0 */
	uint32_t num_stages;   /* @0x08 */
	uint32_t channel_id;   /* @0x0C for the CHANNEL calls; here a handle */
	uint32_t layers_start; /* @0x10 */
	uint32_t layers_end;   /* @0x14 the layer after the last one */
};

/* Makes a call. Returns its result as the kernel gives it: below zero is an error. */
static inline int64_t coconut_compat_call(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2) {
	int64_t result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a0), "S"(a1), "d"(a2) : "rcx", "r11", "memory");
	return result;
}

/* Any call with as many arguments as the name says. Returns its result, or COCONUT_ERROR. */
static inline uint64_t coconut_syscall3(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2) {
	int64_t result = coconut_compat_call(number, a0, a1, a2);

	return result < 0 ? COCONUT_ERROR : (uint64_t)result;
}
static inline uint64_t coconut_syscall2(uint64_t number, uint64_t a0, uint64_t a1) {
	return coconut_syscall3(number, a0, a1, 0);
}
static inline uint64_t coconut_syscall1(uint64_t number, uint64_t a0) { return coconut_syscall3(number, a0, 0, 0); }
static inline uint64_t coconut_syscall0(uint64_t number) { return coconut_syscall3(number, 0, 0, 0); }

/* Ends this shard. */
static inline void __attribute__((noreturn)) coconut_exit(uint64_t code) {
	coconut_compat_call(SYS_EXIT, code, 0, 0);
	__builtin_unreachable();
}

/* Writes 1 to 4,096 bytes to the console. Returns 0. */
static inline uint64_t coconut_serial_write(const void *buf, size_t len) {
	return coconut_syscall2(SYS_SERIAL_WRITE, (uint64_t)buf, len);
}

/* Lets other shards of the same priority run first. */
static inline void coconut_yield(void) { coconut_syscall0(SYS_YIELD); }

/* Promises to make only the calls of the PLEDGE_ bits in `mask`; other bits mean nothing. Returns 0. */
static inline uint64_t coconut_gpu_pledge(uint64_t mask) {
	return coconut_syscall1(SYS_GPU_PLEDGE, mask & (PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA));
}

/* Restricts GPU DMA to `size` bytes of the own partition from `offset`; before, others' reaches nothing. Returns 0. */
static inline uint64_t coconut_gpu_unveil(uint64_t offset, uint64_t size) {
	return coconut_syscall2(SYS_GPU_UNVEIL, offset, size);
}

/* Copies from the own VRAM to another partition's. Returns 0. `target` was the partition's number and is the handle of
 * a capability here. */
static inline uint64_t coconut_gpu_dma(uint64_t target, uint64_t source, uint64_t destination_and_length) {
	return coconut_syscall3(SYS_GPU_DMA, target, source, destination_and_length);
}

/* Sends 1 to 256 bytes. Returns 0. It waits while four messages are unread, where there the unread one was
 * overwritten. */
static inline uint64_t coconut_channel_send(uint64_t channel, const void *buf, size_t len) {
	return coconut_syscall3(SYS_CHANNEL_SEND, channel, (uint64_t)buf, len);
}

/* Waits for a message and takes it. Returns how many bytes of it are in the buffer: what does not fit is lost. */
static inline uint64_t coconut_channel_recv(uint64_t channel, void *buf, size_t max_len) {
	enum { TOOSMALL = 9, MESSAGE_MAX = 256 }; /* of ../coconut.h; then the message stays queued */
	unsigned char message[MESSAGE_MAX];
	int64_t result = coconut_compat_call(SYS_CHANNEL_RECV, channel, (uint64_t)buf, max_len);

	if (result != -TOOSMALL || max_len == 0) return result < 0 ? COCONUT_ERROR : (uint64_t)result;
	result = coconut_compat_call(SYS_CHANNEL_RECV, channel, (uint64_t)message, MESSAGE_MAX);
	if (result < 0) return COCONUT_ERROR;
	if ((uint64_t)result < max_len) max_len = (uint64_t)result;
	for (size_t i = 0; i < max_len; i++)
		((volatile unsigned char *)buf)[i] = message[i];
	return max_len;
}

/* Opens the file at an absolute path. Returns a descriptor. */
static inline uint64_t coconut_fs_open(const char *path, size_t len) {
	return coconut_syscall2(SYS_FS_OPEN, (uint64_t)path, len);
}

/* Reads up to `max_len` bytes and advances. Returns the number of bytes, 0 at the end of the file. */
static inline uint64_t coconut_fs_read(uint64_t fd, void *buf, size_t max_len) {
	return coconut_syscall3(SYS_FS_READ, fd, (uint64_t)buf, max_len);
}

/* Returns the size of the open file. */
static inline uint64_t coconut_fs_stat(uint64_t fd) { return coconut_syscall1(SYS_FS_STAT, fd); }

/* Closes the descriptor. Returns 0. */
static inline uint64_t coconut_fs_close(uint64_t fd) { return coconut_syscall1(SYS_FS_CLOSE, fd); }

/* Maps zeroed pages. Returns 0. */
static inline uint64_t coconut_mmap(uint64_t address, uint64_t pages) {
	return coconut_syscall2(SYS_MMAP, address, pages);
}

static inline size_t coconut_strlen(const char *s) {
	size_t len = 0;

	for (; s[len]; len++)
		;
	return len;
}

/* Writes a NUL-terminated string that is not empty. Returns 0. */
static inline uint64_t coconut_puts(const char *s) { return coconut_serial_write(s, coconut_strlen(s)); }

/* Returns the configuration page, or 0 where the page is not one. Reading it faults where nothing is mapped. */
static inline const struct gpu_config *coconut_gpu_config(void) {
	const struct gpu_config *page = (const struct gpu_config *)GPU_CONFIG_VADDR;

	return page->magic == GPU_CONFIG_MAGIC ? page : 0;
}
static inline const struct pipeline_config *coconut_pipeline_config(void) {
	const struct pipeline_config *page = (const struct pipeline_config *)PIPELINE_CONFIG_VADDR;

	return page->magic == PIPELINE_CONFIG_MAGIC ? page : 0;
}

#endif
