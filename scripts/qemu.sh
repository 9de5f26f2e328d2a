# shellcheck shell=bash disable=SC2154 # who sources this file sets the variables
# qemu.sh: the machine that a run gets: our choices first, then the user's options, which win.
#
# Needs common.sh, tools.sh (firmware paths) and run.sh. QEMU runs in the folder of whoever called run.sh, so that paths
# in the user's options are what they say. Read next: scripts/watch.py.

# The MiB that fit into the FAT volume that QEMU makes of a folder.
boot_volume_max=500

# The MiB that the firmware-less entry needs beside the ramdisk: all below PHYS_FRAMES (layout.h), and what QEMU takes
# at the end for ACPI tables. The MiB of memory below 4 GiB that a machine with more of it has. The bytes of a command
# line that QEMU copies (its pvh_main.c has a page for it, NUL included).
kernel_memory=9
low_memory=2048
append_max=4095

# option_given PATTERN: true when one of the user's QEMU options is an option that matches, with one dash or two.
option_given() {
	local option
	for option in ${qemu_options[@]+"${qemu_options[@]}"}; do
		# shellcheck disable=SC2053 # a pattern, not a text
		[[ ${option/#--/-} != $1 ]] || return 0
	done
	return 1
}

# value_given OPTION-PATTERN VALUE-PATTERN: true when the user gave such an option with such a value.
value_given() {
	local i
	for ((i = 0; i + 1 < ${#qemu_options[@]}; i++)); do
		# shellcheck disable=SC2053 # a pattern, not a text
		[[ ${qemu_options[i]/#--/-} == $1 && ${qemu_options[i + 1]} == $2 ]] && return 0
	done
	return 1
}

# last_value OPTION DEFAULT: prints the value of the user's last option of that name, which is the one that QEMU takes.
last_value() {
	local i value=$2
	for ((i = 0; i + 1 < ${#qemu_options[@]}; i++)); do
		[[ ${qemu_options[i]/#--/-} != "$1" ]] || value=${qemu_options[i + 1]}
	done
	printf '%s' "$value"
}

# These options of QEMU have a list of what they take.
listing='-@(machine|M|cpu|accel|device|d|netdev|nic|chardev|display|vga|object|trace|audio|L)'

# check_qemu_options: gives up where QEMU does not know an option that it would get, and lets it answer questions. QEMU
# looks at the names of all before it follows the first, -version, and ends. Where it is not installed yet, build.sh
# comes first.
check_qemu_options() {
	local said name
	((${#qemu_options[@]})) && command -v qemu-system-x86_64 >/dev/null || return 0
	if option_given -version || value_given "$listing" '@(help|\?|*,help)'; then
		exec qemu-system-x86_64 "${qemu_options[@]}"
	fi
	! option_given -daemonize || die "-daemonize: QEMU would outlive run.sh, which says how the run ended."
	if [[ $stray && ! -e $(host_path "$stray") ]]; then
		[[ $debugger != main ]] || die "$stray is not an option of run.sh: did you mean --gdb=$stray?"
		die "$stray is not an option of run.sh, and no file that QEMU could take as a disk$(hint "$stray")"
	fi
	said=$(qemu-system-x86_64 -version "${qemu_options[@]}" 2>&1 >/dev/null) && return
	said=${said#*: } name=${said%%: *}
	[[ $said != *"requires an argument" ]] || die "$name is an option of QEMU, which said: $said"
	die "$name is not an option of run.sh$(hint "$name"); QEMU said: $said"
}

# hint WORD: prints which of our options may be meant.
hint() {
	usage | python3 -S scripts/nearest.py "$1"
}

# quote_commas TEXT: prints a path as it must stand inside an option with several parts.
quote_commas() {
	printf '%s' "${1//,/,,}"
}

# kvm_works: runs a guest of a few instructions under KVM. /dev/kvm may exist and be broken (nested machines): then
# the guest dies without a word and QEMU stays up, hence the time-out.
kvm_works() {
	local disk=$run_dir/probe.img status=0
	[[ -r /dev/kvm && -w /dev/kvm ]] || return 1
	# mov al,0x2A; out 0xF4,al; hlt: a boot sector that ends QEMU with the status 0x2A * 2 + 1.
	{ printf '\xB0\x2A\xE6\xF4\xF4' && head -c 505 /dev/zero && printf '\x55\xAA'; } >"$disk"
	# The braces keep the shell's own report of a QEMU that aborts off the screen.
	{ timeout -k 2 10 qemu-system-x86_64 -accel kvm -machine q35 -cpu max -m 32 -display none -net none -no-reboot \
		-drive "format=raw,file=$disk" -device isa-debug-exit,iobase=0xf4,iosize=4 || status=$?; } >/dev/null 2>&1
	rm -f "$disk"
	((status == 0x2A * 2 + 1))
}

# choose_accelerator: TCG unless the user asks for KVM and KVM really runs a guest.
choose_accelerator() {
	local accelerator=tcg
	! option_given -accel && ! option_given -enable-kvm && ! value_given '-@(machine|M)' '*accel=*' || return 0
	case ${ACCEL:-tcg} in
	tcg) ;;
	kvm)
		if kvm_works; then
			accelerator=kvm
		else
			say "KVM does not run a guest on this machine; using TCG."
		fi
		;;
	esac
	qemu_command+=(-accel "$accelerator")
}

# choose_devices: newer firmware turns 5-level paging on where the processor has it, and the trampoline has 4 levels;
# q35 has an IOMMU, two DMA engines (edu) and a video card; a user's other machine or IOMMU replaces ours.
choose_devices() {
	qemu_command+=(-machine "q35,kernel-irqchip=split" -cpu "max,la57=off")
	value_given '-@(machine|M)' '@(pc|pc-i440fx*|isapc|microvm)?(,*)' || value_given -device '*-iommu?(-pci)?(,*)' ||
		qemu_command+=(-device "intel-iommu,intremap=on")
	qemu_command+=(-device edu -device edu -vga std -display none -monitor none -net none -no-reboot
		-device "isa-debug-exit,iobase=0xf4,iosize=4")
}

# make_firmware IMAGE FILE: puts in front of an image, which ends at 4 GiB, what makes the firmware see at once that
# there is no TPM. Its first register reads as 0xFF then. In QEMU, what is not there reads as 0, and EDK II (whose
# Tpm12TisPcPresenceCheck looks) waits twice for 750 ms, busily. QEMU's devices lie in front of what is read-only here.
tpm_register=$((0xFED40000)) # TPM_ACCESS_0 (TCG PC Client Platform TPM Profile)
make_firmware() {
	local page=4096 size
	size=$(stat -Lc %s "$1")
	{ head -c "$page" /dev/zero | tr '\0' '\377'; } >"$2"
	truncate -s $(((1 << 32) - tpm_register - size)) "$2"
	cat "$1" >>"$2"
}

# choose_firmware: the boot volume, and UEFI firmware unless the user brings some.
choose_firmware() {
	local image size
	size=$(du -sm --apparent-size "$run_dir/esp" | cut -f 1)
	((size <= boot_volume_max)) || die "the boot volume has $size MiB, and QEMU serves at most $boot_volume_max: use" \
		"a smaller model, or start without firmware: ./run.sh --kernel"
	qemu_command+=(-drive "format=raw,file.driver=vvfat,file.rw=on,file.dir=$(quote_commas "$PWD/$run_dir/esp")")
	! option_given -bios && ! option_given -pflash && ! value_given -drive '*if=pflash*' || return 0
	if image=$(first_file "${bios_images[@]}"); then
		make_firmware "$image" "$PWD/$run_dir/firmware.fd"
		qemu_command+=(-bios "$PWD/$run_dir/firmware.fd")
	else
		image=$(first_file "${flash_images[@]}") || die "no UEFI firmware for QEMU; ./build.sh says how to get it."
		qemu_command+=(-drive "if=pflash,unit=0,format=raw,readonly=on,file=$image")
	fi
}

# choose_memory: how much there is: enough for the ramdisk, unless the user says. Under --trace the watcher makes it a
# file, in which the recorder's ring is found when QEMU has ended, however it ends.
choose_memory() {
	local ramdisk=$1 size
	size=$(last_value -m $((256 + ($(stat -c %s "$ramdisk" 2>/dev/null || echo 0) >> 20)))M)
	size=${size#size=}
	[[ ! $size =~ ^[0-9]+$ ]] || size+=M
	[[ $filter ]] || check_kernel_memory "$size" "$(host_path "$(last_value -initrd "$PWD/$ramdisk")")"
	qemu_command+=(-m "$size")
	[[ ! $trace ]] || watch_options+=(--trace "$trace" --memory "$size")
}

# check_kernel_memory SIZE RAMDISK: without firmware QEMU itself puts the ramdisk at the end of memory, without looking
# whether the kernel is there already, and copies the command line into a page without looking where that ends: a kernel
# that is hit so cannot say anything. One that is not finds no memory left, and says that.
check_kernel_memory() {
	local unit need append
	[[ $1 =~ ^([0-9]+)([kKmMgG])(,.*)?$ ]] || return 0
	case ${BASH_REMATCH[2]} in [kK]) unit=1 ;; [mM]) unit=1024 ;; *) unit=1048576 ;; esac
	need=$(((($(stat -Lc %s "$2" 2>/dev/null || echo 0) + 1048575) >> 20) + kernel_memory))
	((BASH_REMATCH[1] * unit >= need * 1024)) ||
		die "-m $1 is too little: the kernel and its ramdisk need $need MiB to start, and more to run."
	((need <= low_memory)) ||
		die "the ramdisk is too large: without firmware QEMU puts it below $low_memory MiB, however much memory there is."
	append=$(last_value -append '')
	local LC_ALL=C # which makes the length that of bytes
	((${#append} <= append_max)) || die "-append: the command line has ${#append} bytes, and QEMU passes $append_max on."
}

# rr MODE: adds to qemu_command what QEMU needs to record or to replay a run: the events of the run in a file, and in an
# image a snapshot of its beginning, from which each way backwards begins. Not QEMU 7.2's kvmvapic: its reset waits for
# the processor's thread, which waits for whoever loads a snapshot, so that a step backwards would never end.
rr() {
	local folder
	folder=$(quote_commas "$PWD/$run_dir/esp")
	qemu_command+=(-icount "shift=auto,rr=$1,rrfile=$folder/events,rrsnapshot=beginning"
		-drive "if=none,format=qcow2,file=$folder/snapshot" -global apic-common.vapic=off)
}

# keep_command: writes down with which options the machine that is recorded has started, a line each.
folder_of_run=@RUN@ # stands there for the run's folder
keep_command() {
	[[ "${qemu_command[*]}" != *$'\n'* ]] || die "--record: no option of QEMU may have several lines."
	printf '%s\n' "${qemu_command[@]//"$PWD/$run_dir"/$folder_of_run}" >"$run_dir/esp/command"
	python3 -S scripts/qcow2.py "$run_dir/esp/snapshot"
}

# choose_recorded_machine: fills qemu_command with the options of a recorded machine.
choose_recorded_machine() {
	mapfile -t qemu_command <"$run_dir/esp/command"
	qemu_command=("${qemu_command[@]//"$folder_of_run"/"$PWD/$run_dir"}" ${qemu_options[@]+"${qemu_options[@]}"})
	rr replay
}

# choose_time_out: adds to watch_options how long the run may take, where it is not for a debugger to say.
choose_time_out() {
	if [[ $run_timeout ]]; then
		watch_options+=(--timeout "$run_timeout")
	elif [[ ! $debugger ]] && ! option_given -S && ! option_given -s; then
		watch_options+=(--timeout 600)
	fi
}

# choose_machine: fills qemu_command; adds to watch_options what the watcher has to know.
choose_machine() {
	[[ ! $debugger ]] || watch_options+=(--gdb "$debugger")
	choose_time_out
	if [[ $replay ]]; then
		choose_recorded_machine
		watch_options+=(--replayed)
	else
		choose_new_machine "$run_dir/esp/ramdisk.img"
	fi
	if [[ $record ]]; then
		keep_command
		rr record
		watch_options+=(--record "$record")
	fi
}

# choose_new_machine RAMDISK: the same for a machine that is not recorded yet.
choose_new_machine() {
	qemu_command=(qemu-system-x86_64)
	choose_devices
	choose_accelerator
	choose_memory "$1"
	if [[ $filter ]]; then
		watch_options+=("$filter")
		choose_firmware
	else
		qemu_command+=(-kernel "$PWD/$run_dir/supervisor.elf" -initrd "$PWD/$1" -append "$words")
	fi
	qemu_command+=(${qemu_options[@]+"${qemu_options[@]}"})
}
