#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: the other commands of `lodger perf` say what is so: tracepoints come through perf sched, perf trace and perf script;
# stat's counters and top's pages agree with what the guest does; pictures are well-formed and hold
# every function; analyze names what is in its evidence and nothing else; merge puts host and guest on one clock.
# Method: tree.c in a guest; made-up counters for analyze.
. tests/cli/check.sh

export HOME=$work
guest=
trap 'kill $guest 2>/dev/null; wait; rm -rf "$work"' EXIT

# expect_text NAME TEXT FILE
expect_text() {
    if grep -qE -- "$2" "$3"; then echo "ok $1"; else cp "$3" "$work/out"; fail "$1" "expected: $2"; fi
}

"$lodger" run --name commands --cpus 2 --memory 64M --timeout 380 -- out/host/guest/tree 3 >"$work/guest" 2>&1 </dev/null &
guest=$!
for _ in $(seq 400); do
    "$lodger" perf attach commands >"$work/attach" 2>/dev/null && break
    sleep 0.1
done
expect_text "attach: kernel" 'kernel +/.*/lodger.elf, build-id [0-9a-f]{40}' "$work/attach"
expect_text "attach: memory is mapped" 'memory +64 MiB, mapped' "$work/attach"
run "$lodger" perf attach --list commands
expect_text "attach: tracepoints" '^sched:sched_switch$' "$work/out"
run "$lodger" perf attach --json
expect_text "attach: JSON" '"name": ?"commands"' "$work/out"

# Tracepoints, in perf's own commands.
run "$lodger" perf record --wait 60 --duration 2 -e 'sched:*' -o "$work/sched.data" commands
expect "record tracepoints" 0
run perf sched -i "$work/sched.data" timehist
expect_text "perf sched timehist" '\] +tree\[[0-9]+\] +[0-9.]+ +[0-9.]+ +[0-9.]+' "$work/out"
run "$lodger" perf report --sched "$work/sched.data"
expect_text "report --sched" 'tree\[[0-9]+\]' "$work/out"
run perf sched -i "$work/sched.data" latency
expect_text "perf sched latency" '^ +ticker:' "$work/out"
run perf script -i "$work/sched.data"
expect_text "wake-ups of the ticker" 'sched:sched_wakeup: comm=ticker pid=[0-9]+' "$work/out"
run "$lodger" perf record --wait 60 --duration 2 -e 'raw_syscalls:*' -o "$work/syscalls.data" commands
expect "record system calls" 0
run perf trace -i "$work/syscalls.data"
cat "$work/out" "$work/err" >"$work/trace"
expect_text "perf trace" 'ticker/[0-9]+ +(clock_nanosleep|nanosleep|getppid)\(' "$work/trace"
run "$lodger" perf trace --wait 60 --duration 1 -e sched:sched_switch commands
expect "trace" 0
expect_text "trace prints as it happens" 'sched:sched_switch: prev_comm=' "$work/out"
run "$lodger" perf record --wait 60 --duration 1 -e 'sched:nonsense' -o "$work/x.data" commands
expect "an unknown tracepoint" 126 "no tracepoint sched:nonsense"

# Counters: the ticker sleeps, so the timer is armed.
run "$lodger" perf stat --json --duration 1 commands 'timer.*'
expect "stat" 0
expect_text "stat counts" '"timer.fired": ?[1-9]' "$work/out"
run "$lodger" perf stat -I 300 --duration 1 commands
expect_text "stat by interval" 'timer.interrupts' "$work/out"

run "$lodger" perf top --wait 60 --stdio --iterations 1 -d 2 commands
expect "top" 0
expect_text "top: functions" '[0-9.]+% +/bin/tree +\[\.\] spin_heavy' "$work/out"
expect_text "top: tasks" '[0-9.]+% +[0-9]+ +tree ' "$work/out"
expect_text "top: vCPUs" '^ +1 +[0-9.]+% +[0-9.]+%' "$work/out"
: >"$work/screen"
TERM=xterm timeout 100 script -qfec "stty rows 30 cols 100; $lodger perf top --wait 60 -d 1 --iterations 3 commands" /dev/null >"$work/screen" 2>&1 </dev/null
expect_text "top on a terminal" 'spin_heavy' "$work/screen"

