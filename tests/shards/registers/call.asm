; call.asm: a system call with every register loaded before it and stored after it.
;
; Both sets lie at fixed addresses, because no register is left to point at them:
;
;     IN  = 0x100000: rax rbx rcx rdx rsi rdi rbp r8 .. r15, 8 bytes each     OUT = 0x100100: the same, after the call
;     0x100200: rsp is kept here
bits 64
%define IN  0x100000
%define OUT 0x100100

section .text
; void call_with_registers(void)
global call_with_registers
call_with_registers:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [abs 0x100200], rsp
%assign at 0
%macro load 1
	mov %1, [abs IN + at]
%assign at at + 8
%endmacro
	load rax
	load rbx
	load rcx
	load rdx
	load rsi
	load rdi
	load rbp
	load r8
	load r9
	load r10
	load r11
	load r12
	load r13
	load r14
	load r15
	syscall
global returned_here
returned_here:
%assign at 0
%macro store 1
	mov [abs OUT + at], %1
%assign at at + 8
%endmacro
	store rax
	store rbx
	store rcx
	store rdx
	store rsi
	store rdi
	store rbp
	store r8
	store r9
	store r10
	store r11
	store r12
	store r13
	store r14
	store r15
	cmp rsp, [abs 0x100200]
	jne .stack_moved
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret
.stack_moved:
	ud2

section .note.GNU-stack noalloc noexec nowrite progbits
