#!/usr/bin/env bash
# run.sh: builds what is needed and boots coconutOS in QEMU. The guest's serial port is this script's stdout.
#
# Every run has a folder of its own under build/runs/ with its boot volume, its manifest and its logs. The last step
# hands over to scripts/watch.py, which starts QEMU, passes the console on and judges how the run ended.
# Read next: scripts/qemu.sh (the machine), scripts/manifest.py (what boots), scripts/watch.py.
set -Eeuo pipefail
self=run.sh
die_status=4
trap 'exit 129' HUP # from the first line on: without a trap, bash forgets a signal that its child survived
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit $die_status' ERR
caller_dir=$PWD
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
source scripts/tools.sh
source scripts/ramdisk.sh
source scripts/qemu.sh

usage() {
	cat <<'END'
usage: ./run.sh [own options] [QEMU options]

What boots (default: the manifest etc/coconut.conf):
  --shard DIR           build the shard in DIR and boot with exactly the shards named so (repeatable)
  --manifest FILE       boot with this manifest
  --add FILE:/PATH      put FILE into the ramdisk as /PATH (repeatable)
What the inference shards run:
  --model FILE          a llama2.c checkpoint            --tokenizer FILE   its tokenizer
  --prompt TEXT         how the text begins              --steps N          its length in tokens
  --temperature T       0 is greedy                      --topp P           1 is off
  --seed N              of the random numbers
How it boots:
  --verbose             every step of initialisation, device tables, every refusal
  --quiet               the supervisor prints nothing but panics, the profile and how the run ended (benchmarks)
  --timeout SECONDS     default 600; none with -s, -S and --gdb
  --console FILE        what the guest says goes to FILE, another terminal for example, and not to stdout
  --gdb[=WHERE]         start gdb attached, stopped in supervisor_main; WHERE: boot (the first instruction of the
                        trampoline), or the name of a shard (its main, in ring 3)
  --kernel              start the supervisor without firmware, by QEMU's -kernel (tests and benchmarks)
  --tour NAME           walk through boot, syscall, fault, ipc or dma in gdb, with the book's explanation at each stop
  --trace FILE          record what happens (switches, calls, interrupts, faults, messages, DMA) for Perfetto or chrome://tracing
  --build DIR           boot the variant that `build.sh --out DIR` made
Everything else goes to QEMU unchanged, after our own choices: -m 2G, -s -S, -machine pc, -d int ...
ACCEL=kvm uses KVM where a probe guest runs under it; otherwise QEMU translates (TCG).

exit status: 0 every shard exited 0 · 1 one exited non-zero, was killed or could not start · 2 panic, or the loader gave up
  3 triple fault, reset or any other end · 124 time-out · 4 the run could not be started · 129, 130, 143 interrupted
END
}

trace_pages=4096 # of the ring: 102 events each
build_dir=build build_given=0
run_timeout=
filter=--firmware
tours=scripts/gdb/tour # their manifests, and the shard that most of them watch
words='' tour='' debugger='' manifest='' trace='' console=''
shard_dirs=() additions=() model_options=() qemu_options=()
declare -A replaced_files=()

# host_path PATH: prints a path that the user gave, as seen from this folder.
host_path() {
	(cd "$caller_dir" && realpath -ms -- "$1")
}

# host_file OPTION PATH: prints the path of a file that must be readable.
host_file() {
	local path
	path=$(host_path "$2")
	[[ -f $path && -r $path ]] || die "$1: there is no readable file $2."
	printf '%s' "$path"
}

