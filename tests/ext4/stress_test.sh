#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: several writers on four vCPUs get back what they wrote, the lock checker and KASAN find nothing, and e2fsck
# finds nothing afterwards.
# Method: tests/ext4/worker.c on fresh images, which are unmounted and checked.
. tests/cli/check.sh

worker=$PWD/out/host/guest/ext4_worker
try() { # NAME STEPS MKFS... -- RUN...
    local name=$1 steps=$2 image=$work/image make=()
    shift 2
    while [ "$1" != -- ]; do make+=("$1") && shift; done
    shift
    rm -f "$image"
    truncate -s 64M "$image"
    mke2fs -q -F "${make[@]}" "$image" >/dev/null 2>&1
    # The program comes along as an argument's folder: lodger packs the program that it runs.
    run "$lodger" run --timeout 300 --disk "$image" "$@" -- "$worker" mount stress 4 "$steps" "${SEED:-1}"
    expect "$name: content" 0
    run e2fsck -fn "$image"
    expect "$name: e2fsck" 0
}

try "release, 4 KiB" 400 -t ext4 -b 4096 -- --cpus 4
try "debug, 1 KiB" 250 -t ext4 -b 1024 -- --cpus 4 --variant debug
try "kasan" 150 -t ext4 -b 4096 -- --cpus 2 --variant kasan
try "ext2, debug" 150 -t ext2 -b 1024 -- --cpus 4 --variant debug
exit $((failures != 0))
