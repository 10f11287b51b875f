#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows B16 (fault A1) and S3 (fault F3): recovery never runs beside users of what
# it works on, nor is anything written while the file system is read-only; and
# norecovery. Makes file systems on $PINFS_DEV, and the root file system read-only
# for moments, as sysrq-u does.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
[[ -w /proc/sysrq-trigger ]] || skip_all "no /proc/sysrq-trigger"
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-recovery.XXXXXX)
mount -t tmpfs none "$WORK" || exit 1
trap 'mapper_end; exec 8>&- 9>&-; blockdev --setrw "$PINFS_DEV"; umount "$MNT" 2>/dev/null; umount "$WORK"; rmdir "$WORK"; leave' EXIT
insmod "$PINFS_KO" || exit 1

# Extents of a file that takes seconds to collapse.
EXTENTS=${EXTENTS:-6000}

fresh() {
	umount "$MNT" 2>/dev/null
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null && mount -t pinfs "$PINFS_DEV" "$MNT"
}

free_blocks() {
	stat -f -c %f "$MNT"
}

free_is() {
	[[ $(free_blocks) -eq $1 ]]
}

# says COMMAND...: what it complains of, or "fine".
says() {
	local out
	if out=$("$@" 2>&1 >/dev/null); then echo fine; else echo "${out##*: }"; fi
}

# Every file system with a device becomes read-only, whoever writes to it.
emergency_remount() {
	log_mark
	echo u >/proc/sysrq-trigger
	within 60 eval 'log_since | grep -q "Emergency Remount complete"'
	mount -o remount,rw / 2>/dev/null
}

is_read_only() {
	awk -v m="$MNT" '$2 == m { print $4 }' /proc/mounts | grep -qE '^ro(,|$)'
}

# The device as it is, without its end, of which nothing is used here.
medium() {
	read_head 64
}

# medium_is_kept NAME: it is as it was at keep_medium.
keep_medium() {
	medium >"$WORK/before"
}

restore_medium() {
	dd if="$WORK/before" of="$PINFS_DEV" bs=1M conv=notrunc,fsync status=none oflag=direct
}

medium_is_kept() {
	medium >"$WORK/after"
	is "$1" fine "$(says cmp "$WORK/before" "$WORK/after")"
}

# The newest inode on the orphan list: a field of the status block.
orphans() {
	medium | od -A n -t u8 -j $((4096 + 40)) -N 8 | xargs
}

# ---- A1: files that are in use and have no name ----

in_use() {
	local free
	fresh
	# Names and inodes that are there already take no blocks later.
	touch "$MNT"/{open,mapped,pinned,piped,new}
	rm "$MNT"/{open,mapped,pinned,piped,new}
	free=$(free_blocks)
	head -c 1M /dev/urandom >"$WORK/data"
	cp "$WORK/data" "$MNT/open"
	cp "$WORK/data" "$MNT/mapped"
	cp "$WORK/data" "$MNT/piped"
	truncate -s 1M "$MNT/pinned"
	exec 8<>"$MNT/open"
	mapper_start
	ask_mapper open "$MNT/piped" $((1 << 20)) >/dev/null
	ask_mapper splice 8192 >/dev/null
	ask_mapper close >/dev/null
	ask_mapper open "$MNT/mapped" $((1 << 20)) >/dev/null
	holder_start
	is "B16 A1 a file is pinned under a lease" 0 "$(hold "$MNT/pinned")"
	is "B16 A1 and written to through its mapping" 0 "$(tell store)"
	rm "$MNT"/{open,mapped,pinned,piped}
	emergency_remount
	is "B16 A1 sysrq-u makes it read-only, in use as it is" "ro" "$(is_read_only && echo ro)"
	succeeds "B16 A1 it can be mounted for writing again" mount -o remount,rw "$MNT"
	# Whoever writes gets no block of these files.
	head -c 16M /dev/urandom >"$MNT/new"
	is "B16 A1 what is open without a name keeps its blocks" fine \
		"$(says cmp "$WORK/data" /proc/self/fd/8)"
	ask_mapper dump "$WORK/seen" >/dev/null
	is "B16 A1 what is mapped without a name keeps its blocks" fine \
		"$(says cmp "$WORK/data" "$WORK/seen")"
	is "B16 A1 what is pinned without a name keeps its blocks" 0 "$(tell check)"
	ask_mapper drain "$WORK/page" >/dev/null
	is "B16 A1 what was in quarantine keeps its blocks" fine \
		"$(says cmp -n 4096 -i 8192:0 "$WORK/data" "$WORK/page")"
	holder_end
	mapper_end
	exec 8>&-
	rm "$MNT/new"
	if within 20 free_is "$free"; then
		pass "B16 A1 all of it is freed when it is let go"
	else
		fail "B16 A1 all of it is freed when it is let go" \
			"expected $free free blocks, seen $(free_blocks)"
	fi
	umount "$MNT"
	fsck_clean "B16 A1 fsck finds nothing"
}

