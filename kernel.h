/*
 * kernel.h: the index of the supervisor, which is this system's word for the kernel. (Its thread is always called "the
 * supervisor's thread".)
 *
 * The doors first, then the functions and variables that one file offers to the others, grouped under the file that
 * defines them; those of boot.asm stand with the file that they work for, those of the parsers in headers of their own.
 * Structures stand in structures.h.
 *
 * The ladder: the groups stand in one order, boot.asm before them all. A file calls functions and uses variables of
 * earlier files only. So whoever reads the files in this order knows what a line calls when he comes to it. The only
 * ways to later files are the doors, listed further down: the test ladder.arrows looks for others in the objects. The
 * files of devices, from acpi.c to gpu.c, can be left out at first: shard.c, syscall.c, supervisor.c, deadlock.c and
 * main.c name their functions in a few lines.
 *
 * Invariants of the whole kernel:
 *   - There is one CPU, and the kernel runs with interrupts off except in the idle loop, inside preempt_point(),
 *     interrupt_point() and tell(), at the end of a wait (sched_wait), and while timer_init waits for the first tick.
 *     Others run only inside functions whose prototypes say MAY_SWITCH (marks.h): between two calls of these nothing
 *     else does, so there are no locks.
 *   - From paging_init on no page is writable and executable. Addresses of shards are used between stac and
 *     clac only: see user.c, and copy_across below. Whoever makes or clears their frames reaches them through the HHDM
 *     (higher-half direct map): all of RAM, mapped once more from HHDM_BASE on.
 *   - A free frame that has been used before contains zeros: whoever frees it clears it.
 *   - A function that returns an error does so as a negative COCONUT_E_ number; where it returns something else, its
 *     contract says what. It has then changed nothing, unless it says so.
 *   - ABLATE(...) is false: it is for test builds that leave a protection out. PLAIN is 0: it is for builds that leave
 *     the short ways out (both: tests/experiments.h). HAS(...) is true: see rungs/rungs.h.
 *
 * Read next: lib.c.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COCONUT_NO_CALLS
#include "bootinfo.h"
#include "coconut.h"
#include "cpu.h"
#include "layout.h"
#include "structures.h"
#include "tests/experiments.h"

#define COCONUT_VERSION "0.6.1"

#define PAGE_SIZE 4096UL
#define PAGE_MASK (PAGE_SIZE - 1)
#define LARGE_PAGE_SIZE 0x200000UL

#define PTE_ADDRESS 0x000FFFFFFFFFF000UL /* bits 51..12 (SDM Vol. 3A table 4-20) */
#define USER_LIMIT 0x8000000000UL        /* shards live under entry 0 of the PML4: 512 GiB */

#define NO_REGION ~0UL                   /* a number that no 2 MiB of addresses have */
#define STACK_PAGE (COCONUT_STACK_TOP - PAGE_SIZE) /* of a shard: mapped as long as it lives */

