#!/bin/sh
# SPDX-License-Identifier: MIT
#
# by-symbol.sh BENCHMARK [COUNT]: where the instructions of one operation go. Runs the benchmark twice with -icount, with COUNT and
# three times as many operations (default 200), lets QEMU print every instruction, and shows the difference by kernel symbol:
# instructions an operation, how often the function is entered an operation, and instructions each time (without what it calls).
# Exact, not sampled; a benchmark of the disk waits, so that its figures differ a little from run to run. ./lodger bench BENCHMARK must have run once, so that kernel and program are built.
set -eu

root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
name=$1
low=${2:-200}
high=$((low * 3))
work=$(mktemp -d /tmp/by-symbol.XXXXXX)
trap 'rm -rf "$work"' EXIT
kernel=$root/out/release/lodger.elf
truncate -s 32M "$work/disk"

# Counts of program counters of a run with $1 operations go to $work/$1.
count() {
    "$root/lodger" run --dry-run --icount -- "$root/out/host/guest/bench" "$name" --disk /dev/vda --count "$1" >"$work/command" 2>/dev/null
    cp "$root/out/run/initrd.cpio" "$work/initrd"
    qemu-system-x86_64 -machine microvm -accel tcg,thread=single -cpu max,-erms,-fsrm -smp 1 -m 512M \
        -icount shift=0,sleep=on -nodefaults -no-user-config -no-reboot -display none -serial null \
        -chardev null,id=code -device isa-debugcon,iobase=0x504,chardev=code \
        -device isa-debug-exit,iobase=0x501,iosize=1 -chardev "file,id=out,path=$work/output" \
        -device isa-debugcon,iobase=0x502,chardev=out -global virtio-mmio.force-legacy=false -drive "if=none,id=disk,format=raw,file=$work/disk" \
        -device virtio-blk-device,drive=disk -kernel "$kernel" -initrd "$work/initrd" \
        -append "stdio=streams block.poll=0" -singlestep -d exec,nochain -D /dev/fd/3 3>&1 >/dev/null 2>&1 |
        awk '/^Trace/ { split($4, part, "/"); seen[part[2]]++ } END { for (pc in seen) print pc, seen[pc] }' >"$work/$1"
    grep -q "^=bench $name verified" "$work/output" || { cat "$work/output" >&2; exit 1; }
}

count "$low"
count "$high"
{
    nm "$kernel" | awk '$2 ~ /[tTwW]/ { print $1, "symbol", $3 }'
    awk '{ print $1, "low", $2 }' "$work/$low"
    awk '{ print $1, "high", $2 }' "$work/$high"
} | sort -s -k1,1 | awk -v "operations=$((high - low))" '
    # A tenth of the count is run to warm up.
    BEGIN { operations *= 1.1; current = "user" }
    # User addresses come before the kernel in this order.
    $2 == "symbol" { current = $3; start[$3] = $1; next }
    { sign = $2 == "high" ? 1 : -1; sum[current] += sign * $3; if (start[current] == $1) entered[current] += sign * $3 }
    END {
        for (name in sum) {
            total += sum[name]
            if (sum[name] > operations / 2)
                printf "%10.1f %8.2f %8.1f  %s\n", sum[name] / operations, entered[name] / operations,
                    entered[name] ? sum[name] / entered[name] : 0, name | "sort -rn"
        }
        close("sort -rn")
        printf "%10.1f in all\n", total / operations
    }'
