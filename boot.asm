; boot.asm: everything that C cannot say.
;
;   .text.boot   the trampoline: from the loader (or QEMU's -kernel) to supervisor_main in the higher half
;   isr_*        interrupt and exception stubs, with FXSAVE/FXRSTOR around what interrupts ring 3
;   syscall_entry, context_switch, run_on_stack
;
; Invariants: the kernel runs with interrupts off except in the idle loop, where it looks at them, after waits, and
; while timer_init waits for the first tick; whoever leaves the CPU has its FPU state saved in its struct shard before
; another shard's state is loaded.
; There is one CPU, and interrupts are off until a stack is in use (SFMASK, interrupt gates), so single words of memory
; (current, user_rsp) need no per-CPU base and no swapgs.
;
; Read next: cpu.h. MEMORY_MAP.md has the picture of the address spaces built here.

%include "layout.inc"

; PROTECT name, instruction: a protection, left out in the build that ABLATE(name) means in C (tests/experiments.h).
%macro PROTECT 2+.nolist
%ifnidn ABLATION, ABLATION_%1
        %2
%endif
%endmacro

BOOT_STACK_TOP  equ PHYS_BOOT_STACK + 0x1000
BOOT_PML4       equ PHYS_BOOT_TABLES
BOOT_PDPT_LOW   equ PHYS_BOOT_TABLES + 0x1000
BOOT_PDPT_HHDM  equ PHYS_BOOT_TABLES + 0x2000
BOOT_PDPT_IMAGE equ PHYS_BOOT_TABLES + 0x3000
BOOT_PD_LOW     equ PHYS_BOOT_TABLES + 0x4000   ; three alike: low, HHDM, image
PML4_HHDM       equ 256                         ; index of HHDM_BASE, bits 47..39
PML4_IMAGE      equ 511
PDPT_IMAGE      equ 510                         ; index of IMAGE_BASE, bits 38..30
LARGE_2M        equ 0x200000

global _start, pvh_start, isr_table, interrupt_return, shard_start, syscall_entry
global context_switch, context_switch_fpu, run_on_stack
extern supervisor_main, interrupt_dispatch, shard_begin, syscall_dispatch, syscall_bad_return
extern current, kernel_since, tss, cpu_has_smap, cpu_has_ibpb

TSS_RSP0        equ 4                           ; SDM Vol. 3A, "64-Bit TSS Format"

CPUID_HIGHEST   equ 0x80000000                  ; SDM Vol. 2A, CPUID: the highest leaf of this kind, in eax
CPUID_EXTENDED  equ 0x80000001                  ; features, in edx
EDX_LONG_BIT    equ 29                          ; 64-bit mode
COM1            equ 0x3F8
MSR_PRED_CMD    equ 0x49                        ; SDM Vol. 4: bit 0 is the indirect branch predictor barrier
PRED_CMD_IBPB   equ 1

; ---------------------------------------------------------------------------------------------------------
; The trampoline
; ---------------------------------------------------------------------------------------------------------

section .note.Xen note alloc noexec nowrite align=4
        ; An ELF note by which QEMU's -kernel finds a 32-bit entry (PVH: Xen's public/elfnote.h).
        dd 4, 4, 18                             ; name size, description size, XEN_ELFNOTE_PHYS32_ENTRY
        db "Xen", 0
        dd pvh_start

section .text.boot progbits alloc exec nowrite align=16

