#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: Debian's fio (psync, libaio, io_uring with O_DIRECT, and buffered) verifies what it wrote to a file on ext4, SQLite
# finds its database whole, a full disk says so and is usable again; the programs themselves are run from the disk. e2fsck
# finds nothing wrong.
# Method: an image that mke2fs makes with the programs and their libraries; a guest with two vCPUs.
. tests/cli/check.sh

image=$work/image programs=$work/programs
mkdir -p "$programs/lib"
for program in fio sqlite3; do
    cp "$(command -v $program)" "$programs/" || exit 77
    ldd "$programs/$program" | grep -o '/[^ ]*' | while read -r library; do cp -Ln "$library" "$programs/lib/"; done
done
truncate -s 200M "$image"
mke2fs -q -F -t ext4 -b 4096 -d "$programs" "$image" >/dev/null

cat >"$work/guest.sh" <<'END'
mkdir -p /mnt
mount -t ext4 /dev/vda /mnt && cd /mnt || exit 9
run="/mnt/lib/ld-linux-x86-64.so.2 --library-path /mnt/lib"
check="--verify=crc32c --do_verify=1 --verify_fatal=1 --thread --minimal"
for engine in psync libaio io_uring; do
    $run ./fio --name=$engine --filename=f-$engine --size=6m --rw=randrw --bs=4k --ioengine=$engine --iodepth=8 \
        --direct=1 --fsync=64 $check >out 2>&1 || { cat out; exit 1; }
    echo "fio $engine"
done
$run ./fio --name=buffered --filename=f-buffered --size=12m --rw=randwrite --bsrange=1k-64k --ioengine=psync \
    --fallocate=none $check >out 2>&1 || { cat out; exit 1; }
echo "fio buffered"
$run ./sqlite3 t.db "create table t(a integer primary key, b text); pragma journal_mode=wal; begin;
    with recursive c(x) as (values(1) union all select x+1 from c where x<20000)
    insert into t select x, hex(randomblob(20)) from c; commit; delete from t where a%3=0; select count(*) from t;
    pragma integrity_check; vacuum; pragma integrity_check;" || exit 2
dd if=/dev/zero of=fill bs=64k 2>/dev/null && exit 3
rm fill
dd if=/dev/zero of=fill bs=1M count=20 2>/dev/null || exit 4
cd / && umount /mnt
END
run "$lodger" run --timeout 500 --cpus 2 --disk "$image" -- /bin/busybox sh -c "$(cat "$work/guest.sh")"
expect_output "programs" "fio psync"$'\n'"fio libaio"$'\n'"fio io_uring"$'\n'"fio buffered"$'\n'"wal"$'\n'"13334"$'\n'"ok"$'\n'"ok"$'\n'
expect "programs end well" 0
run e2fsck -fn "$image"
expect "e2fsck" 0
exit $((failures != 0))
