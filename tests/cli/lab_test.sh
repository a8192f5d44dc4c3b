#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: `lodger lab kvm` runs a program in a guest on real KVM with its input, output and exit code passed through, says clearly
# what cannot work, leaves nothing behind when it is interrupted, and makes damaged files of its host again.
# Method: small programs in lab guests; bad options; a damaged snapshot; signals.
. tests/cli/check.sh

patience=(--timeout 120)

# Emulated, the host's own kernel stands still now and then while it patches its code for tracing (its watchdog says "soft
# lockup"): no fault of what is tested here. Then, and only then, once more.
run_on_host() {
    run "$@"
    if [ "$code" -eq 124 ] && grep -q 'qemu: .*watchdog: BUG: soft lockup' "$work/err"; then
        echo "unsteady: the lab's host stood still, again: $*"
        run "$@"
    fi
}

run_on_host "$lodger" lab kvm "${patience[@]}" -- /bin/busybox sh -c 'echo hello; echo err >&2; exit 37'
expect "exit code and standard error" 37 "err"
expect_output "standard output" "hello"$'\n'
run_on_host "$lodger" lab kvm "${patience[@]}" --cpus 4 --machine q35 -- /bin/busybox sh -c 'mount -t proc proc /proc 2>/dev/null; cat /proc/lodger/pv'
if grep -q kvm "$work/out"; then echo "ok the guest is on KVM"; else fail "the guest is on KVM" "/proc/lodger/pv does not say so"; fi
run_on_host "$lodger" lab kvm "${patience[@]}" --append init=/nonexistent -- /bin/busybox true
expect "a panic has its exit code and call chain" 125 "panic: "
run "$lodger" lab kvm --timeout 5 -- /bin/busybox sleep 1000
expect "time-out" 124 "did not end within 5 s"

run_on_host "$lodger" lab kvm "${patience[@]}" --counters -- /bin/busybox true
expect "the host's counters" 0 "HLT"
run "$lodger" run "${patience[@]}" --counters -- /bin/busybox true
expect "no counters without a host" 0 "there are none"
run "$lodger" lab
expect "no hypervisor" 126
run "$lodger" lab vmware
expect "an unknown hypervisor" 126
run "$lodger" lab kvm --memory 64G -- /bin/busybox true
expect "more memory than the host has" 126 "the lab's host has"
run "$lodger" lab kvm --firmware uefi -- /bin/busybox true
expect "UEFI" 126 "by PVH"
run "$lodger" lab kvm --exits --nonsense
expect "a bad option of --exits" 126 "usage"

# Interrupted: it ends at once and its QEMU with it.
for signal in INT TERM KILL; do
    "$lodger" lab kvm -- /bin/busybox sleep 1000 >"$work/out" 2>"$work/err" </dev/null &
    command=$!
    for _ in $(seq 100); do
        child=$(pgrep -P "$command" qemu | head -n 1)
        [ -n "$child" ] && break
        sleep 0.1
    done
    sleep 1
    kill -s "$signal" "$command"
    code=0
    wait "$command" 2>/dev/null || code=$?
    # A killed process may wait for a while to be collected.
    for _ in $(seq 50); do
        grep -qs '^State:[[:space:]]*[^Z]' "/proc/$child/status" || break
        sleep 0.1
    done
    if [ -z "$child" ]; then
        fail "SIG$signal" "its QEMU did not start"
    elif grep -qs '^State:[[:space:]]*[^Z]' "/proc/$child/status"; then
        fail "SIG$signal" "its QEMU is still there"
    else
        echo "ok SIG$signal leaves no QEMU"
    fi
done

# A damaged snapshot, in a cache of its own that shares the host's image.
if [ -d out/cache/lab ]; then
    mkdir "$work/cache"
    ln -s "$PWD"/out/cache/lab/image-* "$work/cache/"
    export LODGER_LAB_CACHE=$work/cache
    run "$lodger" lab kvm "${patience[@]}" -- /bin/busybox true
    expect "another cache" 0 "snapshot"
    # What it has at the end is the devices' state: QEMU refuses to do without.
    truncate -s -100000 "$work"/cache/host-*.state
    run "$lodger" lab kvm "${patience[@]}" -- /bin/busybox true
    expect "a damaged snapshot is noticed and made again" 0 "damaged"
    run "$lodger" lab kvm "${patience[@]}" -- /bin/busybox true
    expect "and works again" 0
    # A cache that cannot be written to.
    export LODGER_LAB_CACHE=/proc/nothing
    run "$lodger" lab kvm "${patience[@]}" -- /bin/busybox true
    expect "no place for the host" 126 "/proc/nothing"
fi
finish
