#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: QEMU killed at any moment while a guest writes leaves a file system that is whole after the journal has been replayed,
# and everything that fsync had promised is there.
# Method: tests/ext4/worker.c says after each fsync what is on the disk now. QEMU is killed after a random time. Then, in
# turn, e2fsck replays the journal of a copy and checks it, or the next guest replays the disk itself, compares it with what
# was said, unmounts it, and e2fsck checks that. ROUNDS (default 3) or the first argument: how many times. A line for each
# round as it ends, and a summary, also when it is interrupted; KEEP=FOLDER keeps the disk and what was said of a failure.
. tests/cli/check.sh

worker=$PWD/out/host/guest/ext4_worker
rounds=${1:-${ROUNDS:-3}}
seed=${SEED:-$RANDOM}
image=$work/image promises=0 done_rounds=0 replayed=0 kind=
RANDOM=$seed
echo "SEED=$seed"

# shellcheck disable=SC2046,SC2317
summary() {
    echo "$done_rounds of $rounds rounds in $SECONDS s: $promises promises compared, $replayed disks replayed by e2fsck," \
        "$done_rounds by the guest, $failures failures (SEED=$seed)"
    kill $(jobs -p) 2>/dev/null
    rm -rf "$work"
}
trap summary EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

one_round() { # NUMBER
    local number=$1 child qemu kept start=$SECONDS
    : >"$work/said"
    "$lodger" run --timeout 120 --cpus 2 --disk "$image" -- "$worker" mount promise 3 "$((seed + number))" \
        >"$work/said" 2>"$work/err" </dev/null &
    child=$!
    for _ in $(seq 600); do
        if [ -s "$work/said" ]; then break; fi
        sleep 0.1
    done
    sleep "$((RANDOM % 3)).$((RANDOM % 10))"
    qemu=$(pgrep -P "$child" qemu)
    if [ -n "$qemu" ]; then kill -9 "$qemu"; fi
    wait "$child" 2>/dev/null
    code=0
    if [ ! -s "$work/said" ]; then cp "$work/err" "$work/out"; fail "round $number: nothing was written"; fi
    if [ $((number % 2)) -eq 0 ]; then
        cp "$image" "$work/copy"
        e2fsck -y -E journal_only "$work/copy" >/dev/null 2>&1
        run e2fsck -fn "$work/copy"
        [ "$code" -eq 0 ] || fail "round $number: e2fsck after its own replay"
        replayed=$((replayed + 1))
    fi
    code=0
    "$lodger" run --timeout 120 --disk "$image" -- "$worker" mount verify <"$work/said" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" -eq 0 ] || fail "round $number: promises"
    kept=$(sed -n 's/ promises.*//p' "$work/out" | tail -n 1)
    promises=$((promises + ${kept:-0}))
    run e2fsck -fn "$image"
    [ "$code" -eq 0 ] || fail "round $number: e2fsck after the guest's replay"
    done_rounds=$((done_rounds + 1))
    echo "round $number of $rounds ($kind): ${kept:-0} promises compared, $failures failures, $((SECONDS - start)) s"
    if [ "$failures" -ne 0 ] && [ -n "${KEEP:-}" ]; then cp "$image" "$work/said" "$KEEP"; fi
}

for number in $(seq "$rounds"); do
    if [ $((number % 25)) -eq 1 ]; then
        rm -f "$image"
        truncate -s 96M "$image"
        case $((number / 25 % 3)) in
        0) kind="blocks of 4 KiB" options=(-b 4096) ;;
        1) kind="blocks of 1 KiB" options=(-b 1024) ;;
        2) kind="no checksums" options=(-b 4096 -O ^metadata_csum) ;;
        esac
        mke2fs -q -F -t ext4 "${options[@]}" "$image"
    fi
    one_round "$number"
    if [ "$failures" -ne 0 ]; then break; fi
done
exit $((failures != 0))
