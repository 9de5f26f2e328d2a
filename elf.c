int elf_x;
