#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: `lodger stat` shows what a running guest's disk does: how many requests go to the device at a time, how often it is
# notified and interrupts, and that direct I/O copies nothing while buffered I/O does.
# Method: a guest that reads its disk directly, and then through its cache.
. tests/cli/check.sh

guest=
trap 'kill $guest 2>/dev/null; wait; rm -rf "$work"' EXIT
truncate -s 32M "$work/disk.img"

# read_disk FLAG: starts a guest that reads its disk for ever. Emptied, the cache copies anew.
read_disk() {
    "$lodger" run --name "stat-$1" --memory 64M --timeout 300 --disk "$work/disk.img" -- /bin/busybox sh -c \
        "echo up; while :; do dd if=/dev/vda of=/dev/null bs=64k $2 2>/dev/null; done" >"$work/guest" 2>&1 </dev/null &
    guest=$!
    for _ in $(seq 600); do
        grep -q up "$work/guest" && break
        sleep 0.1
    done
}

# ratio NAME: of the JSON line in $work/out; nothing if it is not there.
ratio() {
    grep -oE "\"$1\": ?[0-9.]+" "$work/out" | grep -oE '[0-9.]+$'
}

# holds NAME VALUE CONDITION: awk's condition on x.
holds() {
    if [ -n "$2" ] && awk -v "x=$2" "BEGIN { exit !($3) }"; then echo "ok $1 ($2)"; else fail "$1" "not $3: '$2'"; fi
}

read_disk direct iflag=direct
run "$lodger" stat --json --duration 1 stat-direct
expect "a guest that reads directly" 0
holds "requests are counted" "$(ratio block.completed)" 'x > 0'
holds "requests a batch" "$(ratio block.submitted/block.batches)" 'x >= 1'
holds "notifications a buffer" "$(ratio virtio.notifications/virtio.buffers)" 'x > 0 && x < 1.1'
holds "interrupts a buffer" "$(ratio virtio.interrupts/virtio.buffers)" 'x < 1.1'
holds "nothing is copied" "$(ratio io.copied_bytes/block.submitted)" 'x == 0'
run "$lodger" stat --duration 1 stat-direct
if grep -q 'virtio buffers a batch' "$work/out"; then echo "ok in words"; else fail "in words" "no such line"; fi
run "$lodger" stat --duration 1 stat-direct 'block.*'
if grep -q 'requests a batch' "$work/out" && ! grep -q virtio "$work/out"; then
    echo "ok only what was asked for"
else
    fail "only what was asked for" "other lines, or none"
fi
kill $guest
wait $guest 2>/dev/null

read_disk buffered ''
run "$lodger" stat --json --duration 1 stat-buffered
expect "a guest that reads through its cache" 0
holds "copies are counted" "$(ratio io.copied_bytes)" 'x > 0'
run "$lodger" stat stat-gone
expect "another name" 126 "stat-gone"
kill $guest
wait $guest 2>/dev/null

run "$lodger" stat --nonsense
expect "a bad option" 126 "help"
run "$lodger" stat --help
expect_output "help" "$("$lodger" perf stat --help)"$'\n'
finish
