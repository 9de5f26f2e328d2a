; start.asm: the first instructions of every C shard.
;
; The kernel enters a shard at its first byte, so shard.ld puts this section first.
;
; Read next: shard.ld for the layout, hello-c/main.c for a main(), coconut.h for the system calls.

bits 64

%define SYS_EXIT 0

extern main

; void _start(const char *args)                                                        noreturn
;
; At entry:  rdi = args string in the stack page, or 0     rsp = 0x800000, or below the args string
;
;     0x800000  +---------------------+
;               | args string, NUL    |  <- rdi
;               +---------------------+  <- rsp
;               | frames of main()    |
;     0x7FF000  +---------------------+  the page below is unmapped: an overflow kills the shard
section .text.start progbits alloc exec nowrite align=16
global _start
_start:
	; 1. The System V ABI wants rsp 16-byte aligned before a call, and rbp = 0 ends a debugger's backtrace.
	xor ebp, ebp
	and rsp, -16
	; 2. main(args): its result is the exit code.
	call main
	; 3. Exit. An int result is sign-extended, so that -1 stays -1.
	movsxd rdi, eax
	mov eax, SYS_EXIT
	syscall
	; 4. SYS_EXIT does not return.
	ud2

; The stack is never executable; ld warns about objects that do not say so.
section .note.GNU-stack noalloc noexec nowrite progbits
