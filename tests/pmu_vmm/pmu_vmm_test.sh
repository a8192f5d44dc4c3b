#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: the drivers of the processor's counters work on each kind of processor that perf/pmu/model.c knows: counts are the
# model's, no overflow is lost, wherever its interrupt comes.
# Method: the model VMM takes QEMU's place in the KVM lab and runs one program on each of them (vmm.c, counters.c).
. tests/cli/check.sh

run "$lodger" lab kvm --timeout 200 --cpus 1 --vmm out/host/guest/pmu_vmm -- out/host/guest/pmu_counters
expect "counters in the model VMM" 0
grep -a ': code ' "$work/out"
# Each kind ran, and together they had as many overflows as the claim is about.
awk '/: code 0, / { kinds++; for (i = 1; i < NF; i++) if ($(i + 1) == "overflows,") sum += $i }
    END { exit !(kinds >= 12 && sum >= 10000) }' "$work/out" || fail "overflows" "fewer than 10,000, or a processor is missing"
run "$lodger" run --vmm out/host/guest/pmu_vmm -- out/host/guest/pmu_counters
expect "not without a lab" 126 "--vmm"
finish
