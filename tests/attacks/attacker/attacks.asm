; attacks.asm: one hostile instruction each, in a table that main.c searches by name.
;
; An attack is called ROW.VARIANT, after the row of the list in docs/security.md that it belongs to. FAULT marks the
; instruction that must not succeed with the global symbol `fault.ROW.VARIANT.vN`, where N is the vector of the
; exception that it must raise; tests/test_attacks.py compares it with what the supervisor reports. FAULT_ELSEWHERE
; names the vector only: the exception is reported at another address (the target of a jump, the instruction behind). An
; attack that gets past its instruction ends with SURVIVED, one that may succeed without harm with HARMLESS.
;
; Read next: main.c; vectors: SDM Vol. 3A 6.15.

%include "build/layout.inc"

bits 64

SURVIVED        equ 99
HARMLESS        equ 7
SYS_EXIT        equ 0
SYS_MMAP        equ 43
SYS_YIELD       equ 62
CODE_BASE       equ 0x1000
STACK_PAGE      equ 0x7FF000
HEAP            equ 0x100000                    ; main.c has mapped one page there
KERNEL_TEXT     equ IMAGE_BASE + PHYS_IMAGE + 0x1000
NON_CANONICAL   equ 0x0000800000000000
ARITHMETIC_FLAGS equ 0xCD7

; ATTACK name: begins an attack. rsp is 8 bytes off 16-byte alignment, all other registers are free to use.
%macro ATTACK 1
        %define attack_name %1
        %defstr attack_text %1
        [section .rodata.names]
%%text: db      attack_text, 0
        [section .rodata.table]
        dq      %%text, attack. %+ %1
        __SECT__
global attack. %+ %1
attack. %+ %1:
%endmacro

; FAULT n: the next instruction must raise exception n. `n_m` allows two: processors differ.
%macro FAULT 1
%xdefine fault_label fault. %+ attack_name %+ .v %+ %1
global fault_label
fault_label:
%endmacro

; FAULT_ELSEWHERE n: exception n must follow, with another address.
%macro FAULT_ELSEWHERE 1
%xdefine fault_label elsewhere. %+ attack_name %+ .v %+ %1
global fault_label
fault_label:
%endmacro

%macro SURVIVE 0
        jmp     survived
%endmacro

; ONE name, vector, instruction: an attack of a single instruction. rcx and rdx hold 0.
%macro ONE 3+
        ATTACK  %1
        xor     ecx, ecx
        xor     edx, edx
        FAULT   %2
        %3
        SURVIVE
%endmacro

; READ name, address and WRITE name, address: touch one byte there.
%macro READ 2
        ATTACK  %1
        mov     rax, %2
        FAULT   14
        mov     al, [rax]
        SURVIVE
%endmacro

%macro WRITE 2
        ATTACK  %1
        mov     rax, %2
        FAULT   14
        mov     [rax], al
        SURVIVE
%endmacro

; TAKEN name, page, address: asks for the page first, which is not to be had, and touches the address all the same.
%macro TAKEN 3
        ATTACK  %1
        mov     edi, %2
        mov     esi, 1
        mov     eax, SYS_MMAP
        syscall
        mov     edx, %3
        FAULT   14
        mov     [rdx], al
        SURVIVE
%endmacro

section .rodata.table
global attack_table
attack_table:

section .text

survived:
        mov     edi, SURVIVED
        jmp     leave
harmless:
        mov     edi, HARMLESS
leave:
        mov     eax, SYS_EXIT
        syscall
        ud2

; ---- A1 to A4: arithmetic and undefined instructions ------------------------------------------------------

        ATTACK  A1.div
        mov     eax, 1
        xor     edx, edx
        xor     ecx, ecx
        FAULT   0
        div     ecx
        SURVIVE

        ATTACK  A2.idiv32
        mov     eax, 0x80000000
        mov     edx, -1
        mov     ecx, -1
        FAULT   0
        idiv    ecx
        SURVIVE

        ATTACK  A2.idiv64
        mov     rax, 0x8000000000000000
        mov     rdx, -1
        mov     rcx, -1
        FAULT   0
        idiv    rcx
        SURVIVE

        ONE     A3.ud2, 6, ud2
        ONE     A3.ud1, 6, db 0x0F, 0xB9, 0xC0
        ONE     A4.lock_nop, 6, db 0xF0, 0x90

