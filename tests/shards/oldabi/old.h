/*
 * old.h: a header as a shard of the earlier implementation would have brought along: the same numbers and registers, unsigned
 * results, and 2^64-1 as the only error it knows. Nothing of this system's own header is used.
 */
#ifndef OLD_H
#define OLD_H

typedef unsigned long u64;
typedef unsigned int u32;

#define ERROR (~0UL)

static inline u64 syscall3(u64 number, u64 a, u64 b, u64 c) {
	u64 result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static inline void sys_exit(u64 code) {
	syscall3(0, code, 0, 0);
	for (;;)
		;
}

static inline u64 sys_serial_write(const char *text, u64 len) { return syscall3(1, (u64)text, len, 0); }
static inline u64 sys_channel_send(u64 handle, const void *buf, u64 len) { return syscall3(21, handle, (u64)buf, len); }
static inline u64 sys_channel_recv(u64 handle, void *buf, u64 max) { return syscall3(22, handle, (u64)buf, max); }
static inline u64 sys_fs_open(const char *path, u64 len) { return syscall3(30, (u64)path, len, 0); }
static inline u64 sys_fs_read(u64 fd, void *buf, u64 max) { return syscall3(31, fd, (u64)buf, max); }
static inline u64 sys_fs_stat(u64 fd) { return syscall3(32, fd, 0, 0); }
static inline u64 sys_fs_close(u64 fd) { return syscall3(33, fd, 0, 0); }
static inline u64 sys_mmap(u64 address, u64 pages) { return syscall3(43, address, pages, 0); }
static inline void sys_yield(void) { syscall3(62, 0, 0, 0); }

struct old_pipeline_config {
	u32 magic, stage, stages, channel, first_layer, last_layer;
};

#endif
