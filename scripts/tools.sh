# shellcheck shell=bash disable=SC2154 # who sources this file sets the variables
# tools.sh: looks for the tools and files of the distribution that the build and the emulator need, and installs what
# is missing where it may: as root, or through sudo. With NO_INSTALL=1 it only says what to type.
#
# Needs common.sh. Read next: build.sh.

# Each line: the command, the oldest version known to be enough, the Debian packages that bring it.
tools='
gcc                  10    gcc libc6-dev
ld                   2.35  binutils
ar                   2.35  binutils
nm                   2.35  binutils
objcopy              2.35  binutils
readelf              2.35  binutils
nasm                 2.15  nasm
qemu-system-x86_64   6.2   qemu-system-x86
mke2fs               1.45  e2fsprogs
debugfs              1.45  e2fsprogs
python3              3.8   python3
'

efi_include=/usr/include/efi
efi_library_dirs=(/usr/lib /usr/lib64 /usr/lib/gnuefi /usr/lib64/gnuefi /usr/lib/x86_64-linux-gnu/gnuefi)

# The firmware images that -bios takes come first, because they start fastest; the others are flash chips.
bios_images=(/usr/share/ovmf/OVMF.fd /usr/share/qemu/OVMF.fd /usr/share/edk2/x64/OVMF.4m.fd)
flash_images=(/usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd /usr/share/edk2/ovmf/OVMF_CODE.fd
	/usr/share/edk2/x64/OVMF_CODE.4m.fd /usr/share/edk2-ovmf/x64/OVMF_CODE.fd /usr/share/qemu/edk2-x86_64-code.fd)

# Debian keeps mke2fs in a folder that only root has in PATH.
PATH=$PATH:/usr/sbin:/sbin

# first_file FILE...: prints the first of the files that exists.
first_file() {
	local file
	for file in "$@"; do
		[[ -r $file ]] && printf '%s\n' "$file" && return
	done
	return 1
}

# missing_thing TEXT PACKAGE...: remembers something that is missing, and the packages that bring it.
missing_thing() {
	missing+=("$1")
	shift
	packages+=("$@")
}

# find_missing: fills `missing` (in words) and `packages`, and sets efi_lib_dir.
find_missing() {
	missing=() packages=()
	local command version wanted
	while read -r command version wanted; do
		# shellcheck disable=SC2086 # several packages
		[[ -z $command ]] || command -v "$command" >/dev/null ||
			missing_thing "$command, version $version or newer (looked in PATH)" $wanted
	done <<<"$tools"
	[[ -r $efi_include/efi.h && -r $efi_include/x86_64/efibind.h ]] ||
		missing_thing "the headers of gnu-efi 3.0.15 or newer (looked for $efi_include/efi.h)" gnu-efi
	efi_lib_dir=$(first_file "${efi_library_dirs[@]/%//crt0-efi-x86_64.o}") || missing_thing \
		"gnu-efi's crt0-efi-x86_64.o (looked in ${efi_library_dirs[*]})" gnu-efi
	efi_lib_dir=${efi_lib_dir%/*}
	first_file "${bios_images[@]}" "${flash_images[@]}" >/dev/null || missing_thing \
		"UEFI firmware for QEMU (looked for ${bios_images[*]} ${flash_images[*]})" ovmf
}

# install_packages PACKAGE...: installs with apt-get as root; its output is shown on stderr.
install_packages() {
	local become=()
	((EUID == 0)) || become=(sudo)
	say "installing $* ..."
	"${become[@]}" apt-get update >&2 || say "apt-get update failed; trying with the package lists as they are."
	"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
}

# require_gdb: the same for gdb, which only debugging needs.
require_gdb() {
	command -v gdb >/dev/null && return
	may_install || die "gdb is missing: sudo apt-get install -y --no-install-recommends gdb"
	install_packages gdb
	command -v gdb >/dev/null || die "gdb could not be installed; apt-get said why above."
}

# install_for_tests: gdb, clang (with libFuzzer), git, shellcheck and Bochs, which some tests need; where they cannot be
# installed these are skipped.
install_for_tests() {
	local packages=()
	command -v gdb >/dev/null || packages+=(gdb)
	command -v git >/dev/null || packages+=(git) # applies the patches of the labs, which an archive's user has too
	command -v clang >/dev/null || packages+=(clang libclang-rt-14-dev)
	command -v shellcheck >/dev/null || packages+=(shellcheck)
	command -v bochs >/dev/null || packages+=(bochs bochs-term bochsbios vgabios)
	((${#packages[@]})) || return 0
	may_install && install_packages "${packages[@]}" || say "without ${packages[*]} some tests are skipped."
}

# may_install: true when we are root, or sudo works here (a terminal can be asked for the password).
may_install() {
	[[ ${NO_INSTALL:-} != 1 ]] && command -v apt-get >/dev/null || return 1
	((EUID == 0)) && return
	command -v sudo >/dev/null && { [[ -t 0 && -t 2 ]] || sudo -n true 2>/dev/null; }
}

# require_tools: returns when everything is there; otherwise installs it, or says how to and gives up.
require_tools() {
	find_missing
	((${#missing[@]})) || return 0
	local thing
	for thing in "${missing[@]}"; do
		say "missing: $thing"
	done
	mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
	if may_install; then
		install_packages "${packages[@]}" || die "the installation failed; apt-get said why above."
		hash -r
		find_missing
		((${#missing[@]})) || return 0
		die "still missing after the installation: ${missing[*]}"
	fi
	say "on Debian or Ubuntu, install it with:"
	die "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
}