; void pvh_start(void): the firmware-less entry, for tests and benchmarks.
; At entry: 32-bit protected mode, paging off, ebx = physical address of the PVH start-info structure.
;   1. three temporary tables that map the image and the tables of _start, with a large page each (one of 1 GiB would
;      do, but not every processor has them)
;   2. PAE, long mode, paging; a processor without long mode gets no further, and says so
;   3. on to _start as if the loader had jumped there, but with the clock of this entry in r12
bits 32
pvh_start:
        cld
        rdtsc
        mov     esi, eax
        mov     ebp, edx
        mov     edi, PHYS_PVH_TABLES            ; 1.
        xor     eax, eax
        mov     ecx, 3 * 0x1000 / 4
        rep     stosd
        mov     dword [PHYS_PVH_TABLES], (PHYS_PVH_TABLES + 0x1000) + PTE_PRESENT + PTE_WRITE
        mov     dword [PHYS_PVH_TABLES + 0x1000], (PHYS_PVH_TABLES + 0x2000) + PTE_PRESENT + PTE_WRITE
        mov     eax, PHYS_IMAGE + PTE_PRESENT + PTE_WRITE + PTE_LARGE
        mov     [PHYS_PVH_TABLES + 0x2000 + PHYS_IMAGE / LARGE_2M * 8], eax
        add     eax, PHYS_BOOT_TABLES - PHYS_IMAGE
        mov     [PHYS_PVH_TABLES + 0x2000 + PHYS_BOOT_TABLES / LARGE_2M * 8], eax
        mov     edi, ebx                        ; 2. cpuid writes ebx
        mov     eax, CPUID_HIGHEST
        cpuid
        cmp     eax, CPUID_EXTENDED
        jb      no_long_mode
        mov     eax, CPUID_EXTENDED
        cpuid
        bt      edx, EDX_LONG_BIT
        jnc     no_long_mode
        mov     eax, CR4_PAE
        mov     cr4, eax
        mov     eax, PHYS_PVH_TABLES
        mov     cr3, eax
        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_LME
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG + CR0_PE
        mov     cr0, eax
        lgdt    [boot_gdt_pointer]
        jmp     SEL_KERNEL_CODE:.long_mode
bits 64
.long_mode:
        mov     edi, edi                        ; 3. the upper halves of registers are undefined here
        mov     esi, esi
        mov     r12d, ebp
        shl     r12, 32
        or      r12, rsi
        jmp     _start.clock_known

; Ends the run on a processor that no C of ours can run on. QEMU's UART needs no set-up and takes bytes at any speed.
bits 32
no_long_mode:
        mov     esi, .sentence
        mov     ecx, .end - .sentence
        mov     edx, COM1
        rep     outsb
        mov     al, DEBUG_EXIT_PANIC
        out     DEBUG_EXIT_PORT, al
.halt:
        hlt
        jmp     .halt
.sentence:
        db      "PANIC: this processor has no 64-bit mode: try QEMU's -cpu max", 10
.end:
bits 64

; void _start(void *bootinfo): the ELF's entry point.
; At entry: long mode, the first GiB mapped one to one, rdi = physical address of struct bootinfo.
;   1. the boot stack
;   2. seven tables: the first GiB of physical memory, three ways (one to one, HHDM, image)
;   3. the tables live
;   4. our own GDT, and a far return into the higher half
_start:
        rdtsc
        shl     rdx, 32
        lea     r12, [rdx + rax]
.clock_known:
        cli
        cld
        mov     esp, BOOT_STACK_TOP             ; 1.
        mov     rbx, rdi

        mov     edi, PHYS_BOOT_TABLES           ; 2.
        xor     eax, eax
        mov     ecx, PHYS_BOOT_TABLE_PAGES * 0x1000 / 8
        rep     stosq
        mov     dword [BOOT_PML4], BOOT_PDPT_LOW + PTE_PRESENT + PTE_WRITE
        mov     dword [BOOT_PML4 + PML4_HHDM * 8], BOOT_PDPT_HHDM + PTE_PRESENT + PTE_WRITE
        mov     dword [BOOT_PML4 + PML4_IMAGE * 8], BOOT_PDPT_IMAGE + PTE_PRESENT + PTE_WRITE
        mov     dword [BOOT_PDPT_LOW], BOOT_PD_LOW + PTE_PRESENT + PTE_WRITE
        mov     dword [BOOT_PDPT_HHDM], BOOT_PD_LOW + 0x1000 + PTE_PRESENT + PTE_WRITE
        mov     dword [BOOT_PDPT_IMAGE + PDPT_IMAGE * 8], BOOT_PD_LOW + 0x2000 + PTE_PRESENT + PTE_WRITE
        mov     edi, BOOT_PD_LOW
        mov     edx, 3
.next_directory:
        mov     eax, PTE_PRESENT + PTE_WRITE + PTE_LARGE
.next_large_page:
        mov     [rdi], rax
        add     rdi, 8
        add     eax, LARGE_2M
        cmp     eax, PHYS_TRAMPOLINE_TOP
        jb      .next_large_page
        dec     edx
        jnz     .next_directory

        mov     eax, BOOT_PML4                  ; 3. without no-execute pages, which cpu_init asks the processor for
        mov     cr3, rax

        lgdt    [boot_gdt_pointer]              ; 4.
        mov     eax, SEL_KERNEL_DATA
        mov     ss, eax
        push    SEL_KERNEL_CODE
        mov     rax, higher_half
        push    rax
        o64     retf

