/*
 * layout.h: every address, selector and offset that C and NASM both need.
 *
 * build.sh turns each `#define NAME value` line into a NASM `%define`, so the lines stay plain: one name,
 * one number. Offsets into C structures are checked by static asserts in sched.c, idt.c and trap.c.
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

/* Offsets that boot.asm uses, checked against the C structures in sched.c, idt.c and trap.c. */
#define SHARD_KERNEL_RSP    0
#define SHARD_STACK_TOP     8
#define SHARD_CR3           16
#define SHARD_FPU           32         /* FXSAVE image, 512 bytes, 16-byte aligned */
#define TRAP_FRAME_CS       144
#define TRAP_FRAME_SIZE     176
#define SYSCALL_FRAME_RDX   16
#define SYSCALL_FRAME_RIP_HIGH 52      /* upper half of the return address */
#define USER_RIP_HIGH_MAX   0x7FFF     /* upper half of the highest lower-half canonical address */

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