/* A condition that only a mistake in the kernel can break. */
#define ASSERT(condition)                                                               \
	do {                                                                            \
		if (!(condition)) panic("assertion failed: %s (%s:%d)", #condition, __FILE__, __LINE__); \
	} while (0)

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Physical memory as the kernel sees it, once paging_init (or boot.asm, for the first GiB) has mapped it. */
static inline void *phys_to_virt(uint64_t phys) { return (void *)(phys + HHDM_BASE); }

/* ---- The doors ----------------------------------------------------------------------------------------
 *
 * boot.asm is entered from outside, by the loader, the processor and ring 3, and goes on in C:
 *
 *   supervisor_main      the trampoline has done its work
 *   interrupt_dispatch   an exception or an interrupt has come
 *   syscall_dispatch     a shard calls
 *   syscall_bad_return   a shard has called from where `sysret` cannot return to
 *   shard_begin          a new shard is about to run its first instruction
 *
 * It knows its way by what C keeps for it:
 *
 *   current, tss                      whose kernel stack is in use, and where the processor and a call find it
 *   kernel_since                      when the kernel began to work for the current shard
 *   cpu_has_smap, cpu_has_ibpb        which instructions this processor has
 *
 * An earlier file reaches later ones only through a variable of its own, which a later file sets at start:
 *
 *   power_off            panic.c: how the machine is switched off, which devices.c finds out
 *   end_shard            sched.c: how the current shard ends, in shard.c, when it was killed or is at fault
 *   cap_gone             cap.c: who is told, by type, that a capability goes: channel.c, spawn.c, edu.c
 *   call_names           refuse.c: what the calls are called, in the table of syscall.c
 *   calls_all            shard.c: a bit for each of these calls, from syscall.c
 *
 * Handlers of interrupts are passed to apic_handle, and what the supervisor's thread does to sched_loop. Where a
 * comment says `calls through` a pointer, it lists all functions that the pointer leads to; tests read these comments.
 */

/* ---- lib.c: what the compiler and the parsers expect of a C library ------------------------------- */

void *memset(void *to, int byte, size_t len);
void *memcpy(void *to, const void *from, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *s);

/* Returns the smaller of two numbers. */
static inline uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Copies like memcpy, where the call would cost more than the copying. */
static inline void copy(void *to, const void *from, uint64_t len) {
	uint64_t words = len / 8, rest = len % 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	if (rest) __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
}

/* True when the `len` bytes at `address` lie in the page at `page`. An address before it wraps to a large distance. */
static inline bool in_page(uint64_t page, uint64_t address, uint64_t len) {
	return len <= PAGE_SIZE && address - page <= PAGE_SIZE - len;
}

/* ---- serial.c: COM1 and formatted printing -------------------------------------------------------- */

extern size_t serial_queued; /* how many bytes the UART has not taken yet */
#define SERIAL_BURSTS 8      /* of 16 bytes, that a writer hands the UART at once: twice what a CONSOLE_PIECE takes */

void serial_init(void);
int serial_room(int bursts);
void serial_write(const char *text, size_t len);
void serial_drain(void);
size_t format(char *out, size_t size, const char *template, va_list args);

/* ---- console.c: whose line it is ------------------------------------------------------------------ */

#define CONSOLE_SUPERVISOR MAX_SHARDS /* the supervisor's writer number; a shard's is its slot */
#define CONSOLE_PIECE 64              /* how many bytes a shard writes in one go: a short line stays whole */

/* Words of the command line, for what the supervisor prints. verbose: every step. quiet: nothing but panics and, of a
 * run whose manifest was good, how it ended. */
extern bool verbose, quiet;

void console_write(uint32_t writer, const char *text, size_t len);
void print(const char *template, ...) __attribute__((format(printf, 1, 2)));
MAY_INTERRUPT void tell(const char *template, ...) __attribute__((format(printf, 1, 2)));
#define print_verbose(...) (verbose ? print(__VA_ARGS__) : (void)0) /* when the user asked for every step */
void console_cut(void);
int console_room(uint32_t writer);
void console_end(uint32_t writer);
void console_poll(void);
void console_flush_all(void);

/* ---- panic.c: the end of a run -------------------------------------------------------------------- */

extern void (*power_off)(void); /* calls through power_off: acpi_power_off */

void debug_exit(uint32_t code) __attribute__((noreturn));
void panic_begin(void);
void print_backtrace(uint64_t rip, uint64_t rbp);
void panic(const char *template, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- cpu.c: control registers and features -------------------------------------------------------- */

void cpu_init(void);

/* ---- mm.c: physical frames ------------------------------------------------------------------------ */

void mm_init(const struct bootinfo *info);
int frame_alloc(struct shard *owner, uint64_t *phys);
int frame_alloc_raw(uint64_t *phys);
void frame_free(struct shard *owner, uint64_t phys);
void frame_free_clean(struct shard *owner, uint64_t phys);
uint64_t mm_free_frames(void);

/* ---- paging.c: page tables ------------------------------------------------------------------------ */

extern uint64_t kernel_cr3;

uint64_t pte_make(uint64_t phys, uint64_t rights);
void paging_init(const struct bootinfo *info);
bool paging_device_fits(uint64_t phys, uint64_t size);
void *paging_map_device(uint64_t phys, uint64_t size);
const void *paging_map_table(uint64_t phys, uint64_t size);
uint64_t paging_entry(uint64_t cr3, uint64_t address, int level);
uint64_t stack_slot_top(uint32_t slot);

/* The walk: a table of each level has 512 entries, and 9 bits of the address choose one (SDM Vol. 3A 4.5.4). */
enum { LEVEL_PT, LEVEL_PD, LEVEL_PDPT, LEVEL_PML4, ENTRIES = 512, PML4_HHDM = 256, PML4_IMAGE = 511 };

/* Returns which entry of the table of the given level `address` goes through. */
static inline uint32_t entry_index(uint64_t address, int level) { return address >> (12 + 9 * level) & (ENTRIES - 1); }

/* Returns the table that an entry points to. A value of cr3 serves as an entry too: its address is in the same bits. */
static inline uint64_t *table_of(uint64_t entry) { return phys_to_virt(entry & PTE_ADDRESS); }

/* ---- idt.c: GDT, TSS, IDT ------------------------------------------------------------------------- */

void idt_init(void);

/* ---- apic.c: the local APIC ----------------------------------------------------------------------- */

void apic_init(void);
uint8_t apic_id(void);
int apic_handle(void (*handler)(void *), void *argument);
void apic_interrupt(uint64_t vector);
void apic_timer_init(void (*handler)(void *));
void apic_timer_start(uint32_t count);
uint32_t apic_timer_now(void);

/* ---- sched.c: who runs ---------------------------------------------------------------------------- */

extern struct shard shards[MAX_SHARDS];
extern struct shard *current, supervisor_thread; /* the shard whose kernel stack is in use, or &supervisor_thread */
extern bool need_resched; /* the current shard has something to attend to: others may come first, or it was killed */
/* kernel_since: the low half of the time stamp when the kernel began to work for `current`. ready_mask: who wants to
 * run, the most urgent in the lowest bit. */
extern uint32_t kernel_since, ready_mask;
extern void (*end_shard)(uint64_t code) __attribute__((noreturn)); /* calls through end_shard: handle_sys_exit */

void sched_ready(struct shard *shard);
void sched_tick(void);
MAY_SWITCH int64_t sys_yield(void);
MAY_SWITCH void sched_preempt(void);
void sched_set_priority(struct shard *shard, uint8_t priority);
MAY_SWITCH int64_t sched_wait(struct shard **list, enum wait_kind kind, uint16_t object);
void sched_wake(struct shard *shard, int64_t result);
void sched_hand_over(struct shard *shard, int64_t result);
void sched_wake_all(struct shard **list, int64_t result);
void sched_supervise(void);
void sched_raise(struct shard *shard, uint8_t priority);
MAY_SWITCH void sched_exit(void) __attribute__((noreturn));
MAY_SWITCH void sched_loop(void (*reap)(void), bool (*end_deadlocks)(void)) __attribute__((noreturn));
MAY_INTERRUPT void interrupt_point(void);
MAY_SWITCH bool preempt_point(void);
MAY_SWITCH void context_switch(struct shard *from, struct shard *to);
MAY_SWITCH void context_switch_fpu(struct shard *from, struct shard *to);

static inline void mark_running(struct shard *shard) {
	shard->state = SHARD_RUNNING;
	shard->usage.switches++;
}

/* Switches from `self`, which is inside a system call, to `next`. `now` is the low half of the time stamp: what passes
 * until `self` is back is not counted as time of its call. Its FPU state is still in the registers, so it is saved. */
MAY_SWITCH static inline void leave_call(struct shard *self, struct shard *next, uint32_t now) {
	self->usage.cycles += now - kernel_since;
	kernel_since = now;
	mark_running(next);
	context_switch_fpu(self, next);
}

/* Calls `function`, which must not return, with `argument`, on the stack that ends below the address `top`. */
MAY_SWITCH void run_on_stack(uint64_t top, void (*function)(uint64_t), uint64_t argument) __attribute__((noreturn));

/* ---- timer.c: the tick and the time --------------------------------------------------------------- */

MAY_INTERRUPT void timer_init(void);
bool timer_use_acpi(uint16_t port, bool wide);
void timer_interrupt(void);
uint64_t timer_ms(void);

/* ---- refuse.c: a call that is refused says why ---------------------------------------------------- */

extern const char *const *call_names;

MAY_INTERRUPT int64_t refuse(int error, int argument, uint64_t value, const char *reason);

/* ---- space.c: address spaces of shards ------------------------------------------------------------ */

/* Returns where the leaf of `address` stands; NULL when there is no table for it. The shard remembers the last table.
 * Entry 0 is the only one of the PML4 that a shard uses: `address` is below USER_LIMIT. */
static inline uint64_t *leaf_of(struct shard *shard, uint64_t address) {
	if (PLAIN || shard->known.region != address / LARGE_PAGE_SIZE) {
		uint64_t pdpt = table_of(shard->cr3)[0];
		uint64_t pd = pdpt ? table_of(pdpt)[entry_index(address, LEVEL_PDPT)] : 0;
		uint64_t *entry = pd ? &table_of(pd)[entry_index(address, LEVEL_PD)] : NULL;
		if (!entry || !*entry) return NULL;
		shard->known.region = address / LARGE_PAGE_SIZE;
		shard->known.entry = entry;
		shard->known.table = table_of(*entry);
	}
	return &shard->known.table[entry_index(address, LEVEL_PT)];
}

/* Returns the leaf entry of a page of the shard, 0 when nothing is mapped there. `address` < USER_LIMIT. */
static inline uint64_t space_lookup(struct shard *shard, uint64_t address) {
	const uint64_t *place = leaf_of(shard, address);

	return place ? *place : 0;
}

void forget(struct shard *shard);
int space_create(struct shard *shard);
int space_map(struct shard *shard, uint64_t address, uint64_t phys, uint64_t rights);
void *map_page(struct shard *shard, uint64_t address, uint64_t rights, int *error);
MAY_SWITCH void space_destroy(struct shard *shard);
MAY_SWITCH int64_t sys_mmap(uint64_t address, uint64_t pages);
MAY_SWITCH int64_t sys_munmap(uint64_t address, uint64_t pages);

/* ---- user.c: the memory of shards ----------------------------------------------------------------- */

/* True when [address, address + len) lies in the 512 GiB that belong to shards. */
static inline bool user_range(uint64_t address, uint64_t len) {
	return address < USER_LIMIT && len <= USER_LIMIT - address;
}

MAY_INTERRUPT int64_t user_path(uint64_t path, uint64_t len, char *copy);
bool look_up_readable(uint64_t address, uint64_t len);
bool look_up_writable(uint64_t address, uint64_t len);
bool user_offer(uint64_t buf, uint64_t max);

/* True when the current shard may read all `len` bytes at `address`. `len` is not 0. */
static inline bool user_readable(uint64_t address, uint64_t len) {
	return (!PLAIN && in_page(current->known.readable_page, address, len)) || look_up_readable(address, len);
}

/* True when the current shard may write all `len` bytes at `address`. `len` is not 0. */
static inline bool user_writable(uint64_t address, uint64_t len) {
	return (!PLAIN && in_page(current->known.writable_page, address, len)) || look_up_writable(address, len);
}
void copy_from_user(void *to, uint64_t from, uint64_t len);
void copy_to_user(uint64_t to, const void *from, uint64_t len);

/* Copies a message from the current shard to where the kernel sees the buffer that another one has offered. Who offers
 * has asked whether the processor has SMAP. */
static inline void copy_across(void *to, uint64_t from, uint64_t len) {
	__asm__ volatile("stac" : : : "memory");
	copy(to, (const void *)from, len);
	__asm__ volatile("clac" : : : "memory");
}

/* ---- fault.c: a fault in words -------------------------------------------------------------------- */

MAY_SWITCH void fault_kill(struct trap_frame *frame) __attribute__((noreturn));
void fault_panic(struct trap_frame *frame) __attribute__((noreturn));

/* ---- trap.c: what arrives: exceptions and interrupts ---------------------------------------------- */

MAY_SWITCH void interrupt_dispatch(struct trap_frame *frame);

/* ---- profile.c: what ran, how much of it, and how it ended ---------------------------------------- */

struct profile *profile_row(uint32_t id, const char *name);
MAY_INTERRUPT struct profile *profile_row_for_program(const char *path);
void profile_print(void);
bool profile_print_ends(void);

/* ---- ext2.c: reading an ext2 image: see ext2.h ---------------------------------------------------- */

/* ---- fs.c: files ---------------------------------------------------------------------------------- */

void fs_init(const struct bootinfo *info);
MAY_SWITCH int fs_find(const char *path, size_t len, struct ext2_file *file);
const char *fs_reason(int error);
int64_t fs_load(const struct ext2_file *file, uint64_t offset, void *to, size_t len);
void files_close_all(struct shard *shard);
MAY_SWITCH int64_t sys_fs_open(uint64_t path, uint64_t len);
MAY_SWITCH int64_t sys_fs_read(uint64_t fd, uint64_t buf, uint64_t max);
MAY_INTERRUPT int64_t sys_fs_stat(uint64_t fd);
MAY_INTERRUPT int64_t sys_fs_close(uint64_t fd);
MAY_SWITCH int64_t sys_fs_map(uint64_t fd, uint64_t address);

/* ---- manifest.c: parsing the boot manifest: see manifest.h ---------------------------------------- */

/* ---- cap.c: capabilities -------------------------------------------------------------------------- */

extern struct cap_table caps;
/* calls through cap_gone: channel_cap_gone, spawn_cap_gone, edu_cap_gone */
extern void (*cap_gone[])(struct shard *holder, const struct capability *cap);

int cap_insert(struct cap_table *table, uint32_t shard, struct capability cap, bool granted);
int cap_copy(struct cap_table *table, uint32_t from, uint32_t shard, uint8_t rights);
MAY_INTERRUPT void cap_mark(struct cap_table *table, uint32_t top);
uint32_t cap_leaf(const struct cap_table *table, uint32_t top);
void cap_remove(struct cap_table *table, uint32_t index);
const struct capability *cap_find(const struct capability *slots, uint64_t handle);

int cap_give(uint32_t id, uint8_t type, uint8_t rights, uint32_t resource);
void cap_give_first(uint32_t id, uint8_t type, uint8_t rights, uint32_t resource);
MAY_INTERRUPT const struct capability *cap_use(int argument, uint64_t handle, uint8_t type, uint8_t rights,
	int64_t *error);
bool cap_is_of_call(const struct capability *cap, const struct shard *shard);
bool cap_held(void);
MAY_SWITCH void cap_revoke_index(uint32_t index);
MAY_SWITCH void caps_drop_all(struct shard *shard);
MAY_SWITCH int64_t sys_cap_revoke(uint64_t handle);
MAY_INTERRUPT int64_t sys_cap_restrict(uint64_t handle, uint64_t rights);
MAY_INTERRUPT int64_t sys_cap_inspect(uint64_t handle);

/* ---- channel.c: messages between shards ----------------------------------------------------------- */

extern struct end ends[2 * MAX_CHANNELS];

/* Returns the other end of the channel: ends stand in pairs, each pair at a multiple of its own size (channel.c). */
static inline struct end *other_end(struct end *end) { return (struct end *)((uint64_t)end ^ sizeof(*end)); }

void channel_create(uint32_t channel, uint32_t shard_a, uint32_t shard_b);
MAY_INTERRUPT void channels_open(uint32_t home);
uint32_t channel_handle(uint32_t home, uint32_t channel);
MAY_SWITCH void channels_close(struct shard *shard);
void channel_call_over(const struct shard *shard);
void channel_cap_gone(struct shard *holder, const struct capability *cap);
int channel_home(uint32_t end);
MAY_INTERRUPT int64_t sys_cap_grant(uint64_t handle, uint64_t channel, uint64_t rights);
MAY_SWITCH int64_t sys_channel_send(uint64_t handle, uint64_t buf, uint64_t len);
MAY_SWITCH int64_t sys_channel_recv(uint64_t handle, uint64_t buf, uint64_t max);
MAY_SWITCH int64_t call_slowly(uint64_t handle, uint64_t buf, uint64_t len, uint64_t reply, uint64_t max);
MAY_SWITCH int64_t call_woken(void);

/* ---- call.c: the fast path of CALL ---------------------------------------------------------------- */

MAY_SWITCH int64_t sys_channel_call(uint64_t handle, uint64_t buf, uint64_t len, uint64_t reply, uint64_t max);

/* ---- acpi.c: reading ACPI tables: see acpi.h ------------------------------------------------------ */

/* ---- pci.c: finding PCI devices: see pci.h -------------------------------------------------------- */

/* ---- devices.c: what the machine has -------------------------------------------------------------- */

void devices_init(const struct bootinfo *info);
struct acpi_drhd;
struct pci_access;
struct pci_device;
extern const struct pci_access pci_ports;
const struct pci_device *device_at(uint32_t index);
const uint8_t *device_dmar(uint32_t *len);
bool dmar_unit(const uint8_t *table, uint32_t len, struct acpi_drhd *unit);

/* ---- iommu.c: what devices can reach -------------------------------------------------------------- */

void iommu_init(void);
int iommu_attach(const struct pci_device *device, uint32_t *domain);
int iommu_map(uint32_t domain, uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write);
void iommu_unmap(uint32_t domain, uint64_t iova, uint64_t pages);
void iommu_report_faults(uint32_t domain, bool wanted);
void iommu_set_owner(uint32_t domain, int shard_id);
bool iommu_faulted(uint32_t domain);
void iommu_report(void);
int msi_allocate(const struct pci_device *device, void (*handler)(void *), void *argument);
bool iommu_route(const struct pci_device *device, uint8_t vector, uint32_t *address, uint32_t *data);

/* ---- edu.c: the DMA engine that copies between partitions ----------------------------------------- */

struct extent {
	uint64_t start, size; /* bytes of physical memory */
};

/* A copy by DMA: `len` bytes of physical memory, of which only those inside the two extents can be reached. */
struct dma {
	uint64_t source, target, len;
	struct extent readable, writable;
};

/* Where an engine's domain maps the pages of a piece: below 256 MiB, which is all that an edu reaches. */
enum { EDU_SOURCE_IOVA = 0x10000, EDU_TARGET_IOVA = 0x20000, EDU_BUFFER = 0x40000 /* its own, as it sees it */ };

void edu_init(void);
MAY_SWITCH int64_t edu_copy(const struct dma *wanted);
void edu_cap_gone(struct shard *holder, const struct capability *cap);
void edu_abandon(struct shard *shard);
void edu_revoke(uint64_t phys, uint64_t size);
void edu_watch(void);

/* ---- gpu.c: partitions of the GPU's memory -------------------------------------------------------- */

MAY_SWITCH void gpu_init(void);
MAY_SWITCH int gpu_attach(struct shard *shard, struct gpu_config *config);
void gpu_allow(uint32_t id);
MAY_SWITCH void gpu_release(struct shard *shard);
MAY_INTERRUPT int64_t sys_gpu_unveil(uint64_t offset, uint64_t size);
MAY_SWITCH int64_t sys_gpu_dma(uint64_t handle, uint64_t source, uint64_t target_and_len);

/* ---- shard.c: the life of a shard ----------------------------------------------------------------- */

extern uint64_t calls_all;

MAY_SWITCH int shard_create(uint32_t id, const struct manifest_shard *spec, const struct ext2_file *program,
	struct profile *profile, struct shard *parent);
MAY_SWITCH void sys_exit(uint64_t code) __attribute__((noreturn));
MAY_SWITCH void handle_sys_exit(uint64_t code) __attribute__((noreturn));
MAY_SWITCH void shard_begin(void);
MAY_SWITCH void shard_start(void);
void shard_kill(struct shard *shard, uint8_t priority);
MAY_SWITCH int64_t shard_free(struct shard *shard);

/* ---- spawn.c: shards that start shards ------------------------------------------------------------ */

void spawn_cap_gone(struct shard *holder, const struct capability *cap);
MAY_SWITCH int64_t sys_spawn(uint64_t path, uint64_t path_len, uint64_t args, uint64_t args_len);
MAY_SWITCH int64_t sys_wait(uint64_t handle);
MAY_INTERRUPT int64_t sys_kill(uint64_t handle);

/* ---- syscall.c: the door between the rings -------------------------------------------------------- */

void syscall_init(void);
MAY_SWITCH int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number);
MAY_SWITCH void syscall_bad_return(const struct syscall_frame *frame) __attribute__((noreturn));

/* ---- supervisor.c: the thread that looks after the shards ----------------------------------------- */

uint32_t first_of_chain(uint32_t id);
MAY_SWITCH void supervisor_work(bool (*search)(void)) __attribute__((noreturn));

/* ---- deadlock.c: shards that wait for each other for ever ----------------------------------------- */

MAY_SWITCH bool end_deadlocks(void);

/* ---- pvh.c: the firmware-less entry --------------------------------------------------------------- */

const struct bootinfo *pvh_bootinfo(const void *start);

/* ---- main.c: the order of initialisation ---------------------------------------------------------- */

MAY_SWITCH void supervisor_main(uint64_t bootinfo_phys, uint64_t clock) __attribute__((noreturn));

/* supervisor.ld: the borders of the image's sections. */
extern char image_text[], image_rodata[], image_data[], image_end[];

/* build.sh generates these from the linked image: the functions' names for backtraces. */
struct symbol {
	uint32_t offset, name; /* address - IMAGE_BASE; index into kernel_symbol_names */
};
extern const struct symbol kernel_symbols[];
extern const uint32_t kernel_symbol_count;
extern const char kernel_symbol_names[];

#endif
