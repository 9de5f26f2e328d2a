; step.asm: loads the whole FPU state, lets others run, stores it again.
bits 64
%define SYS_CHANNEL_CALL 23
%define SYS_YIELD 62

section .text
; void step(const void *load, void *store, uint64_t how, uint64_t spins, void *message)
; load and store: FXSAVE images, 16-byte aligned. how: 0 spins (preemption), 1 yields, 2 calls on handle 0 with 8 bytes
; at message, which get the answer. No instruction between the two touches the FPU.
global step
step:
	push rbx
	push r12
	push r13
	mov rbx, rsi
	mov r12, rdx
	mov r13, r8
	fxrstor64 [rdi]
	cmp r12d, 1
	je .yield
	ja .call
.spin:
	dec rcx
	jnz .spin
	jmp .store
.yield:
	mov eax, SYS_YIELD
	syscall
	jmp .store
.call:
	mov eax, SYS_CHANNEL_CALL
	xor edi, edi
	mov rsi, r13
	mov edx, 8
	mov r10, r13
	mov r8d, 256
	syscall
.store:
	fxsave64 [rbx]
	pop r13
	pop r12
	pop rbx
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
