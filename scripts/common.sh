# shellcheck shell=bash disable=SC2154 # who sources this file sets the variables
# common.sh: what build.sh, run.sh and scripts/build-shard.sh share: messages, and steps that run only when needed.
#
# A step is a command that makes one file or folder, OUT. Beside it lies OUT.cmd, the record of how it was made: the
# command, and a checksum of each thing that it was made from and of OUT itself. The step is up to date while a record
# written now would be the same. No clock has a part in that: an older source that is put back, a stamp of a clock that
# was wrong, and a file in build/ that is damaged are noticed alike. While OUT is being made it has no record, so what
# is half made never counts.
#
# A command of a step runs with `set -e` in force, and the function that fails ends it. Bash switches `set -e` off in
# all that stands behind `if`, `!`, `&&` or in front of `||`, however deep; so a step gives up by itself, and nothing
# ever asks whether it failed.
#
# The scripts that source this file set `self` (their name, for messages) and work in the project's folder, so
# that the paths of the tree are relative and free of spaces whatever the path to the tree looks like.
# Read next: build.sh.
shopt -s inherit_errexit # set -e holds in $(...) as well
# Tools say the same in everybody's language; and each bash would complain of a locale that is not installed.
export LC_ALL=C.UTF-8
trap 'exit 129' HUP # without a trap, bash forgets a signal that its child survived
trap 'exit 130' INT
trap 'exit 143' TERM
trap '' XFSZ # a file that may not grow is an error of who writes it, and kills nobody

# say TEXT...: a line on stderr, from the script the user called.
say() {
	printf '%s: %s\n' "$self" "$*" >&2
}

# die TEXT...: says why the script gives up, and ends it with status 1, or with die_status where a script sets that.
died=
die() {
	died=1
	say "$@"
	exit "${die_status:-1}"
}

