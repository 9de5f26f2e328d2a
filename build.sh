#!/usr/bin/env bash
# build.sh: builds everything into build/: the boot volume, the supervisor, the loader, the shards, the ramdisk.
#
# Quiet when all is well, and incremental: a file is made again when something it was made from has changed.
# Read next: scripts/common.sh (how a step decides that), supervisor.ld (the image), scripts/shards.sh.
set -euo pipefail
self=build.sh
caller_dir=$PWD
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
source scripts/tools.sh
source scripts/shards.sh
source scripts/ramdisk.sh

usage() {
	cat <<'END'
usage: ./build.sh [--debug] [--out DIR] [--define NAME[=VALUE]]... [--rung NAME]

Builds coconutOS into build/, or a variant of it into DIR. Every NAME is defined for the C compiler and for NASM, in
supervisor and loader; tests use that to provoke faults. --rung cuts the supervisor off above a rung of the ladder,
see run.sh; DIR is build/rungs/NAME then, if it is not given. Missing tools are installed with apt-get where possible.

  --debug        for steps in gdb: nothing is optimized, every local variable has a place; into build/debug, or a
                 variant of that into DIR
  NO_INSTALL=1   never install; print the command that would
  CI=1           compiler warnings are errors
END
}

# The supervisor is compiled for size, with general registers only: FPU state belongs to the shards (boot.asm saves it).
# A call at the end of a function is a call and no jump, and whoever calls has a frame: backtraces and gdb show every
# caller.
kernel_cflags=(-std=gnu11 -g -Os -Wall -Wextra -ffreestanding -fno-stack-protector -fno-pic -fno-pie -mcmodel=kernel
	-mno-red-zone -mgeneral-regs-only -mpreferred-stack-boundary=3 -fno-omit-frame-pointer
	-fno-optimize-sibling-calls -fno-asynchronous-unwind-tables -fno-strict-aliasing)

# These files are on the way of the cheapest calls and of the tick, and are compiled for speed (docs/performance.md).
fast_sources=(mm.c sched.c space.c user.c cap.c channel.c call.c syscall.c)

# The loader is a PE file made from a shared library, which is how gnu-efi does it; without GNU_EFI_USE_MS_ABI every
# call of the firmware would compile and pass its arguments in the wrong registers. GCC must not turn loops into
# calls of memcpy and memset, since there is no library behind the loader.
loader_cflags=(-std=gnu11 -g -O2 -Wall -Wextra -ffreestanding -fno-stack-protector -fpic -fshort-wchar -mno-red-zone
	-mgeneral-regs-only -fno-strict-aliasing -fno-tree-loop-distribute-patterns -DGNU_EFI_USE_MS_ABI
	-I"$efi_include" -I"$efi_include/x86_64")

# use_debug_flags: for steps in gdb, supervisor, loader and shards are compiled with -O0. With gcc 12's -Og one in six
# of the variables that somebody at a line could ask for has no place, with the product's flags one in three; with -O0
# none. No function has to be optimized: the image has room for all of it, and so has a kernel stack (`./test.sh
# marks.stack_debug`). But what a rung has not, -O0 would leave in main.c: -Og drops it.
use_debug_flags() {
	base=build/debug
	kernel_cflags=("${kernel_cflags[@]/#-Os/-O0}") fast_sources=()
	loader_cflags=("${loader_cflags[@]/#-O2/-O0}")
	use_debug_shard_flags
}

# These sources of the top level belong to the loader, and these to both; all the others are the supervisor.
loader_sources=(efi_loader.c elf.c)
shared_sources=(serial.c lib.c)

# These are part of the supervisor in the variants only that define what they are for.
test_sources=(tests/provoke.c tests/replay/log.c scripts/trace/trace.c)

base=build # where lies what a variant shares
out_dir=''
defines=()
rung=''

