/* ud2: raises an invalid-opcode exception. Read next: labs/03-idt/grader.py. */
int main(void) {
	__asm__ volatile("ud2");
	return 0;
}
