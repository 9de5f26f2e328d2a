# shellcheck shell=bash disable=SC2154 # who sources this file sets the variables
# ramdisk.sh: makes the ramdisk, a real ext2 file system, from a folder that is staged first.
#
# Blocks are 4 KiB, the size of a page, so that FS_MAP can map files without copying them. Needs common.sh.
# Read next: etc/coconut.conf (the manifest in it), ext2.c (who reads it).

# The identity of the file system, its times, owners and modes are fixed: the same content gives the same image.
ramdisk_uuid=c0c0a7a7-0000-4000-8000-000000000001
ramdisk_time=1700000000

# stage_ramdisk DIR: fills the empty folder DIR with the default content, except for the manifest.
stage_ramdisk() {
	local dir=$1 bin
	mkdir -p "$dir/etc" "$dir/shards"
	cp etc/hello.txt "$dir/hello.txt"
	cp etc/motd "$dir/etc/motd"
	for bin in shards/*/main.c; do
		[[ -e $bin ]] || continue
		bin=$(basename "${bin%/main.c}")
		cp "$out_dir/shards/$bin.bin" "$dir/shards/$bin"
	done
	[[ ! -e model/stories.bin ]] || cp model/stories.bin "$dir/model.bin"
	[[ ! -e model/tokenizer.bin ]] || cp model/tokenizer.bin "$dir/tokenizer.bin"
}

# make_ramdisk DIR IMAGE: makes an ext2 image that holds DIR with a little space to spare. Every command is followed by
# && or return, because run.sh calls this in front of ||, where `set -e` is off.
make_ramdisk() {
	local dir=$1 image=$2 sizes blocks files
	rm -f "$image.new" || return
	chmod -R u=rwX,go=rX "$dir" && find "$dir" -exec touch -h -d "@$ramdisk_time" {} + || return
	# For each file its blocks, one for the directory it lies in, and one of block numbers for every 4 MiB. The size of
	# a directory depends on the file system here.
	sizes=$(set -o pipefail && find "$dir" -printf '%y %s\n' |
		awk '{ n += ($1 == "f" ? int($2 / 4096) + int($2 / 4194304) : 0) + 2 } END { print n, NR }') || return
	read -r blocks files <<<"$sizes" || return
	# The inode table takes 256 bytes a file; the rest is for superblock, bitmaps and lost+found of each group.
	blocks=$((blocks + blocks / 100 + files / 8 + 64))
	E2FSPROGS_FAKE_TIME=$ramdisk_time mke2fs -q -t ext2 -b 4096 -m 0 -N $((files + 32)) -U "$ramdisk_uuid" -L coconut \
		-O ^resize_inode -E "hash_seed=$ramdisk_uuid,root_owner=0:0" -d "$dir" "$image.new" "$blocks" >/dev/null ||
		return
	# mke2fs may say that the last block could not be written, and end with status 0.
	(($(stat -c %s "$image.new") == blocks * 4096)) || return
	fix_times "$image.new" "$files" && mv "$image.new" "$image"
}

# fix_times IMAGE FILES: gives all that mke2fs has copied into an image of FILES entries the one time, and root as the
# owner. What it took from the staged files are the times of the staging, some of which nobody can set.
fix_times() {
	local first=12 number field messages # 11 is lost+found
	messages=$(for ((number = first; number < first + $2 - 1; number++)); do
		for field in "atime @$ramdisk_time" "ctime @$ramdisk_time" "mtime @$ramdisk_time" 'uid 0' 'gid 0'; do
			echo "set_inode_field <$number> $field"
		done
	done | E2FSPROGS_FAKE_TIME=$ramdisk_time debugfs -w -f - "$1" 2>&1 >/dev/null) || return
	# debugfs prints its version, and what failed; its status says nothing.
	messages=$(sed '/^debugfs [0-9]/d' <<<"$messages")
	[[ ! $messages ]] || { printf '%s\n' "$messages" >&2 && return 1; }
}