# parse_options ARGUMENT...: sets base, out_dir, defines and rung.
parse_options() {
	while (($#)); do
		case $1 in
		--out)
			(($# > 1)) || die "--out needs a folder."
			out_dir=$(cd "$caller_dir" && realpath -m "$2")
			shift
			;;
		--define)
			[[ ${2:-} =~ ^[A-Za-z_][A-Za-z_0-9]*(=.*)?$ ]] || die "--define needs NAME or NAME=VALUE."
			defines+=("-D$2")
			shift
			;;
		--rung)
			[[ ${2:-} ]] || die "--rung needs a name."
			rung=$2 defines+=("-DRUNG=RUNG_$2")
			shift
			;;
		--debug) [[ $base == build/debug ]] || use_debug_flags ;;
		--help | -h)
			usage
			exit 0
			;;
		*) die "unknown option $1; --help lists what there is." ;;
		esac
		shift
	done
	out_dir=${out_dir:-$base${rung:+/rungs/$rung}}
	out_dir=${out_dir#"$PWD/"}
	variant=$out_dir
	[[ ${CI:-} != 1 ]] || { kernel_cflags+=(-Werror) && loader_cflags+=(-Werror); }
}

# find_sources: sets kernel_sources to the C files of the supervisor: with --rung, those of the rung.
find_sources() {
	kernel_sources=(*.c "${test_sources[@]}")
	[[ $rung ]] || return 0
	[[ $rung =~ ^[a-z]+$ && " $(python3 -S scripts/rungs.py --names) " == *" $rung "* ]] ||
		die "--rung $rung: ./run.sh --rung list shows them."
	mapfile -t kernel_sources < <(python3 -S scripts/rungs.py --files "$rung")
}

# copy FROM TO: copies a finished file or folder.
copy() {
	cp -r "$1" "$2" || give_up "could not write $2; the message above says why."
}

# refresh FROM TO: copies a finished file to where it is started from if it is another one than last time.
refresh() {
	cmp -s "$1" "$2" || copy "$1" "$2"
}

