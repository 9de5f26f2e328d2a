/*
 * layout.h: every address, selector and offset that C and NASM both need.
 *
 * build.sh turns each `#define NAME value` line into a NASM `%define`, so the lines stay plain: one name,
 * one number. Offsets into C structures are checked by static asserts in sched.c and idt.c.
 * MEMORY_MAP.md explains the addresses; tests/ compares both with the ELF file and the live page tables.
 *
 * Read next: bootinfo.h.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

/* Physical memory, sorted by address. The loader asks the firmware for the image, the boot stack and the boot
 * tables. */
#define PHYS_IMAGE          0x200000   /* supervisor ELF, up to the boot stack */
#define PHYS_IMAGE_LIMIT    0x300000
#define PHYS_BOOT_STACK     0x300000   /* one page, used until paging_init is done */
#define PHYS_PVH_TABLES     0x3FD000   /* three pages, used by the firmware-less entry only */
#define PHYS_BOOT_TABLES    0x400000   /* PML4, 3 PDPTs, 3 PDs: readable for ever through the HHDM */
#define PHYS_BOOT_TABLE_PAGES 7
#define PHYS_FRAMES         0x800000   /* mm.c hands out frames from here on */
#define PHYS_TRAMPOLINE_TOP 0x40000000 /* the trampoline maps 1 GiB */

/* Virtual memory of the supervisor. */
#define HHDM_BASE           0xFFFF800000000000
#define IMAGE_BASE          0xFFFFFFFF80000000 /* virtual = physical + IMAGE_BASE for the image */
#define STACKS_BASE         0xFFFFFFFFA0000000 /* kernel stacks, each above an unmapped guard */
#define MMIO_BASE           0xFFFFFFFFC0000000

/* Kernel stacks: a slot is 16 KiB of address space, its upper 8 KiB mapped. */
#define STACK_SLOT_SIZE     0x4000
#define STACK_SIZE          0x2000

/* Selectors, in the order that syscall and sysret need (SDM Vol. 3A 5.8.8). */
#define SEL_KERNEL_CODE     0x08
#define SEL_KERNEL_DATA     0x10
#define SEL_USER_DATA       0x1B
#define SEL_USER_CODE       0x23
#define SEL_TSS             0x28

/* Interrupt vectors. The stubs in boot.asm cover 0..63 and the spurious one. */
#define VECTOR_PIC          0x20       /* 16 legacy lines; the timer is the first */
#define VECTOR_MSI          0x30       /* 16 message-signalled interrupts */
#define VECTOR_STUBS        0x40
#define VECTOR_SPURIOUS     0xFF

/* Offsets that boot.asm uses, checked against the C structures in sched.c and idt.c. */
#define SHARD_KERNEL_RSP    0
#define SHARD_STACK_TOP     8
#define SHARD_CR3           16
#define SHARD_FPU           32         /* FXSAVE image, 512 bytes, 16-byte aligned */
#define TRAP_FRAME_CS       144
#define TRAP_FRAME_SIZE     176
#define SYSCALL_FRAME_RDX   16
#define SYSCALL_FRAME_RIP_HIGH 52      /* upper half of the return address */
#define USER_RIP_HIGH_MAX   0x7FFF     /* upper half of the highest lower-half canonical address */

/* Protections that an experiment can leave out, one at a time: ABLATE(name) is true in a build made with
 * `--define ABLATION=ABLATION_name`. The test of a protection must fail without it. The last one is no protection:
 * without it CALL takes its slow path only. boot.asm compares the names themselves. */
#define ABLATIONS(X) \
	X(cld) X(clac) X(fxsave) X(selectors) X(sysret_rip) X(ibpb) X(entry_stack) X(nx) X(wp) X(smep) X(smap) X(umip) \
	X(tsd) X(sfmask) X(user_check) X(guard) X(ist) X(zeroing) X(grant) X(endpoint) X(invlpg) X(quota) X(pledge) \
	X(dma_check) X(dma_unmap) X(dma_invalidate) X(dma_translation) X(dma_write) X(dma_extent) X(dma_overflow) \
	X(interrupt_source) X(dma_early) X(dma_revoke) X(fault) X(cr4) X(io_map) X(iopl) X(sysenter) X(lldt) X(gates) \
	X(heap) X(upper) X(code) X(preempt) X(entry) X(numbers) X(lengths) X(handles) X(slots) X(close_wakes) X(lost) \
	X(room) X(fits) X(claim) X(clean) X(walk) X(descriptors) X(leak) X(drop) X(nmi) X(rank) X(flood) X(recheck) \
	X(serial) X(call_over) X(kill_first) X(circle) X(owners) X(dma_orphan) X(forget) X(raise) X(turns) X(fast_held) \
	X(utf8) X(uart) X(wait_held) X(killed_flag) X(vram_zeroing) X(ipc_fast)
