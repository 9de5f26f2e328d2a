# shellcheck shell=bash disable=SC2154 # who sources this file sets the variables
# shards.sh: builds shards: flat binaries linked at 0x1000 from the C, NASM and GNU assembler files of one folder.
#
# Needs common.sh, `out_dir` (where the build goes) and the project's folder as working directory.
# Read next: shards/shard.ld (what a shard looks like in memory), shards/start.asm (its first instruction).

# SSE2 is what every x86-64 processor has; contraction to fused multiply-add would change the text a model writes.
# Shards of the earlier implementation include "../../include/coconut.h": from shards/lib, that is our
# include/coconut.h.
shard_cflags=(-std=gnu11 -g -O2 -Wall -Wextra -ffreestanding -fno-stack-protector -fno-pic -fno-pie -mcmodel=small
	-msse2 -mno-avx -fno-asynchronous-unwind-tables -ffp-contract=off -ffunction-sections -I. -Ishards/lib)
[[ ${CI:-} != 1 ]] || shard_cflags+=(-Werror)

# use_debug_shard_flags: compiles shards for steps in gdb, as `build.sh --debug` does the supervisor.
use_debug_shard_flags() {
	shard_cflags=("${shard_cflags[@]/#-O2/-O0}")
}

# prefer_own_header DIR: in a clone of the earlier implementation a shard would find that one's include/coconut.h, which
# knows one error only. Ours, included first, has the same guard.
prefer_own_header() {
	local found=$1/../../include/coconut.h
	[[ $found -ef include/coconut.h ]] || ! grep -qs 'define COCONUT_ERROR' "$found" ||
		shard_cflags+=(-include include/coconut.h)
}

# build_shard_library: compiles what every shard is linked with: start.o, and lib.a from shards/lib.
build_shard_library() {
	local source object objects=()
	background_step "$out_dir/shards/start.o" shards/start.asm -- \
		nasm -f elf64 -g -F dwarf -o "$out_dir/shards/start.o" shards/start.asm
	for source in shards/lib/*.c; do
		[[ -e $source ]] || continue
		object=${source#shards/lib/}
		object=$out_dir/shards/lib/${object%.c}.o
		objects+=("$object")
		compile_shard_file "$source" "$object"
	done
	finish_steps "the shard library"
	step "$out_dir/shards/lib.a" "${objects[@]}" -- ar rcsD "$out_dir/shards/lib.a" "${objects[@]}"
}

# compile_shard_file SOURCE OBJECT: starts the compiler or the assembler for one file of a shard.
compile_shard_file() {
	local source=$1 object=$2
	case $source in
	*.c)
		background_step "$object" "$source" -- \
			gcc "${shard_cflags[@]}" -MMD -MF "$object.d" -MT object -c -o "$object" "$source"
		;;
	*.asm)
		background_step "$object" "$source" -- \
			nasm -f elf64 -g -F dwarf -MD "$object.d" -MT object -I "${source%/*}/" -o "$object" "$source"
		;;
	*.[Ss]) # the GNU assembler, with the preprocessor for .S; its objects do not say that no stack is executable
		background_step "$object" "$source" -- \
			gcc -g -Wa,--noexecstack -I"${source%/*}" -MMD -MF "$object.d" -MT object -c -o "$object" "$source"
		;;
	esac
}

# check_sources DIR: gives up where a source in DIR is of a kind that no shard is made of; names what is left out.
check_sources() {
	local dir=$1 file
	for file in "$dir"/*.{cpp,cc,cxx,c++,C,CPP,m,rs,zig,go,nasm,ASM}; do
		[[ ! -e $file ]] || die "$file: a shard is made of .c, .asm (NASM), .S and .s (GNU assembler) files. Rename it or" \
			"move it out of the folder."
	done
	for file in "$dir"/*.{o,a} "$dir"/*/*.{c,asm,S,s}; do
		[[ ! -e $file ]] || say "$file does not become part of the shard, which is made of the sources in the folder itself."
	done
	for file in "$dir"/*.{c,asm,S,s}; do
		[[ ! -e $file ]] || return 0
	done
	die "$dir holds no .c, .asm, .S or .s file, so there is no shard to build."
}

# compile_shard DIR OBJECTS-DIR: starts compiling the sources in DIR; shard_objects names the results. A folder that
# has a start.asm or start.S of its own is entered there instead of at ours.
compile_shard() {
	local dir=$1 objects_dir=$2 source object entry=()
	shard_objects=()
	for source in "$dir"/*.{asm,S,s,c}; do
		[[ -e $source ]] || continue
		object=$objects_dir/${source##*/}.o
		case ${source##*/} in
		start.asm | start.[Ss]) entry+=("$object") ;;
		*) shard_objects+=("$object") ;;
		esac
		compile_shard_file "$source" "$object"
	done
	shard_objects=("${entry[@]-$out_dir/shards/start.o}" "${shard_objects[@]}")
}

# link_shard NAME OUTPUT-DIR OBJECT...: makes NAME.elf, for people and debuggers, and NAME.bin, for the ramdisk.
link_shard() {
	local elf=$2/$1.elf bin=$2/$1.bin
	shift 2
	step "$elf" "$@" "$out_dir/shards/lib.a" shards/shard.ld -- link_shard_elf "$elf" "$@" "$out_dir/shards/lib.a"
	step "$bin" "$elf" -- objcopy -O binary "$elf" "$bin"
}

# link_shard_elf ELF FILE...: links; where a name is missing, says what a shard has.
link_shard_elf() {
	local elf=$1 messages missing
	shift
	messages=$(LC_ALL=C ld -nostdlib --gc-sections -T shards/shard.ld -o "$elf" "$@" 2>&1) && return
	missing=$(sed -nE "s/.*undefined reference to \`(.*)'.*/\1/p" <<<"$messages" | sort -u)
	if [[ $missing != main ]]; then # of which our start.asm would be named as the place
		printf '%s\n' "$messages" >&2
	fi
	if [[ $'\n'$missing$'\n' == *$'\nmain\n'* ]]; then
		say "the shard has no function main. It begins with: int main(const char *args)"
		missing=$(grep -vx main <<<"$missing") || true
	fi
	[[ ! $missing ]] || say "nothing defines ${missing//$'\n'/, }: a shard has no C library. coconut.h and" \
		"shards/lib/shardlib.h have what there is; coconut_puts and print write to the console."
	return 1
}

# build_shard DIR OUTPUT-DIR NAME: builds the shard in DIR, which may lie anywhere. Needs build_shard_library.
build_shard() {
	local dir=$1 output=$2 name=$3
	check_sources "$dir"
	prefer_own_header "$dir"
	compile_shard "$dir" "$output/$name.objects"
	finish_steps "the shard in $dir"
	link_shard "$name" "$output" "${shard_objects[@]}"
}

# build_all_shards: builds every folder of shards/ that has a main.c; all of them compile at the same time.
build_all_shards() {
	local main name dir
	for dir in shards/*/; do
		[[ -e $dir/main.c || $dir == shards/lib/ ]] || say "${dir%/} has no main.c and is not built."
	done
	for main in shards/*/main.c; do
		[[ -e $main ]] || continue
		name=${main#shards/}
		name=${name%/main.c}
		compile_shard "${main%/main.c}" "$out_dir/shards/$name.objects"
	done
	finish_steps "the shards"
	for main in shards/*/main.c; do
		[[ -e $main ]] || continue
		name=${main#shards/}
		name=${name%/main.c}
		build_shard "${main%/main.c}" "$out_dir/shards" "$name"
	done
}