; The GDT that lasts until idt.c loads the real one: the same selectors, kernel part only.
align 8
boot_gdt:
        dq      0
        dq      0x00AF9B000000FFFF              ; 0x08 code: present, ring 0, long
        dq      0x00CF93000000FFFF              ; 0x10 data: present, ring 0, writable
boot_gdt_pointer:
        dw      $ - boot_gdt - 1
        dq      boot_gdt

section .text

; Continues _start in the higher half. rbx = physical address of struct bootinfo, r12 = time stamp at entry.
higher_half:
        mov     rsp, HHDM_BASE + BOOT_STACK_TOP
        xor     eax, eax
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        xor     ebp, ebp                        ; ends the chain of frame pointers
        mov     rdi, rbx
        mov     rsi, r12
        call    supervisor_main
        ud2

; PUSH a, b, c pushes from left to right; POP pops from left to right, so its list is PUSH's backwards. To a debugger
; such a macro (.nolist) is one line, the one where it is used.
%macro PUSH 1-*.nolist
%rep %0
        push    %1
%rotate 1
%endrep
%endmacro
%macro POP 1-*.nolist
%rep %0
        pop     %1
%rotate 1
%endrep
%endmacro

; ---------------------------------------------------------------------------------------------------------
; Interrupts and exceptions
; ---------------------------------------------------------------------------------------------------------

; const uint64_t isr_table[VECTOR_STUBS + 1]: the stubs' addresses; the last is the spurious vector's.
section .rodata
align 8
isr_table:

; One stub per vector, and its entry in the table: a dummy error code where the CPU pushes none (SDM Vol. 3A table 6-1;
; 29 and 30 are AMD's, APM Vol. 2 8.2), then the vector.
%macro ISR 1
section .rodata
        dq      isr_%1
section .text
isr_%1:
%if %1 != 8 && %1 != 10 && %1 != 11 && %1 != 12 && %1 != 13 && %1 != 14 && %1 != 17 && %1 != 21 && %1 != 29 && %1 != 30
        push    0
%endif
        push    %1
        jmp     isr_common
%endmacro

%assign vector 0
%rep VECTOR_STUBS
        ISR     vector
%assign vector vector + 1
%endrep
        ISR     255                             ; VECTOR_SPURIOUS

; void isr_common(void): saves what was interrupted, lets C decide, returns.
; State at entry: interrupts off, on the shard's kernel stack (from ring 3), the current stack (from ring 0)
; or an IST stack, which holds from the top down:
;
;     ss  rsp  rflags  cs  rip      pushed by the CPU
;     error  vector                 pushed by the stub
;     rax rbx rcx rdx rsi rdi rbp r8 .. r15     pushed here: struct trap_frame, rsp points at r15
;
;   1. general registers
;   2. flags that a shard may have left: DF misleads string moves, AC opens user memory to the kernel
;   3. from ring 3: the FPU state, before anything can replace it
;   4. C
isr_common:
        PUSH    rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15  ; 1.
        PROTECT cld, cld                        ; 2.
        cmp     byte [rel cpu_has_smap], 0      ; clac is #UD on a CPU without SMAP
        je      .no_smap
        PROTECT clac, clac
.no_smap:
        test    byte [rsp + TRAP_FRAME_CS], 3   ; 3.
        jz      .from_kernel
        mov     rax, [rel current]
        PROTECT fxsave, fxsave64 [rax + SHARD_FPU]
.from_kernel:
        mov     rdi, rsp                        ; 4.
        call    interrupt_dispatch

; Returns to what the frame at rsp describes.
interrupt_return:
        test    byte [rsp + TRAP_FRAME_CS], 3
        jz      .to_kernel
        mov     rax, [rel current]
        PROTECT fxsave, fxrstor64 [rax + SHARD_FPU]
.to_kernel:
        POP     r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
        add     rsp, 16                         ; vector and error code
        iretq

; void shard_start(void): where the first switch to a new shard arrives, on its own kernel stack.
; State at entry: rsp points at the frame that shard.c has made for it (struct trap_frame).
shard_start:
        call    shard_begin                     ; does not return to one that has been killed meanwhile
        jmp     interrupt_return

; ---------------------------------------------------------------------------------------------------------
; System calls
; ---------------------------------------------------------------------------------------------------------

; The target of the syscall instruction (IA32_LSTAR). SDM Vol. 2B, SYSCALL.
; State at entry: ring 0, rcx = user rip, r11 = user rflags, SFMASK applied (interrupts off), rsp still the
; shard's: not to be trusted or used. After step 2 the kernel stack holds, from the top down:
;
;     user rsp  r11  rcx  r10  r9  r8  rdx  rsi  rdi     struct syscall_frame, rsp points at rdi
;
;   1. the kernel stack of this shard
;   2. what C may overwrite and the shard must get back
;   3. from now on the clock runs for this shard's call;
;      int64_t syscall_dispatch(a0, a1, a2, a3, a4, number); the ABI's r10 is C's rcx
;   4. everything back, the result in rax; a return address outside the lower half would fault in ring 0
;      on some processors (CVE-2012-0217), so it never reaches sysret
syscall_entry:
        mov     [rel user_rsp], rsp             ; 1.
        PROTECT entry_stack, mov rsp, [rel tss + TSS_RSP0]
        push    qword [rel user_rsp]            ; 2.
        PUSH    r11, rcx, r10, r9, r8, rdx, rsi, rdi
        mov     r9, rax                         ; 3.
        rdtsc
        mov     [rel kernel_since], eax
        mov     rdx, [rsp + SYSCALL_FRAME_RDX]
        mov     rcx, r10
        call    syscall_dispatch
        cmp     dword [rsp + SYSCALL_FRAME_RIP_HIGH], USER_RIP_HIGH_MAX
        PROTECT sysret_rip, ja .bad_return
        POP     rdi, rsi, rdx, r8, r9, r10, rcx, r11, rsp  ; 4.
        o64     sysret
.bad_return:
        mov     rdi, rsp
        call    syscall_bad_return

; ---------------------------------------------------------------------------------------------------------
; Switching
; ---------------------------------------------------------------------------------------------------------

; void context_switch(struct shard *from, struct shard *to)
; Leaves `from` where it stands and continues `to` where it once left. Interrupts are off. The FPU is the
; caller's business: an ISR stub has saved it, a system call uses context_switch_fpu.
;   1. callee-saved registers on the old stack (struct switch_frame), the rest is dead by the C calling convention
;   2. the other stack, the other address space (a reload of CR3 flushes what belongs to `from`)
;   3. where the next entry from ring 3 shall land
;   4. selectors that `from` may have loaded
;   5. where the processor can: no branch of `to` goes where `from` has taught the predictor to go
context_switch:
        PUSH    rbx, rbp, r12, r13, r14, r15    ; 1.
        mov     [rdi + SHARD_KERNEL_RSP], rsp
        mov     rsp, [rsi + SHARD_KERNEL_RSP]   ; 2.
        mov     rax, [rsi + SHARD_CR3]
        mov     cr3, rax
        mov     rax, [rsi + SHARD_STACK_TOP]    ; 3.
        mov     [rel tss + TSS_RSP0], rax
        mov     [rel current], rsi
        xor     eax, eax                        ; 4.
        PROTECT selectors, mov ds, eax
        PROTECT selectors, mov es, eax
        PROTECT selectors, mov fs, eax
        PROTECT selectors, mov gs, eax
        cmp     byte [rel cpu_has_ibpb], 0      ; 5.
        PROTECT ibpb, jne .forget
.forgotten:
        POP     r15, r14, r13, r12, rbp, rbx
        ret
.forget:
        mov     ecx, MSR_PRED_CMD
        mov     eax, PRED_CMD_IBPB
        xor     edx, edx
        wrmsr
        jmp     .forgotten

; void context_switch_fpu(struct shard *from, struct shard *to)
; The same for a shard that is inside a system call, whose FPU state is still in the registers.
context_switch_fpu:
        PROTECT fxsave, fxsave64 [rdi + SHARD_FPU]
        call    context_switch
        mov     rdi, [rel current]
        PROTECT fxsave, fxrstor64 [rdi + SHARD_FPU]
        ret

; noreturn void run_on_stack(void *top, void (*function)(uint64_t), uint64_t argument)
; Forgets the current stack and calls the function, which must not return, at the top of another.
run_on_stack:
        mov     rsp, rdi
        xor     ebp, ebp
        mov     rdi, rdx
        call    rsi                             ; calls through rsi: supervisor_run, handle_sys_exit
        ud2

section .note.GNU-stack noalloc noexec nowrite progbits

section .bss
align 8
user_rsp: resq 1                                ; the shard's rsp, until it is on the kernel stack
