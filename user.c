/*
 * user.c: the memory of shards, as calls touch it.
 *
 * Invariant: no handler touches user memory before user_readable or user_writable has said yes. Only the shard itself
 * can change its mappings, so what was checked stays true until the shard unmaps something, which makes it forget. A
 * check never lets others run: it covers at most a few pages at once, and who has more to copy checks each piece before
 * it touches it.
 *
 * Read next: fault.c.
 */
#include "kernel.h"

/* True when every page of the range is mapped with all the given bits. The last one is then `*known`. */
static inline bool look_up(uint64_t address, uint64_t len, uint64_t bits, uint64_t *known) {
	uint64_t page = address & ~PAGE_MASK;

	if (!user_range(address, len)) return ABLATE(user_check);
	for (;; page += PAGE_SIZE) {
		if ((space_lookup(current, page) & bits) != bits) return ABLATE(user_check);
		if (address + len - page <= PAGE_SIZE) break;
	}
	*known = page;
	return true;
}

/* The rest of user_readable and of user_writable, for pages that are not known. */
bool look_up_readable(uint64_t address, uint64_t len) {
	return look_up(address, len, PTE_PRESENT | PTE_USER, &current->known.readable_page);
}

bool look_up_writable(uint64_t address, uint64_t len) {
	return look_up(address, len, PTE_PRESENT | PTE_USER | PTE_WRITE, &current->known.writable_page);
}

/* Lets the fast path of CALL write into a buffer of the current shard for a message of at most `max` bytes, if it is
 * writable and lies in one page that is the shard's own: of another the kernel may have no view. A processor without
 * SMAP has no fast path. Returns whether the buffer is offered. */
bool user_offer(uint64_t buf, uint64_t max) {
	struct known *known = &current->known;

	known->receive_max = 0;
	/* ~buf & PAGE_MASK: how many bytes of the page are behind that one; a `max` of 0 wraps, and is too much too */
	if (buf >= USER_LIMIT || max - 1 > (~buf & PAGE_MASK) || !cpu_has_smap) return false;
	uint64_t entry = space_lookup(current, buf), own = PTE_PRESENT | PTE_USER | PTE_WRITE;
	if ((entry & (own | PTE_BORROWED)) != own) return false;
	known->receive_buf = buf;
	known->receive_max = max;
	known->receive_at = (uint8_t *)table_of(entry) + (buf & PAGE_MASK);
	return true;
}

/* Copies the path of a call, its first two arguments, with a NUL behind it, to `copy`, of COCONUT_PATH_MAX + 1 bytes.
 * Returns 0 or the refusal. */
int64_t user_path(uint64_t path, uint64_t len, char *copy) {
	if (len == 0 || len > COCONUT_PATH_MAX)
		return refuse(-COCONUT_E_INVAL, 2, len, "the length is not 1 to 255 bytes");
	if (!user_readable(path, len)) return refuse(-COCONUT_E_FAULT, 1, path, "the path is not wholly mapped");
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
