#!/usr/bin/env bash
# run.sh: builds what is needed and boots coconutOS in QEMU. The guest's serial port is this script's stdout.
#
# Every run has a folder of its own under build/runs/ with its boot volume, its manifest and its logs. The last step
# hands over to scripts/watch.py, which starts QEMU, passes the console on and judges how the run ended.
# Read next: scripts/qemu.sh (the machine), scripts/manifest.py (what boots), scripts/watch.py.
[ "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # of whoever types `sh run.sh`
set -Eeuo pipefail
self=run.sh
die_status=4
trap 'exit 129' HUP # from the first line on: without a trap, bash forgets a signal that its child survived
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit $die_status' ERR
# A descriptor that the caller has closed would be given to the next file that is opened.
stdout_closed=
{ : 9<&0; } 2>/dev/null || exec </dev/null
{ : 9>&1; } 2>/dev/null || { exec >/dev/null && stdout_closed=1; }
[[ -e /dev/fd/2 ]] || exec 2>/dev/null
caller_dir=$PWD
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
source scripts/tools.sh
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
  --prompt TEXT         how the text begins              --steps N          its length in tokens; 0: the whole context
  --temperature T       0 is greedy                      --topp P           from 0 to 1; 1 is off
  --seed N              of the random numbers, above 0
How it boots:
  --verbose             every step of initialisation, device tables, every refusal
  --quiet               the supervisor prints nothing but panics, the profile and how the run ended (benchmarks)
  --timeout SECONDS     default 600; none with -s, -S and --gdb
  --console FILE        what the guest says goes to FILE, another terminal for example, and not to stdout
  --gdb[=WHERE]         start gdb attached, stopped in supervisor_main; WHERE: boot (the first instruction of the
                        trampoline), or the name of a shard (its main, in ring 3)
  --debug               a build for steps: nothing is optimized; --gdb and --tour take it anyway
  --kernel              start the supervisor without firmware, by QEMU's -kernel (tests and benchmarks)
  --tour NAME           walk through boot, syscall, fault, ipc or dma in gdb, with the book's explanation at each stop
  --trace FILE          record switches, calls, interrupts, faults, messages and DMA for Perfetto or chrome://tracing
  --rung NAME           boot the lower part of the kernel, up to a rung of the ladder of its files, which shows what it
                        can do; --rung list names them
  --record FILE         boot without firmware and keep in FILE all that the machine does, for --replay
  --replay FILE         the recorded run once more, instruction by instruction; with --gdb also backwards
  --build DIR           boot the variant that `build.sh --out DIR` made
An option's value may also stand behind a `=`. Everything else goes to QEMU unchanged, after our own choices:
-m 2G, -s -S, -machine pc, -d int ...
ACCEL=kvm uses KVM where a probe guest runs under it; otherwise QEMU translates (TCG).

exit status: 0 every shard exited 0 · 1 one exited non-zero, was killed or could not start · 2 panic, or the loader
  gave up · 3 triple fault, reset or any other end · 124 time-out · 4 the run could not be started · 129, 130, 143
  interrupted
END
}

trace_pages=4096 # of the ring: 102 events each
build_dir=build build_given=0
run_timeout=
filter=--firmware
tours=scripts/gdb/tour # their manifests, and the shard that most of them watch
words='' tour='' debugger='' debug='' manifest='' trace='' console='' rung='' record='' replay='' stray=''
shard_dirs=() model_options=() qemu_options=()
declare -A replaced_files=() added=()

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

# host_output OPTION PATH: prints the path of a file that can be written, and makes none.
host_output() {
	local path there
	path=$(host_path "$2") there=$path
	[[ -e $path ]] || there=$(dirname "$path")/.
	[[ ! -d $path && -w $there ]] || die "$1 $2: this cannot be written to."
	printf '%s' "$path"
}

