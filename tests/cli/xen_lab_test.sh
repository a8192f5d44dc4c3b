#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The Xen lab, and Xen's front ends against a Linux dom0: console, exit codes, disks through blkback with each way of granting, a
# back end that goes and comes while the disk is read and written; and what `lodger xl` prints.
# shellcheck source-path=SCRIPTDIR
. tests/cli/check.sh

disk=$work/disk.img
head -c 16M /dev/urandom >"$disk"
sum=$(md5sum <"$disk" | cut -d' ' -f1)

# in_domain COMMAND: runs a shell command in a domain with two vCPUs and the disk.
in_domain() {
    local command=$1
    shift
    run "$lodger" lab xen --cpus 2 --disk "$disk" --timeout 150 --log "$work/log" "$@" -- /bin/busybox sh -c "$command"
}

# found NAME TEXT...: the last run() ended with 0 and printed each of the texts.
found() {
    local name=$1 text
    shift
    for text in "$@"; do
        if [ "$code" -ne 0 ] || ! grep -qF -- "$text" "$work/out"; then
            fail "$name" "expected code 0 and: $text" "$(tail -n 15 "$work/log")"
            return
        fi
    done
    echo "ok $name"
}

in_domain 'tty; exit 7'
if [ "$code" -eq 7 ] && grep -q /dev/hvc0 "$work/out"; then
    echo "ok console and exit code"
else
    fail "console and exit code" "$(tail -n 15 "$work/log")"
fi

in_domain 'md5sum /dev/xvda; dd if=/dev/xvda bs=1M iflag=direct 2>/dev/null | md5sum; grep xen.blk_indirect /proc/lodger/counters'
found "a disk is read, with direct grants" "$sum  /dev/xvda" "$sum  -"

in_domain 'md5sum /dev/xvda; grep -c . /proc/partitions' --append "xen_blk_persistent=on xen_grant_v2=on xen_blk_indirect=off xen_fifo=off"
found "persistent grants, version 2, small requests, 2-level events" "$sum  /dev/xvda"

# The back end is taken away and comes again to the same ring while the guest writes and reads back; then it closes, and wants to
# be connected anew.
cat >"$work/dom0" <<'EOF'
(
    back=/local/domain/0/backend/vbd/$id/51712
    driver=/sys/bus/xen-backend/drivers/vbd
    until [ "$(xenstore-read $back/state)" = 4 ]; do sleep 0.1; done
    sleep 1
    echo "vbd-$id-51712" >$driver/unbind
    sleep 0.5
    echo "vbd-$id-51712" >$driver/bind
    sleep 2
    xenstore-write $back/state 5
) &
EOF
in_domain 'n=0; until [ $n -ge 20 ] && { grep -q "xen.blk_connections [2-9]" /proc/lodger/counters || [ $n -gt 60 ]; }; do
        dd if=/dev/urandom of=/a bs=64k count=2 2>/dev/null
        dd if=/a of=/dev/xvda bs=64k seek=$((n * 4)) oflag=direct 2>/dev/null || echo write failed
        dd if=/dev/xvda of=/b bs=64k skip=$((n * 4)) count=2 iflag=direct 2>/dev/null || echo read failed
        cmp /a /b || echo differs; n=$((n + 1)); sleep 0.1
    done; grep xen.blk_connections /proc/lodger/counters; echo all rounds' --dom0 "$work/dom0"
found "a back end that goes and comes" "all rounds" "xen.blk_connections 2"
if grep -qE "failed|differs" "$work/out"; then
    fail "what was read is what was written"
fi

run "$lodger" xl --cpus 3 --memory 100M --append 'a="b c"' --disk "$disk" busybox
found "a domain's configuration" 'type = "pvh"' 'vcpus = 3' 'memory = 100' 'cmdline = "a=\x22b c\x22"' "target=$disk"

finish