# parse_option ARGUMENT...: takes one own option from the front and sets `taken` to the number of words in it, 0 when
# the option is not ours.
parse_option() {
	taken=2
	case $1 in
	--shard | --manifest | --add | --model | --tokenizer | --timeout | --console | --build | --trace | --tour)
		(($# > 1)) && [[ $2 ]] || die "$1 needs a value; --help lists the options."
		;;&
	--prompt | --steps | --temperature | --topp | --seed)
		(($# > 1)) || die "$1 needs a value; --help lists the options."
		model_options+=("$1=$2")
		;;
	--shard) shard_dirs+=("$(host_path "$2")") ;;
	--manifest) manifest=$(host_file "$1" "$2") ;;
	--add) additions+=("$2") ;;
	--model) replaced_files[model.bin]=$(host_file "$1" "$2") ;;
	--tokenizer) replaced_files[tokenizer.bin]=$(host_file "$1" "$2") ;;
	--timeout)
		[[ $2 =~ ^[0-9]+$ ]] && (($2 > 0)) || die "--timeout needs a number of seconds."
		run_timeout=$2
		;;
	--tour)
		tour=$2 debugger=tour:$2
		[[ -f $tours/$2.conf ]] || die "--tour $2: there are tours of $(basename -s .conf $tours/*.conf | paste -sd' ')."
		[[ $2 == boot ]] || filter=''
		require_gdb
		;;
	--trace) trace=$(host_path "$2") ;;
	--console)
		console=$(host_path "$2")
		{ : >>"$console"; } 2>/dev/null || die "--console $2: this cannot be written to."
		;;
	--build)
		build_dir=$(host_path "$2")
		build_dir=${build_dir#"$PWD/"} build_given=1
		[[ -d $build_dir/esp ]] || die "$2 holds no build; make one with: ./build.sh --out DIR"
		;;
	--verbose | --quiet) taken=1 words+=${words:+ }${1#--} ;;
	--gdb | --gdb=?*)
		taken=1 debugger=${1#--gdb} debugger=${debugger#=}
		debugger=${debugger:-main}
		require_gdb
		;;
	--kernel) taken=1 filter='' ;;
	--help)
		usage
		exit 0
		;;
	*) taken=0 ;;
	esac
}