; ---- A5 to A18: privileged instructions -------------------------------------------------------------------

        ONE     A5.rdfsbase, 6, rdfsbase rax
        ONE     A5.rdgsbase, 6, rdgsbase rax
        ONE     A5.wrfsbase, 6, wrfsbase rdx
        ONE     A5.wrgsbase, 6, wrgsbase rdx
        ONE     A6.stac, 6, stac
        ONE     A6.clac, 6, clac
        ONE     A7.monitor, 6, monitor
        ONE     A7.mwait, 6, mwait
        ONE     A7.xgetbv, 6, xgetbv
        ONE     A7.xsetbv, 6_13, xsetbv
        ONE     A8.hlt, 13, hlt
        ONE     A9.cli, 13, cli
        ONE     A9.sti, 13, sti

%macro PORT 3+                                  ; name, port, instruction
        ATTACK  %1
        mov     edx, %2
        mov     eax, 0x10
        lea     rsi, [rsp - 64]
        lea     rdi, [rsp - 64]
        FAULT   13
        %3
        SURVIVE
%endmacro
        PORT    A10.in_uart, 0x3F8, in al, dx
        PORT    A10.out_uart, 0x3F8, out dx, al
        PORT    A10.out_exit, 0xF4, out dx, eax ; would end QEMU with the status of success
        PORT    A10.in_keyboard, 0x64, in al, 0x64
        PORT    A10.out_reset, 0x64, out 0x64, al
        PORT    A10.in_pci, 0xCF8, in eax, dx
        PORT    A10.insb, 0x3F8, insb
        PORT    A10.outsb, 0x3F8, outsb

        ONE     A11.write_cr0, 13, mov cr0, rdx
        ONE     A11.write_cr2, 13, mov cr2, rdx
        ONE     A11.write_cr3, 13, mov cr3, rdx
        ONE     A11.write_cr4, 13, mov cr4, rdx
        ONE     A11.write_cr8, 13, mov cr8, rdx
        ONE     A11.read_cr0, 13, mov rax, cr0
        ONE     A11.read_cr2, 13, mov rax, cr2
        ONE     A11.read_cr3, 13, mov rax, cr3
        ONE     A11.read_cr4, 13, mov rax, cr4
        ONE     A11.read_cr8, 13, mov rax, cr8
        ONE     A11.clts, 13, clts
        ONE     A11.lmsw, 13, lmsw dx
        ONE     A12.write_dr0, 13, mov dr0, rdx
        ONE     A12.write_dr3, 13, mov dr3, rdx
        ONE     A12.write_dr7, 13, mov dr7, rdx
        ONE     A12.read_dr0, 13, mov rax, dr0
        ONE     A12.read_dr6, 13, mov rax, dr6
        ONE     A12.read_dr7, 13, mov rax, dr7

%macro MSR 3                                    ; name, number, instruction
        ATTACK  %1
        mov     ecx, %2
        xor     eax, eax
        xor     edx, edx
        FAULT   13
        %3
        SURVIVE
%endmacro
        MSR     A13.rdmsr_efer, 0xC0000080, rdmsr
        MSR     A13.wrmsr_efer, 0xC0000080, wrmsr
        MSR     A13.wrmsr_lstar, 0xC0000082, wrmsr
        MSR     A13.rdmsr_apic, 0x1B, rdmsr
        MSR     A13.wrmsr_fsbase, 0xC0000100, wrmsr
        ONE     A14.rdtsc, 13, rdtsc
        ONE     A14.rdtscp, 13, rdtscp
        MSR     A15.rdpmc, 0, rdpmc
        ONE     A16.sgdt, 13, sgdt [rsp - 64]
        ONE     A16.sidt, 13, sidt [rsp - 64]
        ONE     A16.sldt, 13, sldt eax
        ONE     A16.str, 13, str eax
        ONE     A16.smsw, 13, smsw eax
        ONE     A17.lgdt, 13, lgdt [rsp - 64]
        ONE     A17.lidt, 13, lidt [rsp - 64]
        ONE     A17.lldt, 13, lldt dx
        ONE     A17.ltr, 13, ltr dx
        ONE     A17.invlpg, 13, invlpg [rsp]
        ONE     A17.invd, 13, invd
        ONE     A17.wbinvd, 13, wbinvd
        ONE     A18.swapgs, 13, swapgs
        ATTACK  A18.sysret
        mov     rcx, survived
        mov     r11d, 2
        FAULT   13
        o64 sysret
        SURVIVE
        ONE     A18.sysexit, 6_13, sysexit
        ONE     A18.sysenter, 6_13, sysenter

