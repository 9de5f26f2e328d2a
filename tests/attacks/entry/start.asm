; entry: a shard that looks at every register before it uses any: a new shard must find nothing of anybody else there.
; It ends with 0, or with the number of the first check that failed, in the order below.
;
; Read next: shard.c, prepare_entry.

bits 64

%macro WANT 1                                   ; condition that must hold
        lea     edi, [rdi + 1]                  ; leaves the flags alone
        j%1     %%fine
        jmp     leave
%%fine:
%endmacro

section .text.start progbits alloc exec nowrite align=16
global _start
_start:
        ; 1. Flags: nothing is set beside IF and the bit that is always 1. rdi and rsp are the kernel's message to us.
        push    rdi
        pushfq
        mov     edi, 0
        cmp     qword [rsp], 0x202
        WANT    e                               ; 1
        ; 2. General registers.
%macro ZERO 1
        cmp     %1, 0
        WANT    e
%endmacro
        ZERO    rax                             ; 2
        ZERO    rbx                             ; 3
        ZERO    rcx                             ; 4
        ZERO    rdx                             ; 5
        ZERO    rsi                             ; 6
        ZERO    rbp                             ; 7
        ZERO    r8                              ; 8
        ZERO    r9                              ; 9
        ZERO    r10                             ; 10
        ZERO    r11                             ; 11
        ZERO    r12                             ; 12
        ZERO    r13                             ; 13
        ZERO    r14                             ; 14
        ZERO    r15                             ; 15
        ; 3. Selectors.
%macro NULL_SELECTOR 1
        mov     eax, %1
        ZERO    eax
%endmacro
        NULL_SELECTOR ds                        ; 16
        NULL_SELECTOR es                        ; 17
        NULL_SELECTOR fs                        ; 18
        NULL_SELECTOR gs                        ; 19
        ; 4. SSE and x87.
%assign i 0
%rep 16
        movq    rax, xmm%[i]
        ZERO    rax                             ; 20, 22 ...
        psrldq  xmm%[i], 8
        movq    rax, xmm%[i]
        ZERO    rax                             ; 21, 23 ...
%assign i i + 1
%endrep
        stmxcsr [rsp - 16]
        cmp     dword [rsp - 16], 0x1F80
        WANT    e                               ; 52
        fnstcw  [rsp - 16]
        cmp     word [rsp - 16], 0x37F
        WANT    e                               ; 53
        fnstsw  ax
        ZERO    ax                              ; 54
%assign i 0
%rep 8
        movq    rax, mm%[i]
        ZERO    rax                             ; 55 ...
%assign i i + 1
%endrep
        ; 5. The rest of the stack page and of the code page.
        mov     ecx, 0x7FF000
.stack:
        cmp     byte [rcx], 0
        jne     .used
        inc     ecx
        cmp     rcx, rsp
        jb      .stack
.used:
        lea     rax, [rsp - 8]                  ; what stmxcsr and fnstcw have written lies below rsp
        sub     rax, 16
        cmp     rcx, rax
        WANT    ae                              ; 63
        xor     edi, edi
leave:
        xor     eax, eax                        ; EXIT
        syscall
        ud2

section .note.GNU-stack noalloc noexec nowrite progbits