# make_layout_inc OUT: turns the `#define NAME number` lines of layout.h into NASM's %define, with either kind of line
# ends. Refuses a line that defines something else.
make_layout_inc() {
	awk '
		{ sub(/\r$/, "") }
		$1 != "#define" || NF == 2 || $2 ~ /\(/ { next }
		$3 !~ /^(0[xX][0-9A-Fa-f]+|[0-9]+)$/ || (NF > 3 && $4 !~ /^\/[*\/]/) {
			print "layout.h:" NR ": a name is defined as one number here, which NASM reads too: " $0 >"/dev/stderr"
			exit 1
		}
		{ print "%define " $2 " " $3 }' layout.h >"$1"
}

# assemble_kernel OUT DEFINE...: assembles boot.asm, with line numbers for each of its sections.
assemble_kernel() {
	local out=$1
	shift
	nasm -f elf64 -g -F dwarf "$@" -I "$out_dir/" -o "$out.nasm" boot.asm
	scripts/asm-lines.sh "$out.nasm" "$out" boot.asm
	rm "$out.nasm"
}

# find_lookers: fills looks_at_definitions[] with the sources that look at one of the definitions: at a protection that
# is left out, a mistake that is provoked, or something of a recorder. At any other definition each of them may look.
declare -A looks_at_definitions=()
find_lookers() {
	local define looks source found
	for define in ${defines[@]+"${defines[@]}"}; do
		case $define in
		-DABLATION=ABLATION_* | -DABLATION_ALSO=ABLATION_*)
			looks=${define#*=ABLATION_}
			looks="ABLATE\($looks\)|PROTECT $looks,"
			;;
		-DPROVOKE=PROVOKE_*) looks="\bPROVOKE( [^=P]|[^_ ])|\b${define#*=}\b" ;; # is it this one? is it any?
		-DTRACE=*) looks='\bTRACE\b' ;;
		-DSPEC_LOG=*) looks='\bSPEC_LOG\b' ;;
		-DRUNG=*) looks='\bHAS\(' ;;
		*) looks='' ;; # which every line has
		esac
		mapfile -t found < <(grep -lE "$looks" ./*.c boot.asm "${test_sources[@]}")
		for source in ${found[@]+"${found[@]}"}; do
			looks_at_definitions[${source#./}]=1
		done
	done
}

# find_home SOURCE: sets `home` to the folder of the object of SOURCE: the base, for a variant too, where SOURCE looks
# at none of the definitions; and `own_defines` to the definitions that it is compiled with.
find_home() {
	home=$base own_defines=()
	[[ ! ${looks_at_definitions[$1]:-} ]] || home=$variant own_defines=("${defines[@]}")
}

# compile SOURCE OBJECT FLAG...: sets `object` to where the object of SOURCE is: OBJECT, in its home. Starts compiling
# it if that is the folder in which we work.
compile() {
	local home own_defines
	find_home "$1"
	object=$home/$2
	[[ $home != "$out_dir" ]] || background_step "$object" "$1" -- \
		gcc "${@:3}" ${own_defines[@]+"${own_defines[@]}"} -MMD -MF "$object.d" -MT object -c -o "$object" "$1"
}

# assemble_boot: starts assembling boot.asm where its object belongs, if that is the folder in which we work, and
# begins kernel_objects with it.
assemble_boot() {
	local home own_defines
	step "$out_dir/layout.inc" layout.h -- make_layout_inc "$out_dir/layout.inc"
	find_home boot.asm
	[[ $home != "$out_dir" ]] || background_step "$home/boot.o" boot.asm "$home/layout.inc" \
		scripts/asm-{lines.sh,frames.py} -- assemble_kernel "$home/boot.o" ${own_defines[@]+"${own_defines[@]}"}
	kernel_objects=("$home/boot.o")
}

# compile_kernel: starts compiling the supervisor, and adds the results to kernel_objects.
compile_kernel() {
	local source object flags
	for source in "${kernel_sources[@]}"; do
		[[ " ${loader_sources[*]} " != *" $source "* ]] || continue
		[[ $source != tests/provoke.c || " ${defines[*]}" == *" -DPROVOKE="* ]] || continue
		[[ $source != tests/replay/* || " ${defines[*]}" == *" -DSPEC_LOG="* ]] || continue
		[[ $source != scripts/* || " ${defines[*]}" == *" -DTRACE="* ]] || continue
		object=$source flags=("${kernel_cflags[@]}")
		[[ $source == rungs/* ]] || object=${source##*/}
		[[ " ${fast_sources[*]} " != *" $source "* ]] || flags+=(-O2)
		[[ $base == build || ! $rung || ! ${looks_at_definitions[$source]:-} ]] || flags+=(-Og)
		compile "$source" "${object%.c}.o" "${flags[@]}"
		kernel_objects+=("$object")
	done
}

# link_kernel OUT OBJECT...: links the objects as supervisor.ld says. A build with trace.c, log.c or provoke.c has the
# calls of the functions that are wrapped there led to the wrappers.
link_kernel() {
	local out=$1 wraps='' source
	shift
	for source in scripts/trace/trace.c tests/replay/log.c tests/provoke.c; do
		[[ " $* " != *"/$(basename "$source" .c).o "* ]] ||
			wraps+=" $(grep -o '__wrap_[a-z_]*(' "$source" | sort -u | sed 's/^__wrap_\(.*\)($/--wrap=\1/')"
	done
	# shellcheck disable=SC2086 # several options
	ld -nostdlib -z max-page-size=4096 -T supervisor.ld $wraps -o "$out" "$@"
}

