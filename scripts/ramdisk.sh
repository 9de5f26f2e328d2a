# shellcheck shell=bash disable=SC2154
# ramdisk.sh: makes the ramdisk, a real ext2 file system, from a folder that is staged first.
#
# Blocks are 4 KiB, the size of a page, so that FS_MAP can map files without copying them. Needs common.sh.
# Read next: etc/coconut.conf (the manifest in it), ext2.c (who reads it).

# The identity of the file system and its times are fixed: the same content gives the same image.
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

# make_ramdisk DIR IMAGE: makes an ext2 image that holds DIR with a little space to spare.
make_ramdisk() {
	local dir=$1 image=$2 sizes blocks files
	find "$dir" -exec touch -h -d "@$ramdisk_time" {} +
	# For each entry its blocks, one for the directory it lies in, and one of block numbers for every 4 MiB.
	sizes=$(find "$dir" -printf '%s\n' | awk '{ n += int($1 / 4096) + 2 + int($1 / 4194304) } END { print n, NR }')
	read -r blocks files <<<"$sizes"
	# The inode table takes 256 bytes a file; the rest is for superblock, bitmaps and lost+found of each group.
	blocks=$((blocks + blocks / 100 + files / 8 + 64))
	rm -f "$image.new"
	E2FSPROGS_FAKE_TIME=$ramdisk_time mke2fs -q -t ext2 -b 4096 -m 0 -N $((files + 32)) -U "$ramdisk_uuid" -L coconut \
		-O ^resize_inode -E "hash_seed=$ramdisk_uuid,root_owner=0:0" -d "$dir" "$image.new" "$blocks" >/dev/null
	mv "$image.new" "$image"
}