; ---- A19, A20, A41: selectors -----------------------------------------------------------------------------

%macro SELECTOR 3                               ; name, selector, segment register
        ATTACK  %1
        mov     eax, %2
        FAULT   13
        mov     %3, eax
        SURVIVE
%endmacro
        SELECTOR A19.null, 0, ss
        SELECTOR A19.kernel_data, SEL_KERNEL_DATA, ss
        SELECTOR A19.kernel_data_rpl3, SEL_KERNEL_DATA + 3, ss
        SELECTOR A19.user_code, SEL_USER_CODE, ss
        SELECTOR A19.tss, SEL_TSS + 3, ss
        SELECTOR A19.local, 7, ss
        SELECTOR A20.tss, SEL_TSS + 3, ds
        SELECTOR A20.tss_high, SEL_TSS + 8 + 3, ds
        SELECTOR A20.kernel_data, SEL_KERNEL_DATA + 3, es
        SELECTOR A20.kernel_code, SEL_KERNEL_CODE + 3, fs
        SELECTOR A20.local, 7, gs
        SELECTOR A20.beyond, 0xFFFB, ds

; The selectors from 0 to 0x3F, every RPL, by far jump and far call. Those of the user's own code segment lead to where
; they point; all others raise #GP.
%macro FAR 3                                    ; name, selector, instruction
        ATTACK  %1
        mov     dword [rsp - 64], harmless
        mov     word [rsp - 60], %2
        FAULT   13
        %3      dword far [rsp - 64]
        SURVIVE
%endmacro
%assign selector 0
%rep    64
        FAR     A41.jump_%[selector], selector, jmp
        FAR     A41.call_%[selector], selector, call
%assign selector selector + 1
%endrep

; ---- A21 to A25: encodings, interrupts, single steps ------------------------------------------------------

        ONE     A21.sixteen_bytes, 13, times 15 db 0x66
        nop
        SURVIVE

%assign number 0
%rep    256
        ATTACK  A22.%[number]
        FAULT   13
        db      0xCD, number
        SURVIVE
%assign number number + 1
%endrep

        ONE     A23.int3, 13, int3
        ATTACK  A24.icebp
        FAULT_ELSEWHERE 6_1
        db      0xF1
        SURVIVE

        ATTACK  A25.trap_flag
        pushfq
        or      qword [rsp], RFLAGS_TF
        popfq
        nop
        FAULT   1
        nop
        SURVIVE

        ATTACK  A25.mov_ss                      ; the trap of `mov ss` must not strike in the kernel
        mov     ecx, ss
        mov     edx, survived
        pushfq
        or      qword [rsp], RFLAGS_TF
        mov     eax, SYS_YIELD
        popfq
        FAULT_ELSEWHERE 1
        mov     ss, ecx
        syscall
        nop
        SURVIVE

; ---- A26 to A35: memory -----------------------------------------------------------------------------------

        READ    A26.null, 0
        READ    A26.last_of_page, 0xFFF
        WRITE   A26.write, 8
        TAKEN   A26.taken, 0, 8
        ATTACK  A26.jump
        FAULT_ELSEWHERE 14
        xor     eax, eax
        jmp     rax

        READ    A27.text, KERNEL_TEXT
        READ    A27.hhdm, HHDM_BASE
        READ    A27.hhdm_tables, HHDM_BASE + PHYS_BOOT_TABLES
        READ    A27.stacks, STACKS_BASE + STACK_SLOT_SIZE - 8
        READ    A27.mmio, MMIO_BASE
        READ    A27.last, -1
        WRITE   A28.text, KERNEL_TEXT
        WRITE   A28.hhdm, HHDM_BASE + 0x1000
        WRITE   A28.stacks, STACKS_BASE + STACK_SLOT_SIZE - 8
        WRITE   A28.mmio, MMIO_BASE + 0xB0
        ATTACK  A29.text
        FAULT_ELSEWHERE 14
        mov     rax, KERNEL_TEXT
        jmp     rax
        ATTACK  A29.call_hhdm
        FAULT_ELSEWHERE 14
        mov     rax, HHDM_BASE + PHYS_IMAGE
        call    rax
        SURVIVE

        ATTACK  A30.stack
        FAULT_ELSEWHERE 14
        mov     byte [rsp - 64], 0xC3           ; ret
        lea     rax, [rsp - 64]
        call    rax
        SURVIVE
        ATTACK  A30.heap
        FAULT_ELSEWHERE 14
        mov     eax, HEAP
        mov     byte [rax], 0xC3
        call    rax
        SURVIVE

        WRITE   A31.code, CODE_BASE
        ATTACK  A31.itself
        mov     eax, own_code
        FAULT   14
        mov     dword [rax], 0x90909090
