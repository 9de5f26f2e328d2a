# shellcheck shell=bash disable=SC2154
# common.sh: what build.sh, run.sh and scripts/build-shard.sh share: messages, and steps that run only when needed.
#
# A step is a command that makes one file. Beside that file it leaves OUT.cmd, the text of the command, written
# before the command ran. The step is up to date while the command is the same and nothing that OUT was made from
# is newer than OUT.cmd; taking that time, not the time of OUT, notices a source saved while it was being compiled.
#
# The scripts that source this file set `self` (their name, for messages) and work in the project's folder, so
# that the paths of the tree are relative and free of spaces whatever the path to the tree looks like.
# Read next: build.sh.

# say TEXT...: a line on stderr, from the script the user called.
say() {
	printf '%s: %s\n' "$self" "$*" >&2
}

# die TEXT...: says why the script gives up, and ends it with status 1, or with die_status where a script sets that.
die() {
	say "$@"
	exit "${die_status:-1}"
}

# up_to_date OUT COMMAND-TEXT [INPUT...]: true when the step that makes OUT need not run. Inputs are those named and
# those in OUT.d, which gcc and nasm write.
up_to_date() {
	local out=$1 text=$2 last='' input
	shift 2
	[[ -e $out && -e $out.cmd ]] || return 1
	read -r -d '' last <"$out.cmd" || true
	[[ $last == "$text" ]] || return 1
	local inputs=("$@") listed=()
	if [[ -e $out.d ]]; then
		# Without -r, read undoes the backslashes with which the compilers quote spaces and ends of lines.
		# shellcheck disable=SC2162
		read -d '' -a listed <"$out.d" || true
		inputs+=("${listed[@]:1}")
	fi
	for input in "${inputs[@]}"; do
		[[ $input != : ]] || continue # nasm puts a space before the colon that follows the target
		[[ -e $input && ! $input -nt $out.cmd ]] || return 1
	done
}

# announce: says once that something is being compiled, so that a first build is not silent.
announced=
cores=$(nproc)
announce() {
	[[ $announced ]] || say "compiling into ${out_dir:-build}/ ..."
	announced=1
}

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

# run_step: runs the parsed step. A command may leave an unchanged OUT as it was, so that what is made from it stays
# up to date as well.
run_step() {
	mkdir -p "${step_out%/*}"
	printf '%s' "${step_command[*]}" >"$step_out.cmd.new"
	if ! "${step_command[@]}"; then
		rm -f "$step_out" "$step_out.cmd"
		return 1
	fi
	mv "$step_out.cmd.new" "$step_out.cmd"
}

# step OUT INPUT... -- COMMAND...: runs COMMAND, which makes OUT, unless OUT is up to date.
step() {
	parse_step "$@"
	up_to_date "$step_out" "${step_command[*]}" "${step_inputs[@]}" && return
	announce
	run_step
}

# background_step OUT INPUT... -- COMMAND...: the same, beside other steps; finish_steps waits for all of them.
background_step() {
	parse_step "$@"
	up_to_date "$step_out" "${step_command[*]}" "${step_inputs[@]}" && return
	announce
	while (($(jobs -rp | wc -l) >= cores)); do
		wait -n || true
	done
	(run_step || : >"$out_dir/failed") &
}

# finish_steps WHAT: waits for the background steps and gives up when one of them failed.
finish_steps() {
	wait
	if [[ -e $out_dir/failed ]]; then
		rm -f "$out_dir/failed"
		die "could not build $1; the first message above says why."
	fi
}

# lock_build: lets one build at a time work in out_dir; the end of the script, or unlock_build, releases it.
lock_build() {
	mkdir -p "$out_dir" 2>/dev/null && [[ -w $out_dir ]] || die "cannot write to $(realpath -m "$out_dir")."
	exec {build_lock}>"$out_dir/.lock"
	if ! flock -w 3 "$build_lock"; then
		say "another build works in $out_dir/; waiting for it to end ..."
		flock "$build_lock"
	fi
	rm -f "$out_dir/failed"
}

unlock_build() {
	exec {build_lock}>&-
}
