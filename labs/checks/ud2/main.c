/* ud2: raises an invalid-opcode exception. */
int main(void) {
	__asm__ volatile("ud2");
	return 0;
}