own_code:
        SURVIVE

        ATTACK  A32.push
        FAULT   14
        push    rax
        jmp     fault.A32.push.v14
        ATTACK  A32.call
        FAULT   14
        call    fault.A32.call.v14
        ATTACK  A32.guard
        FAULT   14
        mov     [STACK_PAGE - 8], rax
        SURVIVE

        TAKEN   A32.taken, STACK_PAGE - 0x1000, STACK_PAGE - 8

        ATTACK  A33.read
        mov     rax, NON_CANONICAL
        FAULT   13
        mov     al, [rax]
        SURVIVE
        ATTACK  A33.write
        mov     rax, 0xFFFF7FFFFFFFFFF0
        FAULT   13
        mov     [rax], rax
        SURVIVE
        ATTACK  A34.push
        mov     rsp, NON_CANONICAL + 64
        FAULT_ELSEWHERE 12_13
        push    rax
        SURVIVE
        ATTACK  A34.call
        mov     rsp, NON_CANONICAL + 64
        FAULT_ELSEWHERE 12_13
        call    survived
        ATTACK  A35.jump
        mov     rax, NON_CANONICAL
        FAULT_ELSEWHERE 13
        jmp     rax
        ATTACK  A35.return
        mov     rax, NON_CANONICAL + 0x1000
        push    rax
        FAULT_ELSEWHERE 13
        ret

; ---- A36 to A40 -------------------------------------------------------------------------------------------

%macro RETURN_TO 3                              ; name, code selector, stack selector
        ATTACK  %1
        mov     rax, rsp
        push    %3
        push    rax
        pushfq
        push    %2
        mov     eax, survived
        push    rax
        FAULT   13_14                           ; QEMU reads the stack as ring 0 would, and meets SMAP
        iretq
        SURVIVE
%endmacro
        RETURN_TO A36.ring0, SEL_KERNEL_CODE, SEL_KERNEL_DATA
        RETURN_TO A36.ring0_user_stack, SEL_KERNEL_CODE, SEL_USER_DATA
        RETURN_TO A36.kernel_stack, SEL_USER_CODE, SEL_KERNEL_DATA
        RETURN_TO A36.tss, SEL_TSS, SEL_USER_DATA
        ATTACK  A36.far_return
        push    SEL_KERNEL_CODE
        mov     eax, survived
        push    rax
        FAULT   13_14
        o64     retf

        ATTACK  A37.x87
        fninit
        mov     word [rsp - 64], 0x37B          ; division by zero unmasked
        fldcw   [rsp - 64]
        fld1
        fldz
        fdivp
        FAULT   16
        fwait
        SURVIVE

        ATTACK  A38.sse
        mov     dword [rsp - 64], 0x1D80        ; division by zero unmasked
        ldmxcsr [rsp - 64]
        mov     eax, 1
        cvtsi2sd xmm0, eax
        xorps   xmm1, xmm1
        FAULT   19
        divsd   xmm0, xmm1
        jmp     harmless                        ; TCG goes on

        ATTACK  A39.unaligned
        pushfq
        or      qword [rsp], RFLAGS_AC
        popfq
        FAULT   17
        mov     eax, [rsp + 1]
        jmp     harmless                        ; TCG goes on

        ONE     A40.avx, 6, vaddps ymm0, ymm1, ymm2
        ONE     A40.avx2, 6, vpaddd ymm0, ymm1, ymm2
        ONE     A40.avx512, 6, vaddps zmm0, zmm1, zmm2
        ONE     A40.amx, 6, db 0xC4, 0xE2, 0x78, 0x49, 0xC0  ; tilerelease
        ONE     A40.xsave, 6, xsave [rsp - 64]
        ONE     A40.xrstor, 6, xrstor [rsp - 64]