#define ABLATION_NUMBER(name) ABLATION_##name,
enum { ABLATION_none, ABLATIONS(ABLATION_NUMBER) };

/* Failures that a test build provokes, made with `--define PROVOKE=PROVOKE_name` (tests/provoke.c). */
enum {
	PROVOKE_none,
	/* The run ends badly, which run.sh must tell apart: a panic before memory and traps are set up, a kernel page fault
	 * after initialisation, a triple fault, interrupts off for ever, power off without a word. */
	PROVOKE_early_panic, PROVOKE_panic, PROVOKE_triple_fault, PROVOKE_hang, PROVOKE_silence,
	/* The kernel does what its own page tables forbid: recursion into the guard page, a write to rodata, a write to text
	 * through the HHDM, a jump into data, a read of a shard's page without stac, a jump into a shard's page. */
	PROVOKE_stack, PROVOKE_text_write, PROVOKE_alias_write, PROVOKE_data_execute, PROVOKE_smap, PROVOKE_smep,
	PROVOKE_bad_return, /* a return address that sysret cannot take */
	/* A DMA engine writes to the source of its copy; goes where nobody has let it; two go astray at once; the first one
	 * has its interrupt lost, and so never answers; one raises the interrupt of another one. */
	PROVOKE_dma_source, PROVOKE_dma_stray, PROVOKE_dma_overflow, PROVOKE_dma_silence, PROVOKE_interrupt_forged,
	/* The first shard that copies by DMA is killed meanwhile; so is the shard behind it in the manifest. */
	PROVOKE_dma_kill, PROVOKE_dma_kill_target,
	/* The loader finds a page of the image's place in use, 5-level paging, a memory map that has changed meanwhile. */
	PROVOKE_taken, PROVOKE_la57, PROVOKE_stale_key,
	PROVOKE_entry,   /* TIME turns bits over in the entry of the first file mapping: those of the first word in the heap */
	PROVOKE_preempt, /* every preempt_point lets others run, whether their time has come or not */
	PROVOKE_kill,    /* likewise; and who asks for the time kills the shard behind it in the manifest */
};

/* What the guest writes to isa-debug-exit; QEMU then ends with value * 2 + 1, which run.sh translates. */
#define DEBUG_EXIT_PORT     0xF4
#define DEBUG_EXIT_OK       0x10       /* every shard exited with 0 */
#define DEBUG_EXIT_FAILED   0x11       /* a shard exited non-zero, was killed or could not start, or there was none */
#define DEBUG_EXIT_PANIC    0x12       /* the supervisor panicked */
#define DEBUG_EXIT_LOADER   0x13       /* the loader gave up */

/* RFLAGS bits (SDM Vol. 1 3.4.3). */
#define RFLAGS_RESERVED     0x2
#define RFLAGS_TF           0x100
#define RFLAGS_IF           0x200
#define RFLAGS_DF           0x400
#define RFLAGS_IOPL         0x3000
#define RFLAGS_NT           0x4000
#define RFLAGS_AC           0x40000

/* Control registers and EFER (SDM Vol. 3A 2.5, 2.2.1). */
#define CR0_PE              0x1
#define CR0_MP              0x2
#define CR0_EM              0x4
#define CR0_TS              0x8
#define CR0_NE              0x20
#define CR0_WP              0x10000
#define CR0_AM              0x40000
#define CR0_NW              0x20000000
#define CR0_CD              0x40000000
#define CR0_PG              0x80000000
#define CR4_TSD             0x4
#define CR4_PAE             0x20
#define CR4_OSFXSR          0x200
#define CR4_OSXMMEXCPT      0x400
#define CR4_UMIP            0x800
#define CR4_LA57            0x1000
#define CR4_SMEP            0x100000
#define CR4_SMAP            0x200000
#define MSR_EFER            0xC0000080
#define EFER_SCE            0x1
#define EFER_LME            0x100
#define EFER_NXE            0x800

/* Bits of a page-table entry (SDM Vol. 3A 4.5.4). */
#define PTE_PRESENT         0x1
#define PTE_WRITE           0x2
#define PTE_USER            0x4
#define PTE_PWT             0x8
#define PTE_PCD             0x10
#define PTE_LARGE           0x80
#define PTE_BORROWED        0x200 /* bit 9, free to software: the frame is not the shard's to free */
#define PTE_NX              0x8000000000000000

#endif