# ---- the last user ends while the file system is read-only ----

not_in_use() {
	local free
	fresh
	touch "$MNT/open"
	rm "$MNT/open"
	free=$(free_blocks)
	head -c 4M /dev/urandom >"$MNT/open"
	exec 8<>"$MNT/open"
	rm "$MNT/open"
	emergency_remount
	keep_medium
	exec 8>&-
	sleep 1
	medium_is_kept "B16 a file without a name that is closed while read-only is left on the device"
	mount -o remount,rw "$MNT"
	if within 20 free_is "$free"; then
		pass "B16 it is freed by the remount, as nobody uses it"
	else
		fail "B16 it is freed by the remount, as nobody uses it" \
			"expected $free free blocks, seen $(free_blocks)"
	fi
	umount "$MNT"
	fsck_clean "B16 fsck finds nothing after that"

	# Nobody asks whether there are writers, so they are stopped.
	fresh
	echo old >"$MNT/file"
	exec 9<>"$MNT/file"
	emergency_remount
	keep_medium
	is "B16 who has a file open for writing cannot write while it is read-only" \
		"Read-only file system" "$(says bash -c 'head -c 1M /dev/zero >&9')"
	matches "B16 nor truncate" 'Read-only file system$' \
		"$(says python3 -c 'import os; os.ftruncate(9, 0)')"
	medium_is_kept "B16 so nothing changes"
	mount -o remount,rw "$MNT"
	echo new >&9
	is "B16 and goes on when it is no longer" "new" "$(<"$MNT/file")"
	exec 9>&-

	# One that was shut down has nothing to be written, and the kernel warns of errors.
	log_mark
	start=$mark
	"$HERE/shutdown" "$MNT" 2 >/dev/null
	emergency_remount
	mark=$start
	log_clean "B16 sysrq-u of a file system that was shut down"
	umount "$MNT"
}

# ---- a collapse that is cut short ----

# The file of many extents, and what it is to become: each block has its number.
make_sparse() {
	python3 - "$MNT/sparse" "$EXTENTS" <<-'PYTHON'
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
		for i in range(int(sys.argv[2]) + 16):
		    os.pwrite(fd, (b"%015d\n" % i) * 256, i * 8192)
	PYTHON
	sync -f "$MNT"
	cp --sparse=always "$MNT/sparse" "$WORK/sparse"
	collapse_to "$WORK/sparse"
}

# What the collapse makes of the file: the first extents go, the rest moves down.
collapse_to() {
	dd if="$1" of="$WORK/collapsed" bs=8K skip="$EXTENTS" status=none
	{ dd if="$1" bs=8K count=1 status=none; cat "$WORK/collapsed"; } >"$WORK/expected"
}

collapse() {
	fallocate -c -o 8192 -l $(((EXTENTS - 1) * 8192)) "$MNT/sparse"
}