; ---- B: flags and stack pointers --------------------------------------------------------------------------

%macro SPIN_WITH 2                              ; name, flags to set
        ATTACK  %1
        pushfq
        or      qword [rsp], %2
        popfq
%%spin: jmp     %%spin
%endmacro
        SPIN_WITH B1.spin, 0
        SPIN_WITH B2.spin, RFLAGS_DF
        SPIN_WITH B3.spin, RFLAGS_AC
        SPIN_WITH B4.spin, RFLAGS_NT
        SPIN_WITH B4.spin_all, RFLAGS_NT + RFLAGS_AC + RFLAGS_DF

%macro YIELD_WITH 2                             ; name, flags to set
        ATTACK  %1
        pushfq
        or      qword [rsp], %2
        popfq
%%again:
        mov     eax, SYS_YIELD
        syscall
        jmp     %%again
%endmacro
        YIELD_WITH B2.yield, RFLAGS_DF
        YIELD_WITH B3.yield, RFLAGS_AC
        YIELD_WITH B4.yield, RFLAGS_NT
        YIELD_WITH B4.yield_all, RFLAGS_NT + RFLAGS_AC + RFLAGS_DF

        ATTACK  B5.call                         ; the trap comes after the call, in ring 3
        mov     eax, SYS_YIELD
        pushfq
        or      qword [rsp], RFLAGS_TF
        popfq
        FAULT_ELSEWHERE 1
        syscall
        nop
        SURVIVE

        ATTACK  B6.popf                         ; IOPL and IF do not change in ring 3
        pushfq
        or      qword [rsp], RFLAGS_IOPL
        and     qword [rsp], ~RFLAGS_IF
        popfq
        pushfq
        pop     rax
        and     eax, RFLAGS_IOPL + RFLAGS_IF
        cmp     eax, RFLAGS_IF
        jne     survived
        jmp     harmless

; Calls with a stack pointer that leads nowhere, then spins until it has been preempted, then exits.
%macro LOST_STACK 2
        ATTACK  %1
        mov     rsp, %2
        mov     r12d, 3
%%again:
        mov     eax, SYS_YIELD
        syscall
        mov     ecx, 5000000
%%spin: dec     ecx
        jnz     %%spin
        dec     r12d
        jnz     %%again
        jmp     harmless
%endmacro
        LOST_STACK B7.zero, 0
        LOST_STACK B7.one, 1
        LOST_STACK B7.kernel_text, KERNEL_TEXT + 0x100
        LOST_STACK B7.kernel_stack, STACKS_BASE + STACK_SLOT_SIZE
        LOST_STACK B7.hhdm, HHDM_BASE + PHYS_BOOT_TABLES
        LOST_STACK B7.non_canonical, NON_CANONICAL
        LOST_STACK B7.last, -1

; Leaves traces in every register that a shard can write, then spins, yields, or dies.
%macro DIRTY 2+                                 ; name, what to do next
        ATTACK  %1
        mov     eax, SEL_USER_DATA
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     rax, 0xDEADBEEFDEADBEEF
        push    rax
        fninit
%assign i 0
%rep 8
        movq    mm%[i], rax
%assign i i + 1
%endrep
%assign i 0
%rep 16
        movq    xmm%[i], rax
        punpcklqdq xmm%[i], xmm%[i]
%assign i i + 1
%endrep
        mov     dword [rsp], 0x5F80             ; MXCSR: rounding up
        ldmxcsr [rsp]
        mov     rbx, rax
        mov     rcx, rax
        mov     rdx, rax
        mov     rsi, rax
        mov     rdi, rax
        mov     rbp, rax
        mov     r8, rax
        mov     r9, rax
        mov     r10, rax
        mov     r11, rax
        mov     r12, rax
        mov     r13, rax
        mov     r14, rax
        mov     r15, rax
%%again:
        %2
        jmp     %%again
%endmacro
        DIRTY   B10.spin, nop
        DIRTY   B10.yield, call yield
        DIRTY   B10.die, ud2

yield:
        mov     eax, SYS_YIELD
        syscall
        ret

section .rodata.table
        dq      0, 0

section .note.GNU-stack noalloc noexec nowrite progbits