# Pictures.
run "$lodger" perf record --wait 60 --duration 2 -o "$work/tree.data" commands
run "$lodger" perf flamegraph --folded "$work/tree.data"
expect_text "folded call chains" ';tree;.*main;run;heavy;spin_heavy [0-9]+$' "$work/out"
run "$lodger" perf flamegraph -o "$work/flame.svg" "$work/tree.data"
expect "flamegraph" 0
expect_text "flame graph" '<title>spin_light \([0-9]+, [0-9.]+ %\)</title>' "$work/flame.svg"
run "$lodger" perf heatmap -o "$work/heat.svg" "$work/tree.data"
expect "heatmap" 0
expect_text "heat map" 'vCPU 1: [0-9]+ samples; tree: spin_' "$work/heat.svg"
for picture in flame heat; do
    if [ "$(grep -c '^</svg>$' "$work/$picture.svg")" = 1 ] && [ "$(grep -o '<g ' "$work/$picture.svg" | wc -l)" = "$(grep -o '</g>' "$work/$picture.svg" | wc -l)" ]; then
        echo "ok $picture: complete"
    else
        fail "$picture: complete" "its elements do not match"
    fi
done

# Analysis: made-up counters of ten seconds; only what they show is found.
# counters FILE NAME PER_SECOND STEAL_NS...
counters() {
    for second in $(seq 0 10); do
        printf '{"time_ns":%d000000000,"guest":"g","cpus":[{"steal_ns":%d,"idle_ns":0}],"counters":{"%s":%d}}\n' \
            $((second + 1)) $((second * ${4:-0})) "$2" $((second * $3))
    done >"$1.counters"
}
names() { sed -n 's/^ *"name": "\(.*\)",$/\1/p' "$work/out" | sort -u | grep -vE '^(hot|lock)$' | tr '\n' ' '; }
# finding NAME EXPECTED
finding() {
    if [ "$(names)" = "$2" ]; then echo "ok analyze: $1"; else fail "analyze: $1" "expected '$2', found '$(names)'"; fi
}
counters "$work/tree.data" tlb.shootdowns 50000
run "$lodger" perf analyze --json "$work/tree.data"
finding "a shootdown storm" "shootdowns "
counters "$work/tree.data" virtio.notifications 30000
run "$lodger" perf analyze --json "$work/tree.data"
finding "a notification storm" "notifications "
counters "$work/tree.data" tlb.shootdowns 10 300000000
run "$lodger" perf analyze --json "$work/tree.data"
finding "stolen time" "steal "
counters "$work/tree.data" tlb.shootdowns 10
run "$lodger" perf analyze --json "$work/tree.data"
finding "nothing" ""
cp "$work/tree.data" "$work/base.data"
cp "$work/tree.data.counters" "$work/base.data.counters"
counters "$work/tree.data" tlb.shootdowns 1000
run "$lodger" perf analyze --json --baseline "$work/base.data" "$work/tree.data"
finding "a rate that has changed" "changed-rate "
run "$lodger" perf analyze "$work/tree.data"
expect_text "analyze: in words" 'samples in [0-9.]+ s on 2 vCPUs' "$work/out"

# Host and guest in one file.
perf record -q -k CLOCK_MONOTONIC --sample-identifier --sample-cpu -e cpu-clock -F 99 -p "$(pgrep -f 'guest=commands,debug-threads' | head -n 1)" \
    -o "$work/host.data" sleep 10 >"$work/host" 2>&1 &
host=$!
sleep 1
run "$lodger" perf record --wait 60 --duration 2 -o "$work/guest.data" commands
if wait $host; then
    run "$lodger" perf merge -o "$work/merged.data" "$work/host.data" "$work/guest.data"
    expect "merge" 0
    perf script -i "$work/merged.data" --no-inline -F comm,time,machine_pid,vcpu,event 2>/dev/null >"$work/merged"
    expect_text "merged: the guest" '^VM: *[0-9]+ VCPU:00[01] .*tree' "$work/merged"
    expect_text "merged: its host" '^[^V].*CPU [01]/TCG' "$work/merged"
    expected=$(($(perf script -i "$work/host.data" -F time 2>/dev/null | grep -c :) + $(perf script -i "$work/guest.data" -F time 2>/dev/null | grep -c :)))
    if [ "$(grep -c : "$work/merged")" -ge "$expected" ]; then echo "ok merged: $expected samples"; else fail "merged: all samples" "of $expected"; fi
else
    echo "skipped: perf may not record here: $(tail -n 1 "$work/host")"
fi
run "$lodger" perf merge -o "$work/x.data" "$work/guest.data" "$work/guest.data"
expect "merge without a host" 126 "same event ids"

# Every command has its help.
for command in record report top stat trace flamegraph heatmap analyze merge attach; do
    run "$lodger" perf "$command" --help
    if [ "$code" -eq 0 ] && grep -q "usage: ./lodger perf $command" "$work/out"; then echo "ok $command --help"; else fail "$command --help" "no usage"; fi
done

finish