# cut_short: loses the power in the middle of a collapse, after a part of the
# time that one takes. Prints "cut" if there is more to do.
cut_short() {
	local part job begin whole
	fresh
	make_sparse
	begin=$EPOCHREALTIME
	collapse
	whole=$((${EPOCHREALTIME/./} - ${begin/./}))
	umount "$MNT"
	for part in 50 30 40 20 60 10 70 80 5 90 50 30 40 20 60 10 70 80 5 90; do
		fresh
		make_sparse
		collapse >/dev/null 2>&1 &
		job=$!
		sleep "$(printf '0.%06d' $((whole * part / 100 % 1000000)))"
		"$HERE/shutdown" "$MNT" 2 >/dev/null
		wait "$job"
		umount "$MNT"
		if [[ $(orphans) -ne 0 ]]; then
			echo cut
			return
		fi
	done
	echo "never in time"
}

same_as_expected() {
	is "$1" fine "$(says cmp "$WORK/expected" "$2")"
}

collapses() {
	local size node
	# Somebody reads it after a crash, and then it is mounted for writing.
	is "B16 A1 a crash in the middle of a collapse" cut "$(cut_short)"
	collapse_to "$WORK/sparse"
	mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
	size=$(stat -c %s "$MNT/sparse")
	exec 8<"$MNT/sparse"
	mapper_start
	ask_mapper open "$MNT/sparse" "$size" >/dev/null
	ask_mapper dump "$WORK/mapped" >/dev/null
	same_as_expected "B16 A1 a read-only mount after it finishes it first" "$MNT/sparse"
	same_as_expected "B16 A1 for who maps the file, too" "$WORK/mapped"
	mount -o remount,rw "$MNT"
	ask_mapper dump "$WORK/mapped" >/dev/null
	is "B16 A1 a remount moves nothing under a mapping" fine \
		"$(says cmp "$MNT/sparse" "$WORK/mapped")"
	mapper_end
	exec 8<&-
	umount "$MNT"
	fsck_clean "B16 A1 fsck finds nothing after the crash"

	# On a device that was write-protected at the mount it cannot be finished before. All of it
	# that was done is in its place, so the journal is not needed.
	is "B16 A1 another crash in the middle of a collapse" cut "$(cut_short)"
	keep_medium
	dd if=/dev/zero of="$PINFS_DEV" bs=64 seek=$((2 * 64)) count=1 conv=notrunc,fsync status=none
	blockdev --setro "$PINFS_DEV"
	mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
	blockdev --setrw "$PINFS_DEV"
	size=$(stat -c %s "$MNT/sparse")
	mapper_start
	ask_mapper open "$MNT/sparse" "$size" >/dev/null
	ask_mapper dump "$WORK/mapped" >/dev/null
	ask_mapper splice $(((EXTENTS + 1) * 8192)) >/dev/null
	is "B16 A1 it is not finished under a page that somebody references" "fails" \
		"$(mount -o remount,rw "$MNT" 2>/dev/null && echo works || echo fails)"
	is "B16 A1 and the file system stays read-only" "Read-only file system" \
		"$(says touch "$MNT/x")"
	ask_mapper drain "$WORK/page" >/dev/null
	succeeds "B16 A1 but when that has ended" within 10 mount -o remount,rw "$MNT"
	same_as_expected "B16 A1 then it is finished" "$MNT/sparse"
	ask_mapper dump "$WORK/mapped" >/dev/null
	truncate -s "$(stat -c %s "$WORK/expected")" "$WORK/mapped"
	same_as_expected "B16 A1 in the mapping of who has it mapped, too" "$WORK/mapped"
	mapper_end
	umount "$MNT"
	fsck_clean "B16 A1 fsck finds nothing after that, too"

	# One that cannot be finished is set aside, by a mount and by a remount.
	restore_medium
	for node in $(tree_nodes "$WORK/before"); do
		spoil "$node"
	done
	succeeds "S4 a mount goes on beside a collapse that cannot be finished" \
		mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
	log_mark
	succeeds "S4 a remount does" mount -o remount,rw "$MNT"
	matches "S4 which says so" 'inode [0-9]+ could not be freed or truncated .*fsck.pinfs' \
		"$(log_since)"
	succeeds "S4 files can be made beside it" touch "$MNT/new"
	umount "$MNT"
	is "S4 fsck is asked for" 4 "$("$PINFS_FSCK" -n "$PINFS_DEV" >/dev/null 2>&1; echo $?)"
}

