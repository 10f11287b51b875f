#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rows S2, S4: what becomes of a mounted file system as a whole: frozen, read-only,
# shut down, damaged while in use, with mapped owners, under overlayfs. Makes file
# systems on $PINFS_DEV.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -uo pipefail
. "$(dirname "$0")/test_lib.sh"

need_root_and_module
make_mnt
unload || skip_all "pinfs is loaded and in use"
WORK=$(mktemp -d /tmp/pinfs-states.XXXXXX)
trap 'fsfreeze -u "$MNT" 2>/dev/null; umount "$WORK/merged" "$WORK/bind" 2>/dev/null; umount "$MNT" 2>/dev/null; rm -rf "$WORK"; leave' EXIT
chmod 0755 "$WORK" "$MNT"
insmod "$PINFS_KO" || exit 1

fresh() {
	umount "$MNT" 2>/dev/null
	"$PINFS_MKFS" -f "$PINFS_DEV" >/dev/null && mount -t pinfs "$PINFS_DEV" "$MNT"
}

# says COMMAND...: what it complains of, or "fine".
says() {
	local out
	if out=$("$@" 2>&1 >/dev/null); then echo fine; else echo "${out##*: }"; fi
}

options() {
	awk -v m="$MNT" '$2 == m { print $4 }' /proc/mounts
}

plan 40

# ---- freeze and thaw ----
fresh
echo before >"$MNT/file"
succeeds "S2 freeze" fsfreeze -f "$MNT"
(echo after >"$MNT/file") &
writer=$!
sleep 1
is "S2 a frozen file system keeps writers waiting" "before" "$(<"$MNT/file")"
is "S2 freezing twice" "Device or resource busy" "$(says fsfreeze -f "$MNT")"
succeeds "S2 thaw" fsfreeze -u "$MNT"
wait "$writer"
is "S2 a thawed file system lets them go on" "after" "$(<"$MNT/file")"

# ---- read-only and back ----
succeeds "S2 remount read-only" mount -o remount,ro "$MNT"
is "S2 read-only refuses names" "Read-only file system" "$(says mkdir "$MNT/dir")"
succeeds "S2 remount read-write" mount -o remount,rw "$MNT"
succeeds "S2 read-write takes names" mkdir "$MNT/dir"
exec 9>"$MNT/open"
is "S2 no read-only while a file is open for writing" "fails" \
	"$(mount -o remount,ro "$MNT" 2>/dev/null && echo works || echo fails)"
exec 9>&-

# ---- file times by mount option ----
touch -a -d '2001-01-01' "$MNT/file" && touch -m -d '2000-01-01' "$MNT/file"
mount -o remount,noatime "$MNT"
cat "$MNT/file" >/dev/null
is "S2 noatime" "2001" "$(date -d "@$(stat -c %X "$MNT/file")" +%Y)"
mount -o remount,relatime "$MNT"
cat "$MNT/file" >/dev/null
is "S2 relatime updates what is a day old" "$(date +%Y)" "$(date -d "@$(stat -c %X "$MNT/file")" +%Y)"
mount -o remount,lazytime "$MNT"
touch -a -d '2001-01-01' "$MNT/file"
cat "$MNT/file" >/dev/null
seen=$(stat -c %x "$MNT/file")
umount "$MNT" && mount -t pinfs "$PINFS_DEV" "$MNT"
is "S2 lazytime keeps times over umount" "$seen" "$(stat -c %x "$MNT/file")"

# ---- mapped owners ----
mkdir -p "$WORK/bind"
chown 0:0 "$MNT/dir" "$MNT/file"
if out=$(mount --bind -o X-mount.idmap=b:0:1000:10 "$MNT" "$WORK/bind" 2>&1); then
	is "S2 idmapped mounts show mapped owners" "1000:1000" "$(stat -c %u:%g "$WORK/bind/file")"
	# One that is not mapped has no owner to be created with.
	is "S2 idmapped mounts refuse owners without a number" "fails" \
		"$(touch "$WORK/bind/new" 2>/dev/null && echo works || echo fails)"
	chmod 0777 "$WORK/bind/dir"
	setpriv --reuid 1003 --regid 1004 --clear-groups touch "$WORK/bind/dir/new"
	is "S2 idmapped mounts create with the owner of the file system" "3:4" \
		"$(stat -c %u:%g "$MNT/dir/new")"
	umount "$WORK/bind"
else
	for name in show refuse create; do
		skip "S2 idmapped mounts $name" "mount: $out"
	done
fi