# add_file FILE:/PATH: takes the value of --add.
add_file() {
	local host guest
	[[ $1 == ?*:/* ]] || die "--add $1: write it as FILE:/PATH."
	host=$(host_file --add "${1%:/*}")
	[[ ${1##*:/} && /${1##*:/}/ != */../* ]] || die "--add $1: /${1##*:/} is no path of a file."
	guest=$(realpath -ms "/${1##*:/}")
	[[ ! ${added[$guest]:-} ]] || die "--add $1: an earlier --add has put a file there."
	[[ $guest != /etc/coconut.conf ]] || die "--add $1: this is the manifest, which --manifest sets."
	added[$guest]=$host
}

# parse_option ARGUMENT...: takes one own option from the front and sets `taken` to the number of words in it, 0 when
# the option is not ours.
parse_option() {
	taken=2
	case $1 in
	--shard | --manifest | --add | --model | --tokenizer | --timeout | --console | --build | --trace | --tour | --rung | \
		--record | --replay)
		[[ ${2:-} ]] || die "$1 needs a value; --help lists the options."
		;;&
	--prompt | --steps | --temperature | --topp | --seed)
		(($# > 1)) || die "$1 needs a value; --help lists the options."
		model_options+=("$1=$2")
		;;
	--shard)
		shard_dirs+=("$(host_path "$2")")
		[[ -d ${shard_dirs[-1]} ]] || die "--shard $2: there is no folder of this name."
		;;
	--manifest) manifest=$(host_file "$1" "$2") ;;
	--add) add_file "$2" ;;
	--model) replaced_files[model.bin]=$(host_file "$1" "$2") ;;
	--tokenizer) replaced_files[tokenizer.bin]=$(host_file "$1" "$2") ;;
	--timeout)
		[[ $2 =~ ^0*[1-9][0-9]{0,8}$ ]] || die "--timeout needs a number of seconds, a whole one above 0."
		run_timeout=$2
		;;
	--tour)
		[[ ! $debugger ]] || die "--gdb and --tour start gdb, which they can do once; give one."
		tour=$2 debugger=tour:$2
		[[ -f $tours/$2.conf ]] || die "--tour $2: there are tours of $(basename -s .conf $tours/*.conf | paste -sd' ')."
		[[ $2 == boot ]] || filter=''
		;;
	--trace) trace=$(host_output "$1" "$2") ;;
	--record) record=$(host_output "$1" "$2") filter='' ;;
	--replay) replay=$(host_file "$1" "$2") filter='' ;;
	--console) console=$(host_output "$1" "$2") ;;
	--build)
		build_dir=$(host_path "$2")
		build_dir=${build_dir#"$PWD/"} build_given=1
		[[ -d $build_dir/esp ]] || die "$2 holds no build; make one with: ./build.sh --out DIR"
		;;
	--rung)
		[[ $2 != list ]] || exec python3 -S scripts/rungs.py --list
		rung=$2 known=$(python3 -S scripts/rungs.py --names)
		[[ $rung =~ ^[a-z]+$ && " $known " == *" $rung "* ]] ||
			die "--rung $2: there are the rungs $known; --rung list says what they show."
		;;
	--verbose | --quiet) taken=1 words+=${words:+ }${1#--} ;;
	--gdb | --gdb=?*)
		[[ ! $tour ]] || die "--gdb and --tour start gdb, which they can do once; give one."
		taken=1 debugger=${1#--gdb} debugger=${debugger#=}
		debugger=${debugger:-main}
		;;
	--debug) taken=1 debug=--debug ;;
	--kernel) taken=1 filter='' ;;
	--help | -help | -h | -\? | help)
		usage
		exit 0
		;;
	*) taken=0 ;;
	esac
}

# parse_options ARGUMENT...: sorts the command line into our options and QEMU's.
parse_options() {
	local with_value='--(shard|manifest|add|model|tokenizer|prompt|steps|temperature|topp|seed'
	with_value+='|timeout|console|build|record|replay|trace|tour|rung)'
	local file before='' # an option of QEMU, behind which a word may be its value
	while (($#)); do
		[[ ! $1 =~ ^($with_value)=(.*)$ ]] || set -- "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]}" "${@:2}"
		if [[ $before && $1 != -* ]]; then taken=0; else parse_option "$@"; fi
		if ((taken)); then
			before=''
			shift "$taken"
			continue
		fi
		[[ $1 || $before ]] || die "an argument is empty; --help lists the options."
		[[ $1 == -* || $before ]] || stray=${stray:-$1}
		qemu_options+=("$1")
		if [[ $1 == -* ]]; then before=$1; else before=''; fi
		shift
	done
	[[ ! $manifest ]] || ((${#shard_dirs[@]} == 0)) || die "--manifest and --shard both say what boots; give one."
	[[ ! $manifest ]] || ((${#model_options[@]} == 0)) || grep -q '^[^#]*@ARGS@' "$manifest" ||
		die "${model_options[0]%%=*} has no effect with --manifest; write it into the args of the manifest."
	[[ ! $tour || (! $manifest && ${#shard_dirs[@]} == 0) ]] ||
		die "--tour chooses what boots: leave --manifest and --shard out."
	[[ ! $tour || ! ${added[/shards/tour]:-} ]] || die "--add: /shards/tour is the shard of the tours."
	for file in "${!replaced_files[@]}"; do
		[[ ! ${added[/$file]:-} ]] || die "--add and --${file%.bin} both put a file at /$file; give one."
	done
	[[ ! $rung || (! $trace && ! $tour && $build_given == 0) ]] ||
		die "--rung chooses what is built: leave --trace, --tour and --build out."
	[[ ! $tour || ${#model_options[@]} == 0 ]] || die "${model_options[0]%%=*} has no effect with --tour."
	[[ ! $debug ]] || ((!build_given)) ||
		die "--debug and --build both choose the build; ./build.sh --debug --out DIR makes one for --build."
	[[ ! $record ]] || debug=--debug # for the gdb of the replay
	[[ ! $debugger ]] || debug=--debug
	[[ ! $record || (! $debugger && ! $trace && ! $replay) ]] ||
		die "--record only records: leave --gdb, --tour, --trace and --replay out; gdb comes with --replay."
	[[ ! $replay || (! $manifest && ! $trace && ! $tour && ! $rung && ! $words && $build_given == 0 &&
		$((${#shard_dirs[@]} + ${#added[@]} + ${#model_options[@]} + ${#replaced_files[@]})) == 0) ]] ||
		die "--replay boots what was recorded: of our options it takes --gdb, --console and --timeout."
	[[ ! $record$replay || ${ACCEL:-tcg} == tcg ]] || die "--record and --replay need TCG: leave ACCEL out."
	[[ ! $stdout_closed || ($console && ! $debugger) ]] ||
		die "stdout is closed; --console FILE sends what the guest says elsewhere."
	[[ ${ACCEL:-tcg} == tcg || $ACCEL == kvm ]] || die "ACCEL=$ACCEL: only tcg and kvm are known."
	((${#model_options[@]} + ${#replaced_files[@]} == 0)) || check_model_options
	check_qemu_options
	[[ ! $debugger ]] || require_gdb
}

# check_model_options: says what is wrong with the numbers, the prompt and the model, before anything is built.
check_model_options() {
	command -v python3 >/dev/null || return 0 # build.sh says so
	python3 -S scripts/manifest.py --check --tokenizer "${replaced_files[tokenizer.bin]:-model/tokenizer.bin}" \
		--model "${replaced_files[model.bin]:-model/stories.bin}" \
		${model_options[@]+"${model_options[@]}"} || exit "$die_status"
}

# make_run_folder: creates run_dir and locks it for as long as this run lives; removes old folders that nobody uses.
make_run_folder() {
	local old runs kept=20
	[[ -d build/runs ]] || mkdir -p build/runs
	printf -v run_dir 'build/runs/%(%Y%m%d-%H%M%S)T-%s' -1 $$
	mkdir "$run_dir"
	exec {run_lock}>"$run_dir/.lock"
	flock "$run_lock"
	: >"$run_dir/serial.log"
	ln -s "${run_dir#build/}/serial.log" "$run_dir/last.log"
	mv -T "$run_dir/last.log" build/last.log
	runs=(build/runs/*) # the oldest first
	for old in "${runs[@]::${#runs[@]} > kept ? ${#runs[@]} - kept : 0}"; do
		flock -n "$old/.lock" rm -rf "$old" 2>/dev/null || true
	done
	for old in build/runs/*/{esp,stage,firmware.fd}; do # of a run that was killed; as large as its ramdisk
		[[ ! -e $old ]] || flock -n "${old%/*}/.lock" rm -rf "$old" 2>/dev/null || true
	done
}

# unique_name DIR: sets `name` to the folder's name as a manifest can write it, with a number if it is taken.
declare -A names=()
unique_name() {
	local base number=2
	base=$(basename -- "$1" | LC_ALL=C tr -c 'A-Za-z0-9_.\n-' '-' | cut -c 1-20)
	[[ $base == *[!-]* ]] || base=shard # of a name in another script; and -- is no value of an option
	name=$base
	while [[ ${names[$name]:-} ]]; do
		name=$base-$((number++))
	done
	names[$name]=1
}

# shards_with_args: prints the folders of --shard, but for those whose sources are C that names its args only to say
# that they are not used. What the others do with them, no one can tell from here.
shards_with_args() {
	local dir sources
	for dir in "${shard_dirs[@]}"; do
		sources=("$dir"/*.c)
		if [[ ! -e ${sources[0]} ]] || grep -hw args "${sources[@]}" | grep -qvE '\(void\) *args;|\bmain\('; then
			printf '%s\n' "$dir"
		fi
	done
}

# stage_shards STAGE: builds the shards of --shard into the staged ramdisk; manifest_options lists them.
# shellcheck disable=SC2086 # debug is an option or nothing
stage_shards() {
	local dir option readers
	readers=$(shards_with_args)
	for dir in "${shard_dirs[@]}"; do
		unique_name "$dir"
		scripts/build-shard.sh $debug "$dir" "$run_dir/shards" "$name" || die "the shard in $dir does not build; see above."
		[[ ! ${added[/shards/$name]:-} ]] || die "--add has put a file at /shards/$name, where the shard in $dir belongs."
		cp "$run_dir/shards/$name.bin" "$1/shards/$name"
		manifest_options+=("--shard=$name")
	done
	for option in ${model_options[@]+"${model_options[@]}"}; do
		option=${option%%=*}
		LC_ALL=C grep -qaF -- "${option#--}" "${manifest_options[@]/#--shard=/$1/shards/}" || [[ $readers ]] ||
			die "$option: no shard of --shard knows this word; they get it in their args."
	done
}

# stage_additions STAGE: puts the files of --model, --tokenizer and --add into the staged ramdisk.
stage_additions() {
	local file host guest said
	for file in "${!replaced_files[@]}"; do
		cp "${replaced_files[$file]}" "$1/$file"
	done
	for guest in "${!added[@]}"; do
		host=${added[$guest]}
		said=$(mkdir -p "$(dirname "$1$guest")" 2>&1 && cp -T "$host" "$1$guest" 2>&1) ||
			die "--add $host:$guest: ${said%%$'\n'*}"
		[[ ! -e ${host%.bin}.elf ]] || printf '%s\t%s\n' "$guest" "${host%.bin}.elf" >>"$run_dir/elves" # for gdb
	done
}

# make_run_ramdisk IMAGE: makes the ramdisk of this run.
make_run_ramdisk() {
	local stage=$run_dir/stage manifest_options=() said
	stage_additions "$stage"
	((${#shard_dirs[@]} == 0)) || stage_shards "$stage"
	python3 -S scripts/manifest.py --template "${manifest:-etc/coconut.conf}" \
		--model "$stage/model.bin" --tokenizer "$stage/tokenizer.bin" \
		${manifest_options[@]+"${manifest_options[@]}"} ${model_options[@]+"${model_options[@]}"} >"$run_dir/manifest" ||
		exit "$die_status"
	cp "$run_dir/manifest" "$stage/etc/coconut.conf"
	# A bash of its own, because set -e does not hold in a function that stands before ||.
	# shellcheck disable=SC2016 # the other bash expands these
	said=$(bash -euo pipefail -c 'source scripts/ramdisk.sh; make_ramdisk "$@"' ramdisk "$stage" "$1" 2>&1) ||
		die "could not make the ramdisk${said:+: ${said%%$'\n'*}}"
}

# first_line: says the first of the lines that a tool has for one problem, a full disk for example.
first_line() {
	sed -n "1s/^/$self: /p" >&2
}

# make_boot_volume: fills the run's folder from the build, which no other build may change meanwhile.
make_boot_volume() {
	local stage=stage/etc/coconut.conf # of the build's ramdisk, unless options ask for another one
	if [[ $manifest ]] || ((${#shard_dirs[@]} || ${#added[@]} || ${#model_options[@]} || ${#replaced_files[@]})); then
		stage=stage
	fi
	flock -s "$build_dir/.lock" cp -r "$build_dir/esp" "$build_dir/$stage" "$build_dir/supervisor.elf" \
		"$run_dir" 2> >(first_line)
	if [[ $stage == stage ]]; then
		make_run_ramdisk "$run_dir/esp/ramdisk.img"
		rm -r "$run_dir/stage"
	else
		mv "$run_dir/coconut.conf" "$run_dir/manifest"
	fi
	[[ ! $words ]] || printf '%s\n' "$words" >"$run_dir/esp/cmdline.txt"
}

# prepare_tour: a tour has a manifest and a shard of its own.
prepare_tour() {
	scripts/build-shard.sh --debug "$tours/shard" "$run_dir/shards" tour ||
		die "the shard of the tours does not build; see above."
	manifest=$tours/$tour.conf
	added[/shards/tour]=$PWD/$run_dir/shards/tour.bin
}

# check_debugger: a shard that --gdb names must be in the manifest, by its name or as a program.
check_debugger() {
	[[ $debugger && $debugger != main && $debugger != boot && ! $tour ]] || return 0
	local known
	known=$(awk '$1 == "shard" { sub(/.*\//, "", $3); print $2; print $3 }' "$run_dir/manifest" | sort -u)
	grep -Fxq -- "$debugger" <<<"$known" ||
		die "--gdb=$debugger: the manifest has no such shard; it has: ${known//$'\n'/, }."
}

# choose_build: builds what boots, unless --build names it.
# shellcheck disable=SC2086 # debug is an option or nothing
choose_build() {
	if [[ $trace && $build_dir == build ]]; then
		build_dir=build/trace${debug#-}
		./build.sh $debug --out "$build_dir" --define "TRACE=$trace_pages" || die "the build failed; see above."
	elif [[ $rung && $rung != full ]]; then
		build_dir=build${debug:+/debug}/rungs/$rung
		./build.sh $debug --rung "$rung" || die "the build failed; see above."
	elif ((!build_given)); then
		build_dir=build${debug:+/debug}
		./build.sh $debug || die "the build failed; see above."
	fi
}

# unpack_recording: fills the run's folder from the recording, which holds what booted and the symbols.
unpack_recording() {
	tar -C "$run_dir" -xf "$replay" 2>/dev/null || true
	[[ -s $run_dir/esp/snapshot ]] || die "--replay: $replay was not written by --record, or there is no room for it."
	build_dir=$run_dir/build
}

parse_options "$@"
[[ $replay ]] || choose_build
[[ ! $trace ]] || grep -qa trace_ring "$build_dir/supervisor.elf" ||
	die "--trace: $build_dir was not built with --define TRACE=PAGES."
make_run_folder
[[ ! $tour ]] || prepare_tour
if [[ $replay ]]; then unpack_recording; else make_boot_volume; fi
check_debugger
watch_options=(--run "$run_dir" --build "$build_dir" "--folder=$caller_dir")
[[ ! $console ]] || watch_options+=(--console "$console")
[[ ! $manifest || $tour ]] || watch_options+=(--manifest "$manifest")
choose_machine
exec python3 -S scripts/watch.py "${watch_options[@]}" -- "${qemu_command[@]}"