# ---- F3: norecovery ----

# A file system whose journal has a rename that is not in its place: what a power
# loss after the commit leaves. The journal has 64 blocks and begins at block 2.
make_unrecovered() {
	fresh
	echo contents >"$MNT/old"
	umount "$MNT"
	keep_medium
	mount -t pinfs "$PINFS_DEV" "$MNT"
	mv "$MNT/old" "$MNT/new"
	"$HERE/shutdown" "$MNT" 2 >/dev/null
	umount "$MNT"
	medium | dd of="$WORK/journal" bs=4K skip=2 count=64 status=none iflag=fullblock
	restore_medium
	dd if="$WORK/journal" of="$PINFS_DEV" bs=4K seek=2 conv=notrunc,fsync status=none oflag=direct
	keep_medium
}

# why COMMAND...: what the kernel says in one line.
why() {
	log_mark
	"$@" >/dev/null 2>&1
	log_since | grep 'pinfs: '
}

norecovery() {
	local word bitmap
	make_unrecovered
	is "S3 norecovery without ro is refused" EINVAL \
		"$(error_of mount -t pinfs -o norecovery "$PINFS_DEV" "$MNT")"
	matches "S3 norecovery: and the kernel says what to do" 'read-only mounts; give ro' \
		"$(why mount -t pinfs -o norecovery "$PINFS_DEV" "$MNT")"
	succeeds "S3 norecovery with ro mounts" mount -t pinfs -o ro,norecovery "$PINFS_DEV" "$MNT"
	is "S3 norecovery: it shows what is in its place" "old" "$(ls "$MNT")"
	is "S3 norecovery: which can be read" "contents" "$(cat "$MNT"/*)"
	matches "S3 norecovery: the option is shown" ',norecovery' \
		"$(awk -v m="$MNT" '$2 == m { print $4 }' /proc/mounts)"
	matches "S3 norecovery: a remount for writing is refused" 'unmount it first' \
		"$(why mount -o remount,rw "$MNT")"
	is "S3 norecovery: and stays refused" "Read-only file system" "$(says touch "$MNT/x")"
	succeeds "S3 norecovery: a remount that changes nothing is not" mount -o remount,ro,noatime "$MNT"
	umount "$MNT"
	medium_is_kept "S3 norecovery: the device is as it was"

	blockdev --setro "$PINFS_DEV"
	matches "S3 norecovery: a write-protected device that needs a replay: the kernel says what there is" \
		'-o ro,norecovery' "$(why mount -t pinfs -o ro "$PINFS_DEV" "$MNT")"
	succeeds "S3 norecovery: and that works" mount -t pinfs -o ro,norecovery "$PINFS_DEV" "$MNT"
	umount "$MNT"
	blockdev --setrw "$PINFS_DEV"

	mount -t pinfs "$PINFS_DEV" "$MNT"
	is "S3 norecovery: a later mount replays" "new" "$(ls "$MNT")"
	matches "S3 norecovery is not for remounts" 'not for a remount' \
		"$(why mount -o remount,ro,norecovery "$MNT")"
	umount "$MNT"
	fsck_clean "S3 norecovery: fsck finds nothing after it"

	# In the middle of a commit anything may be inconsistent: the bitmaps, then the status.
	make_unrecovered
	for bitmap in 66 1; do
		word="block $bitmap is damaged"
		head -c 64 /dev/urandom |
			dd of="$PINFS_DEV" bs=64 seek=$((bitmap * 64)) conv=notrunc,fsync status=none
		succeeds "S3 norecovery mounts though $word" \
			mount -t pinfs -o ro,norecovery "$PINFS_DEV" "$MNT"
		is "S3 norecovery: and reads though $word" "contents" "$(cat "$MNT"/* 2>&1)"
		says stat -f "$MNT" >/dev/null
		umount "$MNT"
	done
}

plan 55
log_mark
first=$mark
in_use
not_in_use
collapses
norecovery
rmmod pinfs
mark=$first
log_clean "B16 the kernel has nothing to say"
finish