# ---- under overlayfs ----
mkdir -p "$WORK/lower/sub" "$WORK/merged" "$MNT/upper" "$MNT/work"
echo lower >"$WORK/lower/a"
echo lower >"$WORK/lower/b"
echo lower >"$WORK/lower/sub/c"
if out=$(mount -t overlay -o "lowerdir=$WORK/lower,upperdir=$MNT/upper,workdir=$MNT/work" \
	overlay "$WORK/merged" 2>&1); then
	echo upper >>"$WORK/merged/a"
	is "S2 overlayfs copies up" "lower upper" "$(xargs <"$MNT/upper/a")"
	rm "$WORK/merged/b"
	is "S2 overlayfs whiteout" "character special file" "$(stat -c %F "$MNT/upper/b")"
	is "S2 overlayfs whiteout hides" "No such file or directory" "$(says cat "$WORK/merged/b")"
	mv "$WORK/merged/a" "$WORK/merged/moved"
	is "S2 overlayfs rename leaves a whiteout" "character special file" "$(stat -c %F "$MNT/upper/a")"
	rm -r "$WORK/merged/sub" && mkdir "$WORK/merged/sub"
	is "S2 overlayfs opaque directory" "" "$(ls "$WORK/merged/sub")"
	umount "$WORK/merged"
else
	for name in 'copies up' whiteout 'whiteout hides' 'rename leaves a whiteout' 'opaque directory'; do
		skip "S2 overlayfs $name" "mount: $out"
	done
fi
umount "$MNT"
fsck_clean "S3 fsck after all that"
mount -t pinfs "$PINFS_DEV" "$MNT"

# ---- shut down ----
fresh
echo kept >"$MNT/kept"
sync
exec 8<>"$MNT/kept"
log_mark
is "S2 shutdown" 0 "$("$HERE/shutdown" "$MNT" 1)"
is "S2 shutdown: reading" "Input/output error" "$(says cat <&8)"
is "S2 shutdown: writing" "Input/output error" "$(says dd if=/dev/zero bs=1 count=1 status=none of=/proc/self/fd/8)"
is "S2 shutdown: names" "Input/output error" "$(says mkdir "$MNT/new")"
matches "S2 shutdown is shown" ',shutdown' "$(options)"
exec 8>&-
umount "$MNT"
mount -t pinfs "$PINFS_DEV" "$MNT"
is "S2 after a shutdown everything is there" "kept" "$(<"$MNT/kept")"

# Whoever waits for the thaw cannot be killed.
fsfreeze -f "$MNT"
says dd if=/dev/zero bs=1 count=1 conv=notrunc status=none of="$MNT/kept" >"$WORK/written" &
writer=$!
sleep 1
is "S2 shutdown while frozen" 0 "$("$HERE/shutdown" "$MNT" 1)"
succeeds "S2 what was frozen before a shutdown is thawed after it" fsfreeze -u "$MNT"
within 10 is_gone "$writer"
is "S2 and who waited for that goes on" "Input/output error" "$(<"$WORK/written")"
succeeds "S2 and it can be unmounted" within 10 umount "$MNT"
mount -t pinfs "$PINFS_DEV" "$MNT"

# ---- damage found while in use ----
fresh
mkdir "$MNT/d"
echo victim >"$MNT/d/victim"
echo other >"$MNT/other"
ino=$(stat -c %i "$MNT/d/victim")
sync
echo 2 >/proc/sys/vm/drop_caches
# The number of an inode is its place; the link count is under the checksum.
printf '\377' | dd of="$PINFS_DEV" bs=1 seek=$((ino * 256 + 12)) conv=notrunc,fsync status=none
log_mark
is "S4 damage is EUCLEAN" "Structure needs cleaning" "$(says cat "$MNT/d/victim")"
is "S4 damage ends writing" "Read-only file system" "$(says mkdir "$MNT/new")"
is "S4 damage does not end reading" "other" "$(<"$MNT/other")"
says cat "$MNT/d/victim" >/dev/null
is "S4 damage is said once" 1 "$(log_since | grep -c 'damaged')"
# mount(8) hands back the options that it finds in /proc/mounts.
matches "S4 damage is shown" ',emergency_ro' "$(options)"
succeeds "S4 what is damaged can be remounted read-only" mount -o remount,ro "$MNT"
is "S4 but not for writing" "fails" "$(mount -o remount,rw "$MNT" 2>/dev/null && echo works || echo fails)"
umount "$MNT"
log_mark
mount -t pinfs -o ro "$PINFS_DEV" "$MNT"
matches "S4 the next mount says that it was found damaged" 'found damaged; run fsck.pinfs' "$(log_since)"
finish