# make_symbols_c ELF OUT: writes the table by which a panic names functions: offset from IMAGE_BASE and place of the
# name, sorted by address. The trampoline's symbols, at low addresses, are left out. ELF may be empty: an empty table.
make_symbols_c() {
	{ [[ ! -s $1 ]] || nm -n "$1"; } | awk '
		/^ffffffff[0-9a-f]+ [tT] / {
			# gcc names copies function.isra.0; NASM names local labels function.label, which are no functions.
			name = $3
			sub(/\..*/, "", name)
			if (name ~ /^image_/ || (name != $3 && seen[name]))
				next
			seen[name] = 1
			table = table sprintf("\t{ 0x%s - 0x80000000u, %d },\n", substr($1, 9), place)
			names = names "\t\"" name "\\0\"\n"
			place += length(name) + 1
			count++
		}
		END {
			print "/* symbols.c: made by build.sh from the linked supervisor; kernel.h declares it. */"
			print "#include <stdint.h>\n"
			print "#define SYMBOLS __attribute__((section(\".symbols\")))\n"
			print "struct symbol {\n\tuint32_t offset;\n\tuint32_t name;\n};\n"
			print "const uint32_t kernel_symbol_count SYMBOLS = " count + 0 ";"
			print "const struct symbol kernel_symbols[] SYMBOLS = {\n" table "\t{ 0, 0 },\n};"
			print "const char kernel_symbol_names[] SYMBOLS =\n" names "\t\"\";"
		}' >"$2"
}

# compile_empty_table: makes the table of symbols that the first link takes.
compile_empty_table() {
	empty_table=$base/symbols/empty
	step "$empty_table.c" -- make_symbols_c /dev/null "$empty_table.c"
	step "$empty_table.o" "$empty_table.c" -- gcc "${kernel_cflags[@]}" -c -o "$empty_table.o" "$empty_table.c"
}

# link_supervisor: links, lists the functions, and links again with the list. The list lies behind all code, so
# that the addresses in it stay true.
link_supervisor() {
	local first=$out_dir/symbols/first.elf source=$out_dir/symbols/symbols.c object=$out_dir/symbols/symbols.o
	step "$first" "${kernel_objects[@]}" "$empty_table.o" supervisor.ld -- \
		link_kernel "$first" "${kernel_objects[@]}" "$empty_table.o"
	step "$source" "$first" -- make_symbols_c "$first" "$source"
	step "$object" "$source" -- gcc "${kernel_cflags[@]}" -c -o "$object" "$source"
	step "$out_dir/supervisor.elf" "${kernel_objects[@]}" "$object" supervisor.ld -- \
		link_and_check_supervisor "$first" "${kernel_objects[@]}" "$object"
	step "$out_dir/symbols/stripped.elf" "$out_dir/supervisor.elf" -- \
		objcopy --strip-debug "$out_dir/supervisor.elf" "$out_dir/symbols/stripped.elf"
	refresh "$out_dir/symbols/stripped.elf" "$out_dir/esp/supervisor.elf"
}

# link_and_check_supervisor FIRST OBJECT...: the final link; refuses an image that leaves its place in memory, and a
# symbol table that moved the functions it names.
link_and_check_supervisor() {
	local first=$1 elf=$out_dir/supervisor.elf end limit before after
	shift
	link_kernel "$elf" "$@"
	limit=$(awk '$2 == "PHYS_IMAGE_LIMIT" { print $3 }' "$out_dir/layout.inc")
	end=$(readelf -lW "$elf" | awk '$1 == "LOAD" { print $4 " " $6 }' |
		while read -r start size; do echo $((start + size)); done | sort -n | tail -n 1)
	if ((end > limit)); then
		say "the supervisor ends at $(printf 0x%X "$end"), beyond PHYS_IMAGE_LIMIT ($limit in layout.h)."
		say "Make it smaller: readelf -lW $elf shows its parts; large arrays belong in frames from mm.c."
		return 1
	fi
	before=$(nm "$first" | grep ' [tT] ')
	after=$(nm "$elf" | grep ' [tT] ')
	if [[ $before != "$after" ]]; then
		say "the symbol table moved the code; supervisor.ld must place .symbols behind .text."
		return 1
	fi
}