# learn PATH...: fills checksums[] for the files and folders that it does not know. What is not there has the checksum
# `none`. They are taken before a command runs, so that a source that is saved meanwhile is noticed the next time.
declare -A checksums=()
learn() {
	local path line files=()
	for path in "$@"; do
		[[ ! ${checksums[$path]:-} ]] || continue
		checksums[$path]=none
		if [[ -f $path ]]; then
			files+=("$path")
		elif [[ -d $path ]]; then
			# shellcheck disable=SC2310 # its one command is followed by return
			checksums[$path]=$(checksum_of_folder "$path") || give_up "could not read $path; the message above says why."
		fi
	done
	((${#files[@]})) || return 0
	while IFS= read -r -d '' line; do
		checksums[${line:42}]=${line::40}
	done < <(sha1sum -z -- "${files[@]}")
}

# learn_all PATH...: learns many paths at once, which is faster: the sources that are named, and what the records that
# are named are of.
learn_all() {
	local path paths=()
	for path in "$@"; do
		path=${path%.cmd}
		[[ ! -f $path ]] || paths+=("${path#./}")
	done
	learn ${paths[@]+"${paths[@]}"}
}

# checksum_of_folder DIR: prints one checksum of the names and the contents of all that is in it.
checksum_of_folder() {
	local sum
	sum=$(cd "$1" && {
		find . -printf '%p %y %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha1sum --
	} | sha1sum) || return
	printf '%s' "${sum%% *}"
}

# make_record OUT COMMAND-TEXT READ INPUT...: sets `record` to the record of a step. READ is the name of an array: what
# the command has read beside its inputs.
make_record() {
	local out=$1 text=$2 path
	local -n also=$3
	shift 3
	learn "$out" "$@" ${also[@]+"${also[@]}"}
	record=$text$'\n\nmade from'
	for path in "$@"; do
		record+=$'\n'"${checksums[$path]} $path"
	done
	record+=$'\nread too'
	for path in ${also[@]+"${also[@]}"}; do
		record+=$'\n'"${checksums[$path]} $path"
	done
	record+=$'\nmade\n'"${checksums[$out]}"
}

# up_to_date OUT COMMAND-TEXT [INPUT...]: true when the step that makes OUT need not run.
up_to_date() {
	local out=$1 last='' read_too=()
	[[ -e $out && -e $out.cmd ]] || return 1
	IFS= read -r -d '' last <"$out.cmd" || true
	mapfile -t read_too <<<"${last##*$'\nread too'}" # an empty line, CHECKSUM PATH..., made, CHECKSUM, an empty line
	((${#read_too[@]} >= 4)) || return 1
	read_too=("${read_too[@]:1:${#read_too[@]}-4}")
	read_too=("${read_too[@]#* }")
	make_record "$out" "$2" read_too "${@:3}"
	[[ $last == "$record"$'\n' && $record != *$'\n'none* ]]
}

# announce: says once that something is being compiled, so that a first build is not silent.
announced=
announce() {
	[[ ! $announced ]] || return 0
	announced=1
	say "compiling into ${out_dir:-build}/ ..."
	leash
}

# leash: whatever this script starts from here on ends soon after the script, however that ends, even by SIGKILL. A
# process that waits for the script's end looks for others that carry the leash's name in their environment. It is no
# child, so that `wait` does not wait for it, has a session of its own, so that Ctrl-C does not reach it, and holds
# neither terminal nor lock.
leash() {
	local name=leash-$$-$RANDOM$RANDOM
	(
		cd /
		for fd in /proc/"$BASHPID"/fd/*; do
			fd=${fd##*/}
			((fd <= 2)) || eval "exec $fd>&-"
		done
		setsid bash -c "$leash_script" leash $$ "$name" <>/dev/null >&0 2>&0 &
	)
	export COCONUT_LEASH=${COCONUT_LEASH:-}:$name
}

# What the process does: it asks what is left to end, and after 5 seconds makes it.
# shellcheck disable=SC2016 # it expands these itself
leash_script='
	tail -s 0.2 -f --pid="$1" /dev/null
	for ((tries = 0; tries < 100; tries++)); do
		found=$(grep -lsz "^COCONUT_LEASH=.*:$2" /proc/[0-9]*/environ | tr -dc "0-9\n")
		[[ $found ]] || exit
		((tries > 0)) || kill -TERM $found
		((tries < 50)) || kill -KILL $found
		sleep 0.1
	done'

# parse_step OUT INPUT... -- COMMAND...: takes the arguments of the two functions below apart.
parse_step() {
	step_out=$1 step_inputs=()
	shift
	while [[ $1 != -- ]]; do
		step_inputs+=("$1")
		shift
	done
	shift
	step_command=("$@")
}

# run_step: runs the parsed step, and gives up when it fails. The command finds no OUT of an earlier time.
run_step() {
	local status listed=()
	[[ -d ${step_out%/*} ]] || mkdir -p "${step_out%/*}"
	[[ ! -e $step_out && ! -L $step_out && ! -e $step_out.cmd ]] || rm -rf "$step_out" "$step_out.cmd"
	set +e
	(set -e && "${step_command[@]}")
	status=$?
	set -e
	((status == 0)) || give_up_step
	checksums[$step_out]=''
	if [[ -e $step_out.d ]]; then # which gcc and nasm write: `object: FILE...`
		# Without -r, read undoes the backslashes with which the compilers quote spaces and ends of lines.
		# shellcheck disable=SC2162 # the backslashes are quoting
		read -d '' -a listed <"$step_out.d" || true
		[[ ${listed[1]:-} != : ]] || listed=("${listed[@]:1}") # nasm puts a space before the colon
		listed=("${listed[@]:1}")
	fi
	make_record "$step_out" "${step_command[*]}" listed "${step_inputs[@]}"
	printf '%s\n' "$record" >"$step_out.cmd.new" || give_up_step
	mv "$step_out.cmd.new" "$step_out.cmd" || give_up_step
}

# give_up_step: ends the script, or the background step, when a command of a step has failed and said why.
give_up_step() {
	rm -rf "$step_out" "$step_out.cmd" "$step_out.cmd.new"
	((BASH_SUBSHELL == 0)) || exit 1 # finish_steps speaks for all background steps
	give_up "could not make $step_out; the message above says why."
}

# give_up TEXT: ends a build. Says too where there is little room for files: the tools have many words for that, and
# some have none.
needed_room=20480  # KiB: all of a build is less
largest_file=16384 # KiB: each file of it is less
give_up() {
	local left limit
	left=$(df -k --output=avail "$out_dir" 2>/dev/null | tail -n 1) || left=$needed_room
	limit=$(ulimit -f)
	((left >= needed_room)) ||
		say "the disk of $out_dir/ has ${left// /} KiB left, and a build takes up to $needed_room. Make room."
	[[ $limit == unlimited ]] || ((limit >= largest_file)) || say "no file may be larger than $limit KiB here (ulimit -f)."
	die "$1"
}

# end_in_words: no build ends badly without a sentence, whatever has failed.
end_in_words() {
	local status=$?
	((status == 0 || status > 128)) || [[ $died ]] || give_up "could not finish the build; the message above says why."
}

# step OUT INPUT... -- COMMAND...: runs COMMAND, which makes OUT, unless OUT is up to date. Gives up when COMMAND fails.
step() {
	parse_step "$@"
	# shellcheck disable=SC2310 # a question: every failure in it means no
	up_to_date "$step_out" "${step_command[*]}" "${step_inputs[@]}" && return
	announce
	run_step
}

# background_step OUT INPUT... -- COMMAND...: the same, beside other steps; finish_steps waits for all of them. How a C
# file is compiled stands in compilations[] then.
begun=() cores=''
declare -A compilations=()
background_step() {
	parse_step "$@"
	# shellcheck disable=SC2034 # build.sh writes it down
	[[ ${step_command[0]} != gcc ]] || compilations[${step_inputs[0]}]="${step_command[*]@Q}"
	# shellcheck disable=SC2310 # a question: every failure in it means no
	up_to_date "$step_out" "${step_command[*]}" "${step_inputs[@]}" && return
	announce
	cores=${cores:-$(nproc)}
	# of the list of numbers the ends of lines are left, one fewer than there are lines
	while running=$(jobs -rp) && [[ $running ]] && running=${running//[0-9]/} && ((${#running} + 1 >= cores)); do
		wait -n || true
	done
	rm -f "$step_out.cmd"
	begun+=("$step_out")
	run_step &
	checksums[$step_out]=''
}

# finish_steps WHAT: waits for the background steps and gives up when one of them has left no record: it failed, or was
# killed.
finish_steps() {
	local out
	wait
	for out in ${begun[@]+"${begun[@]}"}; do
		[[ -e $out.cmd ]] || give_up "could not build $1; the first message above says why."
	done
	begun=()
}

# lock_build: lets one build at a time work in out_dir; the end of the script, or unlock_build, releases it.
lock_build() {
	mkdir -p "$out_dir" 2>/dev/null && [[ -w $out_dir ]] || die "cannot write to $(realpath -m "$out_dir")."
	exec {build_lock}>"$out_dir/.lock" || die "cannot write to $(realpath -m "$out_dir")."
	if ! flock -w 3 "$build_lock"; then
		say "another build works in $out_dir/; waiting for it to end ..."
		flock "$build_lock"
	fi
	checksums=()
}

unlock_build() {
	exec {build_lock}>&-
}
