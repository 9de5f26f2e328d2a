#!/usr/bin/env bash
# asm-lines.sh IN OUT SOURCE: makes gdb show the source of every instruction of an object that NASM made.
#
# NASM writes a line table for every section, but one address range for the whole file, as if its sections lay behind
# each other. In boot.asm they do not: the trampoline is linked at its physical address. So NASM's description of the
# file is replaced by one with a range for each section (DWARF 3, 2.17.3 "Non-contiguous Address Ranges"); the line
# tables stay. asm-frames.py adds where the code keeps its callers' registers. Read next: boot.asm.
set -euo pipefail
shopt -s inherit_errexit # set -e holds in $(...) as well
in=$1 out=$2 source=$3

# code_sections: prints name and size, in hexadecimal, of every section that holds instructions.
code_sections() {
	readelf -SW "$in" | sed 's/\[ */[/' | awk '$3 == "PROGBITS" && $8 ~ /X/ { print $2, $6 }'
}

# describe: prints the description as NASM source. Its sections are linked in front of those of IN, so a label at
# their end is where those begin; once they are linked the labels have done their work. The numbers are DWARF 3's: tag
# 0x11 compile_unit; attributes 0x10 stmt_list, 0x55 ranges, 0x11 low_pc, 3 name, 0x1b comp_dir; forms 6 data4, 1 addr,
# 8 string.
describe() {
	local section size sections count=0 ranges='' frames=''
	sections=$(code_sections)
	while read -r section size; do
		((count += 1))
		printf 'section %s progbits alloc exec nowrite align=1\nits_start%d:\n' "$section" "$count"
		printf 'its_start%d_size equ 0x%s\n' "$count" "$size"
		ranges+="dq its_start$count, its_start$count + 0x$size"$'\n'
		[[ $section != .text ]] || frames=$(python3 -S scripts/asm-frames.py "$in" "its_start$count")
	done <<<"$sections"
	cat <<END
section .debug_line progbits noalloc noexec nowrite align=1
its_lines:
section .debug_abbrev progbits noalloc noexec nowrite align=1
its_abbreviations:
db 1, 0x11, 0, 0x10, 6, 0x55, 6, 0x11, 1, 3, 8, 0x1b, 8, 0, 0, 0
section .debug_ranges progbits noalloc noexec nowrite align=1
its_ranges:
${ranges}dq 0, 0
section .debug_info progbits noalloc noexec nowrite align=1
dd its_end - its_version
its_version:
dw 3
dd its_abbreviations
db 8, 1
dd its_lines, its_ranges
dq 0
db \`$source\`, 0, \`${PWD//\\/\\\\}\`, 0
its_end:
$frames
section .note.GNU-stack noalloc noexec nowrite progbits
END
}

describe >"$out.description.asm"
nasm -f elf64 -o "$out.description" "$out.description.asm"
objcopy --wildcard --strip-symbol "its_*" "$out.description"
objcopy -R '.debug_info' -R '.debug_abbrev' -R '.debug_aranges' -R '.debug_ranges' -R '.debug_loc' -R '.debug_frame' \
	"$in" "$out.lines"
ld -r -o "$out" "$out.description" "$out.lines"
rm "$out.description.asm" "$out.description" "$out.lines"