# build_common: builds in the base what a variant shares with it: the shards and the ramdisk, since no definition
# reaches one, the objects of sources that look at none of its definitions, and the loader when all of its objects are
# such.
build_common() {
	out_dir=$base
	lock_build
	learn_all shards/* shards/*/* coconut.h include/* ./*.[ch] \
		"$out_dir"/shards/{,lib/,*.objects/}*.cmd "$out_dir"/{,loader/}*.cmd
	build_shard_library
	build_all_shards
	compile_empty_table
	if [[ $variant != "$base" ]]; then
		mkdir -p "$out_dir/esp/EFI/BOOT"
		assemble_boot
		compile_loader
		compile_kernel
		finish_steps "the loader and the supervisor"
		link_loader
		build_ramdisk
	fi
	unlock_build
	out_dir=$variant
}

# copy_common: gives a variant its copies of finished files that it shares with the base.
copy_common() {
	local main name file files=() others=() target=$out_dir
	[[ $target == /* ]] || target=$PWD/$target
	mkdir -p "$out_dir/shards"
	for main in shards/*/main.c; do
		name=${main#shards/}
		files+=("shards/${name%/main.c}".{elf,bin})
	done
	[[ $loader_home != "$base" ]] || files+=(efi_loader.{so,efi} esp/EFI/BOOT/BOOTX64.EFI)
	learn "${files[@]/#/$base/}" "${files[@]/#/$out_dir/}"
	for file in "${files[@]}"; do
		[[ ${checksums[$base/$file]} == "${checksums[$out_dir/$file]}" ]] || others+=("$file")
	done
	((!${#others[@]})) || (cd "$base" && cp --parents "${others[@]}" "$target") ||
		give_up "could not write to $out_dir; the message above says why."
	refresh "$base/ramdisk.img" "$out_dir/ramdisk.img"
	refresh "$base/ramdisk.img" "$out_dir/esp/ramdisk.img"
	diff -qr "$base/stage" "$out_dir/stage" >/dev/null 2>&1 || {
		rm -rf "$out_dir/stage" && copy "$base/stage" "$out_dir/stage"
	}
}

# compile_loader: starts compiling the loader; loader_objects names the results, loader_home the folder in which they
# are linked.
compile_loader() {
	local source object
	loader_objects=() loader_home=$base
	for source in "${loader_sources[@]}" "${shared_sources[@]}"; do
		compile "$source" "loader/${source%.c}.o" "${loader_cflags[@]}"
		loader_objects+=("$object")
		[[ $object == "$base"/loader/* ]] || loader_home=$variant
	done
}

# link_loader: makes efi_loader.so (with DWARF, for gdb) and from it the PE file that the firmware starts, if its home
# is the folder in which we work.
link_loader() {
	[[ $loader_home == "$out_dir" ]] || return 0
	local so=$out_dir/efi_loader.so efi=$out_dir/efi_loader.efi
	step "$so" "${loader_objects[@]}" -- ld -nostdlib -znocombreloc -shared -Bsymbolic --no-undefined -L "$efi_lib_dir" \
		-T "$efi_lib_dir/elf_x86_64_efi.lds" -o "$so" "$efi_lib_dir/crt0-efi-x86_64.o" "${loader_objects[@]}" -lgnuefi
	step "$efi" "$so" -- make_pe "$so" "$efi"
	refresh "$efi" "$out_dir/esp/EFI/BOOT/BOOTX64.EFI"
}

# make_pe SO EFI: copies the sections the firmware needs; refuses a file without .reloc, which firmware either does
# not load at all or loads at an address its pointers do not fit.
make_pe() {
	local sections=(.text .sdata .data .dynamic .dynsym .rel .rela .rel.* .rela.* .reloc) options=() section before after
	for section in "${sections[@]}"; do
		options+=(-j "$section")
	done
	objcopy "${options[@]}" --output-target=efi-app-x86_64 --subsystem=10 "$1" "$2"
	before=$(readelf -SW "$1")
	after=$(objdump -h "$2")
	[[ $before != *' .reloc '* || $after != *' .reloc '* ]] || return 0
	say "the .reloc section did not survive in $2; is $efi_lib_dir/crt0-efi-x86_64.o the one of gnu-efi 3.0.15 or newer?"
	return 1
}

# build_ramdisk: stages the default content with the default manifest, and makes the image of it.
build_ramdisk() {
	local inputs=(etc/* model/*.bin "$out_dir"/shards/*.bin scripts/ramdisk.sh scripts/manifest.py) input existing=()
	for input in "${inputs[@]}"; do
		[[ ! -f $input ]] || existing+=("$input")
	done
	step "$out_dir/stage" "${existing[@]}" -- stage_default "$out_dir/stage"
	step "$out_dir/ramdisk.img" "$out_dir/stage" scripts/ramdisk.sh -- make_ramdisk "$out_dir/stage" "$out_dir/ramdisk.img"
	refresh "$out_dir/ramdisk.img" "$out_dir/esp/ramdisk.img"
}

# stage_default DIR: makes the folder DIR with the default content and the default manifest.
stage_default() {
	stage_ramdisk "$1"
	python3 -S scripts/manifest.py --template etc/coconut.conf --model "$1/model.bin" >"$1/etc/coconut.conf"
}

# write_compile_commands FILE: tells editors how each C file is compiled, in the format of clang's JSON Compilation
# Database; those that only tests compile, too.
write_compile_commands() {
	local source command text='' known=''
	for source in tests/*/*/*.c labs/checks/*/*.c docs/book/*/*.c scripts/gdb/tour/*/*.c; do
		[[ ! -e ${source%/*}/main.c ]] || compilations[$source]="gcc ${shard_cflags[*]} -c $source"
	done
	for source in tests/{host,fuzz,system,spec,replay}/*.c; do
		[[ ! -e $source ]] || compilations[$source]="gcc -Wall -Wextra -I. -Ishards/lib -Itests/host -Itests/spec -c $source"
	done
	for source in "${test_sources[@]}" rungs/*.c; do
		compilations[$source]="gcc ${kernel_cflags[*]} -DPROVOKE=PROVOKE_panic -DTRACE=1 -DSPEC_LOG=1 -c $source"
	done
	while IFS= read -r source; do
		command=${compilations[$source]//\\/\\\\}
		text+=$'{ "directory": "@",\n  "file": "'"$source"$'",\n  "command": "'"${command//\"/\\\"}"$'" },\n'
	done < <(printf '%s\n' "${!compilations[@]}" | sort)
	command=${PWD//\\/\\\\}
	text=${text//'"directory": "@"'/"\"directory\": \"${command//\"/\\\"}\""}
	text=$'[\n'${text%$',\n'}$'\n]'
	[[ ! -f $1 ]] || known=$(<"$1")
	[[ $known == "$text" ]] || printf '%s\n' "$text" >"$1" || give_up "could not write $1."
}

trap end_in_words EXIT
parse_options "$@"
require_tools
find_sources
find_lookers
build_common
lock_build
learn_all ./*.[ch] boot.asm supervisor.ld scripts/*.{sh,py} "$out_dir"/{,loader/,symbols/}*.cmd
mkdir -p "$out_dir/esp/EFI/BOOT"
assemble_boot
compile_loader
compile_kernel
finish_steps "the loader and the supervisor"
link_loader
link_supervisor
if [[ $out_dir == "$base" ]]; then
	build_ramdisk
	[[ $base != build ]] || write_compile_commands build/compile_commands.json
else
	copy_common
fi
