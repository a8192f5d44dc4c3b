#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: a tree that mke2fs put on a disk reads the same in a guest; what programs then do to it is there after it has been
# mounted again; and e2fsck finds nothing wrong. With extents and without, with and without a journal and checksums, blocks
# smaller than a page and as large.
# Method: listings and checksums of the tree made on the host and in the guest; busybox's applets as programs.
. tests/cli/check.sh

tree=$work/tree
mkdir -p "$tree/dir/many" "$tree/empty"
head -c 1000000 /dev/urandom >"$tree/dir/big"
head -c 4097 /dev/urandom >"$tree/dir/odd"
: >"$tree/dir/nothing"
truncate -s 5000000 "$tree/dir/sparse"
printf 'end' >>"$tree/dir/sparse"
for i in $(seq 300); do echo "$i" >"$tree/dir/many/a name that is longer than most $i"; done
ln -s dir/odd "$tree/short link"
ln -s "$(printf 'dir/%0120d' 7)" "$tree/long link"
ln "$tree/dir/odd" "$tree/hard"
chmod 4751 "$tree/dir/odd"
mkfifo "$tree/fifo"
chmod 755 "$tree"

# What both sides print about a tree: names, types, modes, sizes and contents.
cat >"$work/list.sh" <<'END'
cd "$1" || exit 1
find . -name lost+found -prune -o -type f -print0 | LC_ALL=C sort -z >/tmp/files.$$
xargs -0 stat -c '%a %h %s %n' </tmp/files.$$
xargs -0 md5sum </tmp/files.$$
find . -name lost+found -prune -o ! -type f -print0 | LC_ALL=C sort -z | xargs -0 stat -c '%F %a %N'
rm /tmp/files.$$
END
PATH=$work/bin:$PATH
mkdir "$work/bin"
for applet in find stat md5sum xargs sort; do ln -s /bin/busybox "$work/bin/$applet"; done
sh "$work/list.sh" "$tree" >"$work/wanted"

cat >"$work/change.sh" <<'END'
set -e
cd /mnt
mkdir -p new/deeper/still
cp dir/big new/copy
dd if=dir/big of=new/pieces bs=777 conv=notrunc 2>/dev/null
dd if=new/copy of=new/copy bs=4096 skip=3 seek=900 count=50 conv=notrunc 2>/dev/null
i=0
while [ $i -lt 200 ]; do echo $i >"new/deeper/another quite long name $i"; i=$((i + 1)); done
mv new/deeper new/elsewhere
mv "new/elsewhere/another quite long name 7" new/seven
rm -r dir/many
mv dir/odd new/odd
ln new/odd new/again
ln -s target new/link
ln -s "$(printf '%0200d' 1)" new/longlink
truncate -s 12345 new/pieces
truncate -s 99999 new/seven
chmod 600 new/seven
chown 12345:70000 new/seven
mknod new/device c 300 70000
rmdir empty
sync
echo later >new/later
END

guest() { # IMAGE SCRIPT: its last line is in the guest's /tmp/list
    run "$lodger" run --timeout 300 --disk "$1" -- /bin/busybox sh -c "$2"
}
read_list=$(cat "$work/list.sh")
change=$(cat "$work/change.sh")

try() { # NAME OPTIONS...
    local name=$1 image=$work/image
    shift
    rm -f "$image"
    truncate -s 48M "$image"
    if ! mke2fs -q -F "$@" -d "$tree" "$image" >"$work/out" 2>"$work/err"; then
        code=1
        fail "$name: mke2fs"
        return
    fi
    guest "$image" "mkdir /mnt; mount -o ro -t ext4 /dev/vda /mnt || exit 9; set -- /mnt; $read_list"
    cp "$work/out" "$work/found"
    if [ "$code" -eq 0 ] && cmp "$work/wanted" "$work/found" >/dev/null; then
        echo "ok $name: the tree reads the same"
    else
        diff "$work/wanted" "$work/found" | head -n 20
        fail "$name: the tree reads the same" "it differs"
    fi
    guest "$image" "mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 9; ($change) || exit 8
        (set -- /mnt; $read_list) >/tmp/before; umount /mnt || exit 7
        mount -t ext4 /dev/vda /mnt || exit 6
        (set -- /mnt; $read_list) >/tmp/after; cmp /tmp/before /tmp/after || exit 5; cat /tmp/after; umount /mnt"
    expect "$name: changes are there after mounting again" 0
    if [ "$(grep -c 'new/' "$work/out")" -lt 200 ]; then fail "$name: changes" "files are missing"; fi
    run e2fsck -fn "$image"
    expect "$name: e2fsck after changes" 0
}

try "ext4, 4 KiB" -t ext4 -b 4096
try "ext4, 1 KiB" -t ext4 -b 1024
try "ext3" -t ext3 -b 1024
try "ext2, 4 KiB" -t ext2 -b 4096
exit $((failures != 0))
