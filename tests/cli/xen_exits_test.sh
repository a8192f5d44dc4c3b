#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: on Xen, too, exits per operation are counted beside Debian's kernel in the same run: this kernel needs none to read the
# clock, and fewer than Linux for an idle second and a timer; `lodger bench` counts there as well.
# Method: `lab xen --exits` and `bench --measure exits --hypervisor xen`, whose counts (never times) are compared.
# shellcheck source-path=SCRIPTDIR
. tests/cli/check.sh

# exits KERNEL OPERATION: what the table says in its column `all`, with the interrupts of the host taken off: it has its own.
exits() {
    awk -v kernel="$1" -v operation="$2" 'NF > 8 && $2 == "lodger" { name = $1 }
        $2 == kernel && name == operation || $1 == kernel && name == operation {
            first = $1 == kernel ? 2 : 3
            print $first - $(first + 5)
            exit
        }' "$work/out"
}

# holds NAME EXPRESSION: judges an expression of awk.
holds() {
    if [ "$(awk "BEGIN { print ($2) ? 1 : 0 }" </dev/null 2>/dev/null)" = 1 ]; then
        echo "ok $1"
    else
        fail "$1" "does not hold: $2"
    fi
}

run "$lodger" lab xen --exits --nonsense
expect "a bad option of --exits" 126 "usage"
run "$lodger" lab xen --exits nonsense
expect "an unknown operation" 126 "not all of these operations"
run "$lodger" bench --hypervisor vmware
expect "an unknown hypervisor" 126 "not kvm or xen"

run "$lodger" lab xen --exits idle timer clock
expect "both kernels are measured" 0
for operation in idle timer clock; do
    declare "here_$operation=$(exits lodger $operation)" "linux_$operation=$(exits linux $operation)"
done
# shellcheck disable=SC2154
{
    holds "Linux was counted, too" "$linux_idle + 0 > 3 && $linux_timer + 0 > 2"
    holds "an idle second" "$here_idle + 0 > 0 && $here_idle < $linux_idle"
    # One hypercall to arm and one HLT at least; two more for the interrupt window and another CPU's turn.
    holds "a timer, armed and fired" "$here_timer + 0 >= 2 && $here_timer <= 6"
    holds "reading the clock" "$here_clock < 0.01 && $linux_clock < 0.01"
}

run "$lodger" bench --measure exits --hypervisor xen --alone --no-history --csv null nanosleep
expect "bench counts on Xen" 0
if grep -q '^null,.*exits' "$work/out" && grep -q '^nanosleep,.*exits' "$work/out"; then
    echo "ok figures of bench"
else
    fail "figures of bench"
fi
finish
