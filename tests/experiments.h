/*
 * experiments.h: what a test build leaves out of the kernel, or makes fail. Nothing of it is in the product.
 *
 * Read next: provoke.c.
 */
#ifndef EXPERIMENTS_H
#define EXPERIMENTS_H

/* Protections that an experiment can leave out, one at a time: ABLATE(name) is true in a build made with
 * `--define ABLATION=ABLATION_name`. The test of a protection must fail without it. boot.asm compares the names
 * themselves. */
#define ABLATIONS(X) \
	X(cld) X(clac) X(fxsave) X(selectors) X(sysret_rip) X(ibpb) X(entry_stack) X(nx) X(wp) X(smep) X(smap) X(umip) \
	X(tsd) X(sfmask) X(user_check) X(guard) X(ist) X(zeroing) X(grant) X(endpoint) X(invlpg) X(quota) X(pledge) \
	X(dma_check) X(dma_unmap) X(dma_invalidate) X(dma_translation) X(dma_write) X(dma_extent) X(dma_overflow) \
	X(interrupt_source) X(dma_early) X(dma_revoke) X(fault) X(cr4) X(io_map) X(iopl) X(sysenter) X(lldt) X(gates) \
	X(heap) X(upper) X(code) X(preempt) X(entry) X(numbers) X(lengths) X(handles) X(slots) X(close_wakes) X(lost) \
	X(room) X(fits) X(claim) X(clean) X(walk) X(descriptors) X(leak) X(drop) X(nmi) X(rank) X(flood) X(held) X(leave) \
	X(serial) X(call_over) X(kill_first) X(circle) X(owners) X(dma_orphan) X(forget) X(raise) X(turns) X(fast_held) \
	X(utf8) X(uart) X(killed_flag) X(vram_zeroing) X(looks)
#define ABLATION_NUMBER(name) ABLATION_##name,
enum { ABLATION_none, ABLATIONS(ABLATION_NUMBER) };

/* True when the named protection is out. */
#define ABLATE(name) (ABLATION == ABLATION_##name || ABLATION_ALSO == ABLATION_##name)
#ifndef ABLATION
#define ABLATION ABLATION_none
#endif
#ifndef ABLATION_ALSO
#define ABLATION_ALSO ABLATION_none
#endif

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
#ifndef PROVOKE
#define PROVOKE PROVOKE_none
#endif

/* True in a build made with `--define PLAIN`: it does everything by the plain way, without the fast path of CALL and
 * without what is known of a shard's memory, and must do the same. */
#ifndef PLAIN
#define PLAIN 0
#endif

#endif
