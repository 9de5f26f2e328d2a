; start.asm: enters main(registers) with every register as the shard found it at its first instruction.
;
; On the stack, from main's argument up: r15 .. r8, rbp, rdi, rsi, rdx, rcx, rbx, rax, rflags, ds, es, fs, gs, rsp
bits 64
extern main

section .text.start progbits alloc exec nowrite align=16
global _start
_start:
	push rsp
	push gs
	push fs
	push rax                                ; two places, filled below
	push rax
	pushfq
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	mov eax, es
	mov [rsp + 17 * 8], rax
	mov eax, ds
	mov [rsp + 16 * 8], rax
	mov rdi, rsp
	sub rsp, 520
	and rsp, -16
	fxsave64 [rsp]
	mov rsi, rsp
	call main
	movsxd rdi, eax
	xor eax, eax
	syscall
	ud2

section .note.GNU-stack noalloc noexec nowrite progbits