# parse_options ARGUMENT...: sorts the command line into our options and QEMU's.
parse_options() {
	while (($#)); do
		parse_option "$@"
		((taken)) || qemu_options+=("$1")
		shift $((taken ? taken : 1))
	done
	[[ ! $manifest ]] || ((${#shard_dirs[@]} == 0)) || die "--manifest and --shard both say what boots; give one."
	[[ ! $manifest ]] || ((${#model_options[@]} == 0)) ||
		die "${model_options[0]%%=*} has no effect with --manifest; write it into the args of the manifest."
}

# make_run_folder: creates run_dir and locks it for as long as this run lives; removes old folders that nobody uses.
make_run_folder() {
	local old
	mkdir -p build/runs
	run_dir=build/runs/$(date +%Y%m%d-%H%M%S)-$$
	mkdir "$run_dir"
	exec {run_lock}>"$run_dir/.lock"
	flock "$run_lock"
	: >"$run_dir/serial.log"
	ln -s "${run_dir#build/}/serial.log" "$run_dir/last.log"
	mv -T "$run_dir/last.log" build/last.log
	for old in $(ls build/runs | sort -r | tail -n +21); do
		flock -n "build/runs/$old/.lock" rm -rf "build/runs/$old" 2>/dev/null || true
	done
}

# unique_name DIR: sets `name` to the folder's name as a manifest can write it, with a number if it is taken.
declare -A names=()
unique_name() {
	local base number=2
	base=$(basename -- "$1" | LC_ALL=C tr -c 'A-Za-z0-9_.\n-' '-' | cut -c 1-20)
	name=$base
	while [[ ${names[$name]:-} ]]; do
		name=$base-$((number++))
	done
	names[$name]=1
}

# stage_shards STAGE: builds the shards of --shard into the staged ramdisk; manifest_options lists them.
stage_shards() {
	local dir
	for dir in "${shard_dirs[@]}"; do
		unique_name "$dir"
		scripts/build-shard.sh "$dir" "$run_dir/shards" "$name" || die "the shard in $dir does not build; see above."
		cp "$run_dir/shards/$name.bin" "$1/shards/$name"
		manifest_options+=("--shard=$name")
	done
}

# stage_additions STAGE: puts the files of --model, --tokenizer and --add into the staged ramdisk.
stage_additions() {
	local file addition host guest
	for file in "${!replaced_files[@]}"; do
		cp "${replaced_files[$file]}" "$1/$file"
	done
	for addition in ${additions[@]+"${additions[@]}"}; do
		[[ $addition == *:/* ]] || die "--add $addition: write it as FILE:/PATH."
		host=$(host_file --add "${addition%:/*}")
		guest=${addition##*:/}
		[[ $guest && /$guest/ != */../* ]] || die "--add $addition: /$guest is no path of a file."
		mkdir -p "$(dirname "$1/$guest")" && cp -T "$host" "$1/$guest" || die "--add $addition: no room for /$guest."
		[[ ! -e ${host%.bin}.elf ]] || printf '%s\t%s\n' "/$guest" "${host%.bin}.elf" >>"$run_dir/elves" # for gdb
	done
}

# make_run_ramdisk IMAGE: makes the ramdisk of this run where options ask for another than the build's.
make_run_ramdisk() {
	local stage=$run_dir/stage manifest_options=()
	if ((!${#shard_dirs[@]} && !${#additions[@]} && !${#model_options[@]} && !${#replaced_files[@]})) && [[ ! $manifest ]]; then
		cp "$stage/etc/coconut.conf" "$run_dir/manifest"
		return
	fi
	stage_additions "$stage"
	((${#shard_dirs[@]} == 0)) || stage_shards "$stage"
	if [[ $manifest ]]; then
		cp "$manifest" "$run_dir/manifest"
	else
		python3 scripts/manifest.py --template etc/coconut.conf --model "$stage/model.bin" \
			${manifest_options[@]+"${manifest_options[@]}"} ${model_options[@]+"${model_options[@]}"} >"$run_dir/manifest" ||
			exit "$die_status"
	fi
	cp "$run_dir/manifest" "$stage/etc/coconut.conf"
	make_ramdisk "$stage" "$1" || die "could not make the ramdisk; see above."
}

# make_boot_volume: fills the run's folder from the build, which no other build may change meanwhile.
make_boot_volume() {
	flock -s "$build_dir/.lock" cp -r "$build_dir/esp" "$build_dir/stage" "$build_dir/supervisor.elf" "$run_dir"
	make_run_ramdisk "$run_dir/esp/ramdisk.img"
	rm -r "$run_dir/stage"
	[[ ! $words ]] || printf '%s\n' "$words" >"$run_dir/esp/cmdline.txt"
}

# prepare_tour: a tour has a manifest and a shard of its own.
prepare_tour() {
	[[ ! $manifest ]] && ((!${#shard_dirs[@]})) || die "--tour chooses what boots: leave --manifest and --shard out."
	scripts/build-shard.sh "$tours/shard" "$run_dir/shards" tour || die "the shard of the tours does not build; see above."
	manifest=$tours/$tour.conf
	additions+=("$PWD/$run_dir/shards/tour.bin:/shards/tour")
}

# check_debugger: a shard that --gdb names must be in the manifest, by its name or as a program.
check_debugger() {
	[[ $debugger && $debugger != main && $debugger != boot && ! $tour ]] || return 0
	local known
	known=$(awk '$1 == "shard" { sub(/.*\//, "", $3); print $2; print $3 }' "$run_dir/manifest" | sort -u)
	grep -Fxq -- "$debugger" <<<"$known" ||
		die "--gdb=$debugger: the manifest has no such shard; it has: ${known//$'\n'/, }."
}

parse_options "$@"
if [[ $trace && $build_dir == build ]]; then
	build_dir=build/trace
	./build.sh --out "$build_dir" --define "TRACE=$trace_pages" || die "the build failed; see above."
elif ((!build_given)); then
	./build.sh || die "the build failed; see above."
fi
make_run_folder
[[ ! $tour ]] || prepare_tour
make_boot_volume
check_debugger
watch_options=(--run "$run_dir" --build "$build_dir")
[[ ! $console ]] || watch_options+=(--console "$console")
choose_machine
exec python3 scripts/watch.py "${watch_options[@]}" -- "${qemu_command[@]}"
