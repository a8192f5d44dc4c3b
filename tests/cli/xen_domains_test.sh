#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: on Xen the kernel does the same without each of the hypervisor's features, with 8 vCPUs and with fewer grants than its
# devices want; the toolstack sees how it ended; it gives memory back and takes it again; and it goes on when a domain's toolstack
# writes nonsense into xenstore, complaining once about each device that can't be.
# Method: one host. Its dom0 first runs a small domain for each boot option and each way to end, one after the other, then does
# the rest to the domain that `lodger lab` runs. Everything that happened is in the host's log.
# shellcheck source-path=SCRIPTDIR
. tests/cli/check.sh

features=(xen_vcpu_info xen_domain_vector xen_vcpu_vector xen_fifo xen_2level xen_clock xen_wall_clock xen_timer xen_ipi xen_multicall
    xen_run_state xen_tlb_flush xen_locks xen_cpu_start)

cat >"$work/guest.txt" <<'EOF2'
file    /bin/busybox /bin/busybox 755
links   /bin/busybox /bin sh cat grep sleep reboot poweroff
file    /features program:features 755
file    /program program
command /bin/busybox sh /program
EOF2

# What each domain runs, by its boot option task=. The one of `lodger lab` has none: it waits until its memory has come back.
cat >"$work/program" <<'EOF2'
case $(cat /proc/cmdline) in
*task=reboot*) reboot -f ;;
*task=poweroff*) poweroff -f ;;
*task=exit*) exit 9 ;;
*task=features*) exec /features 5 ;;
esac
count() {
    set -- $(grep "^xen.$1 " /proc/lodger/counters) 0 0
    echo $2
}
until [ "$(count balloon_pages_given)" -ge 4096 ] && [ "$(count balloon_pages_taken)" -ge 4096 ]; do sleep 0.2; done
/features 5
EOF2

# In dom0: run_domain NAME TASK [LINE...], with lines of its configuration.
{
    cat <<'EOF2'
run_domain() {
    local name=$1 option=$2
    shift 2
    {
        grep -v -e ^name -e ^cmdline -e ^vif -e ^disk -e ^vcpus -e ^memory /lab/domain.cfg
        printf '%s\n' 'name = "other"' "cmdline = \"$option\"" 'vcpus = 3' 'memory = 40' "$@"
    } >/run/other.cfg
    xl create -e -q /run/other.cfg >/dev/null 2>&1
    other=$(xl domid other)
    wait_for_end "$other"
    echo "domain $name: reason $why: $(grep -c -x 'passed.*' /var/log/xen/console/guest-other.log) passed"
    grep -e FAIL -e 'xen: .*error' /var/log/xen/console/guest-other.log
    xl destroy other
    rm /var/log/xen/console/guest-other.log
}
run_domain poweroff task=poweroff
run_domain reboot task=reboot
run_domain crash init=/nonexistent
run_domain exit task=exit
run_domain 8-cpus task=features 'vcpus = 8'
run_domain grants 'task=features xen_grant_v2=on' 'max_grant_frames = 4' 'vif = [ "bridge=xenbr0" ]'
EOF2
    printf "run_domain %s 'task=features %s=off'\n" $(for feature in "${features[@]}"; do echo "$feature" "$feature"; done)
    cat <<'EOF2'
store=/local/domain/$id/device/vbd
# is_written NODE TEXT: waits until it stands there.
is_written() {
    until xenstore-read "$1" 2>/dev/null | grep -q "$2"; do sleep 0.2; done
}
has_memory() {
    until xl list lodger | grep -q " $1 "; do sleep 0.2; done
}
(
    # Devices whose folders make no sense: one that the domain may not write to, with nothing in it, and numbers that are none;
    # then, each written at once, no back end, a domain that can't be, a path that is too long, a back end that is not there.
    xenstore-write $store/70000/state 1 $store/twelve/state 1 $store/-1/state 1 $store/99999999999999999999/state 1
    xenstore-chmod $store "n$id" r0
    xenstore-write $store/70001/state 1
    back=/local/domain/0/backend/vbd
    xenstore-write $store/70002/state 1 $store/70002/backend $back/x $store/70002/backend-id 99999999999999999999
    xenstore-write $store/70003/state 1 $store/70003/backend $back/$(printf %0600d 0) $store/70003/backend-id 0
    xenstore-write $store/70004/state 1 $store/70004/backend $back/nothing $store/70004/backend-id 0
    for number in 70001 70002 70003 70004; do
        is_written $store/$number/error .
        is_written $store/$number/state 6
        echo "nonsense $number: $(xenstore-read $store/$number/error)"
    done
    # Then one of them is a device again as far as its state says.
    xenstore-write $store/70004/error "" $store/70004/state 1
    is_written $store/70004/error .
    echo "nonsense again"
    # The network card's back end closes, and wants to be connected anew.
    card=/local/domain/0/backend/vif/$id/0/state
    is_written $card 4
    xenstore-write $card 5
    is_written $card 4
    xl mem-set lodger 44
    has_memory 44
    # A target that makes no sense is none. (xl could not read it either.)
    target=/local/domain/$id/memory/target
    before=$(xenstore-read $target)
    xenstore-write $target everything
    sleep 0.5
    xenstore-write $target "$before"
    xl mem-set lodger 64
    has_memory 64
    echo "memory is back"
) &
EOF2
} >"$work/dom0"

# logged NAME COUNT PATTERN: so many lines of the host's log match.
logged() {
    local found
    found=$(grep -a -c -E -- "$3" "$work/log")
    if [ "$found" -eq "$2" ]; then
        echo "ok $1"
    else
        fail "$1" "expected $2 times in the log, found $found: $3"
    fi
}

"$lodger" pack --programs out/host/guest "$work/guest.txt" "$work/guest.cpio" || fail "a guest with the program"
run "$lodger" lab xen --cpus 4 --memory 64M --initrd "$work/guest.cpio" --dom0 "$work/dom0" --log "$work/log" --timeout 500
expect "a domain whose toolstack plays tricks" 0
for feature in "${features[@]}"; do
    logged "without $feature" 1 "domain $feature: reason 0: 1 passed"
done
logged "8 vCPUs" 1 "domain 8-cpus: reason 0: 1 passed"
logged "too few grants" 1 "domain grants: reason 0: 1 passed"
logged "too few grants for a network card" 1 "device/vif/0: the network card can't be started \(error 28\)"
logged "power-off" 1 "domain poweroff: reason 0:"
logged "reboot" 1 "domain reboot: reason 1:"
logged "crash" 1 "domain crash: reason crash:"
logged "exit code 9" 1 "domain exit: reason e:"
logged "nonsense is told to the toolstack" 4 "^nonsense 7000[1-4]: -?[0-9]+ "
logged "and to the log, once" 4 "device/vbd/7000[0-3]: no back end \(error"
logged "and once more when it is a device again" 2 "device/vbd/70004: the disk can't be started \(error"
logged "a network back end that goes and comes" 1 "eth0: the back end is there again"
logged "memory went and came" 1 "memory is back"
[ "$failures" -eq 0 ] || grep -a -v '^(XEN)' "$work/log"
finish
