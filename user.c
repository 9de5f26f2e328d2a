/*
 * user.c: the memory of shards, as calls touch it.
 *
 * Invariant: no handler touches user memory before user_readable or user_writable has said yes. Only the shard itself
 * can change its mappings, so what was checked stays true until the shard unmaps something, which makes it forget. A
 * check never lets others run: who has much to copy goes piece by piece, and checks each piece before it touches it.
 *
 * Read next: fault.c.
 */
#include "kernel.h"

/* Returns the entry of the last page of the range when every page of it is mapped with all the given bits, else 0. */
static __attribute__((noinline)) uint64_t user_mapped(uint64_t address, uint64_t len, uint64_t bits) {
	uint64_t entry = 0;

	if (!user_range(address, len)) return 0;
	for (uint64_t page = address & ~PAGE_MASK; page < address + len; page += PAGE_SIZE) {
		entry = space_lookup(current, page);
		if ((entry & bits) != bits) return 0;
	}
	return entry;
}

/* The rest of user_readable and of user_writable: looks the pages up, and remembers the last one. */
static __attribute__((noinline)) bool look_up_readable(uint64_t address, uint64_t len) {
	if (!user_mapped(address, len, PTE_PRESENT | PTE_USER)) return false;
	current->readable_page = (address + len - 1) & ~PAGE_MASK;
	return true;
}

static __attribute__((noinline)) bool look_up_writable(uint64_t address, uint64_t len) {
	uint64_t entry = user_mapped(address, len, PTE_PRESENT | PTE_USER | PTE_WRITE);

	if (entry && !(entry & PTE_BORROWED)) { /* the kernel may have no view of another page */
		current->writable_page = (address + len - 1) & ~PAGE_MASK;
		current->writable_view = phys_to_virt(entry & PTE_ADDRESS);
	}
	return entry;
}

/* True when the current shard may read all `len` bytes at `address`, at least one. */
bool user_readable(uint64_t address, uint64_t len) {
	return ABLATE(user_check) || in_page(current->readable_page, address, len) || look_up_readable(address, len);
}

/* True when the current shard may write all `len` bytes at `address`, at least one. */
bool user_writable(uint64_t address, uint64_t len) {
	return ABLATE(user_check) || in_page(current->writable_page, address, len) || look_up_writable(address, len);
}

/* Copies the path of a call, its first two arguments, with a NUL behind it. Returns 0 or the refusal. */
int64_t user_path(uint64_t path, uint64_t len, char *copy) {
	if (len == 0 || len > COCONUT_PATH_MAX)
		return refuse(COCONUT_E_INVAL, 2, len, "the length is not 1 to 255 bytes");
	if (!user_readable(path, len)) return refuse(COCONUT_E_FAULT, 1, path, "the path is not wholly mapped");
	copy_from_user(copy, path, len);
	copy[len] = 0;
	return 0;
}

/* Copies from the current shard; user_readable has said yes. */
void copy_from_user(void *to, uint64_t from, uint64_t len) {
	user_access_begin();
	copy(to, (const void *)from, len);
	user_access_end();
}

/* Copies to the current shard; user_writable has said yes. */
void copy_to_user(uint64_t to, const void *from, uint64_t len) {
	user_access_begin();
	copy((void *)to, from, len);
	user_access_end();
}
