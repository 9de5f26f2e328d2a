/*
 * start.S: the entry of a shard of the earlier implementation: its own stack pointer, its own section, the GNU
 * assembler.
 */
	.section .text.entry, "ax"
	.globl	_start
_start:
	mov	$0x800000, %esp
	call	main
	mov	%rax, %rdi
	xor	%eax, %eax	/* EXIT */
	syscall
0:	jmp	0b
