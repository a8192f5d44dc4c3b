#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: a folder of the host (`lodger run --share`) is in the guest what it is on the host: content, names, attributes
# and changes, in both directions, at once, with several writers; what cannot be is refused.
# Method: busybox in guests (release, and kasan with 4 vCPUs), and what lies in the folder before and afterwards.
. tests/cli/check.sh

share=$work/share
mkdir -p "$share/folder"
head -c 3000000 /dev/urandom >"$share/blob"
cp /bin/busybox "$share/busybox"
ln -s folder "$share/link"
chmod 640 "$share/blob"
sum=$(sha1sum <"$share/blob")

guest=$(cat <<'GUEST'
fail() { echo "FAILED: $*"; exit 1; }
cd /mnt || exit 1
[ "$(sha1sum <blob)" = "$SUM" ] || fail "content"
[ "$(stat -c '%a %s' blob)" = "640 3000000" ] || fail "attributes: $(stat -c '%a %s' blob)"
[ "$(readlink link)" = folder ] || fail "link"
./busybox true || fail "a program of the folder does not run"
cp blob folder/copy && [ "$(sha1sum <folder/copy)" = "$SUM" ] || fail "copy"
dd if=blob of=folder/odd bs=4097 2>/dev/null && cmp blob folder/odd || fail "odd pieces"
echo one >text && echo two >>text && [ "$(cat text)" = "one
two" ] || fail "append"
truncate -s 5 text && [ "$(stat -c %s text)" = 5 ] || fail "truncate"
ln text hard && [ "$(stat -c %h hard)" = 2 ] || fail "hard link"
mv text moved && [ ! -e text ] && [ -e moved ] || fail "rename"
exec 7<moved && rm moved && [ "$(head -c 3 <&7)" = one ] || fail "removed while it is open"
exec 7<&-
mkdir d && mkdir d 2>/dev/null && fail "made twice"
rmdir folder 2>/dev/null && fail "not empty, and removed"
rmdir d || fail "rmdir"
chmod 600 hard && [ "$(stat -c %a hard)" = 600 ] || fail "chmod"
touch -d @1000000000 hard && [ "$(stat -c %Y hard)" = 1000000000 ] || fail "time"
mkdir many && (cd many && for i in $(seq 400); do : >file$i; done) && [ "$(ls many | wc -l)" = 400 ] || fail "listing"
for i in 1 2 3 4; do (for j in $(seq 20); do echo $i-$j; done >by$i) & done
wait
[ "$(cat by1 by2 by3 by4 | wc -l)" = 80 ] || fail "several writers"
echo ready >from-guest
for i in $(seq 300); do [ -e from-host ] && break; usleep 100000; done
[ "$(cat from-host)" = hello ] || fail "what the host makes is not seen"
[ "$(cat changing)" = before ] || fail "changing: before"
echo seen >seen
for i in $(seq 300); do [ "$(cat changing)" = "after it" ] && break; usleep 100000; done
[ "$(cat changing)" = "after it" ] || fail "what the host changes is not seen"
cd /
mount -t 9p share /tmp 2>/dev/null && fail "one session too many"
mount -t 9p other /tmp 2>/dev/null && fail "a tag that is not there"
umount /mnt || fail "umount"
mount -t 9p share /mnt -o cache=never 2>/dev/null && fail "a bad option"
mount -t 9p share /mnt -o cache=loose,msize=64k || fail "cache=loose"
requests() { sed -n 's/^virtio.p9_requests *//p' /proc/lodger/counters; }
[ "$(sha1sum </mnt/blob)" = "$SUM" ] || fail "content that is to be cached"
before=$(requests)
[ "$(sha1sum </mnt/blob)" = "$SUM" ] || fail "cached content"
[ $(($(requests) - before)) -lt 10 ] || fail "a cached file was read again, in $(($(requests) - before)) requests"
mount -o remount,ro /mnt && (: >/mnt/no) 2>/dev/null && fail "read-only"
umount /mnt && mount -t 9p share /mnt || fail "mounted again"
echo all is well
GUEST
)

# The host's side of the conversation.
host() {
    for _ in $(seq 1200); do [ -e "$share/from-guest" ] && break; sleep 0.1; done
    echo before >"$share/changing"
    echo hello >"$share/from-host.new" && mv "$share/from-host.new" "$share/from-host"
    for _ in $(seq 1200); do [ -e "$share/seen" ] && break; sleep 0.1; done
    echo "after it" >"$share/changing"
}

for machine in "--cpus 1" "--cpus 4 --machine q35 --variant kasan"; do
    host &
    speaker=$!
    # shellcheck disable=SC2086
    run "$lodger" run --timeout 200 $machine --share "$share" -- /bin/busybox sh -c \
        "mkdir -p /mnt; mount -t 9p share /mnt; SUM='$sum'; $guest"
    kill "$speaker" 2>/dev/null
    wait
    expect_output "a shared folder ($machine)" "all is well"$'\n'
    cmp -s "$share/blob" "$share/folder/copy" || fail "the copy is on the host" "it differs"
    [ "$(cat "$share/hard" 2>/dev/null)" = "one"$'\n'"t" ] || fail "what was written is on the host" "it is not"
    [ "$(find "$share/many" -type f | wc -l)" -eq 400 ] || fail "the files are on the host" "not 400"
    rm -rf "$share"/{many,from-host,from-guest,seen,hard,changing} "$share"/by* "$share"/folder/*
done

run "$lodger" run --share "$work/nowhere" -- /bin/true
expect "a folder that is not there" 126 "nowhere"
finish
