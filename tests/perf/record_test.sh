#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: `lodger perf record` of a running guest gives the ordinary perf every function, its callers
# and its share of the time; on 1, 2 and 4 vCPUs, on two guests at once, when attached a second time,
# of a stripped program; what goes wrong is said, and what was recorded can be read.
# Method: tree.c, whose call tree and shares are known; Debian's perf reads the recordings. Shares are
# judged by five standard errors of the number of samples.
. tests/cli/check.sh

export HOME=$work # perf's cache of build-ids
tree=out/host/guest/tree
guests=()
trap 'for pid in "${guests[@]}"; do kill "$pid" 2>/dev/null; done; wait; rm -rf "$work"' EXIT

# start NAME CPUS PROGRAM [OPTIONS]: a guest that runs it on all CPUs, in the background; "${arguments[@]}" instead of their number.
arguments=()
start() {
    "$lodger" run --name "$1" --cpus "$2" --memory 64M --timeout 380 "${@:4}" -- "$3" "${arguments[@]:-$2}" >"$work/$1.out" 2>&1 </dev/null &
    guests+=($!)
    for _ in $(seq 400); do
        "$lodger" perf attach --json "$1" >"$work/attach" 2>/dev/null && return
        sleep 0.1
    done
    code=1
    cp "$work/$1.out" "$work/err"
    fail "guest $1 starts" "no descriptor after 40 s"
    finish
}

# shares FILE TASK: judges the shares of the three leaves and their callers in a recording.
shares() {
    perf script -i "$1" --no-inline --comms "${2:-tree}" -F comm,ip,sym 2>/dev/null | awk '
        function finish_sample() { if (chain != "") { count[chain]++; all++ } chain = "" }
        /^[^ \t]/ { next }
        NF == 0 { finish_sample(); next }
        /^ *[a-z]/ && NF == 1 { next }
        { if ($2 != "") chain = chain ";" $2 }
        END {
            finish_sample()
            for (c in count) {
                if (c ~ /^;spin_heavy;heavy;run;main/) heavy += count[c]
                else if (c ~ /^;spin_light;light;run;main/) light += count[c]
                else if (c ~ /^;spin_bare;light;run;main/) bare += count[c]
            }
            printf "%d samples: heavy %d light %d bare %d\n", all, heavy, light, bare
            known = heavy + light + bare
            if (known < 200 || known < 0.9 * all) { print "FAULT: too few samples with a whole chain"; exit 1 }
            exit judge(heavy, 0.6) + judge(light, 0.3) + judge(bare, 0.1) > 0
        }
        function judge(n, p,   error) {
            error = 5 * sqrt(p * (1 - p) / known)
            if (n / known > p + error || n / known < p - error) {
                printf "FAULT: share %.3f, expected %.3f +- %.3f\n", n / known, p, error
                return 1
            }
            return 0
        }' >"$work/shares"
}

# judge NAME FILE [TASK]
judge() {
    if shares "$2" "${3:-tree}"; then
        echo "ok $1: $(cat "$work/shares")"
    else
        code=1
        perf script -i "$2" --no-inline 2>&1 | head -n 60 >"$work/err"
        fail "$1" "$(cat "$work/shares")"
    fi
}

# expect_text NAME TEXT FILE
expect_text() {
    if grep -qE -- "$2" "$3"; then echo "ok $1"; else cp "$3" "$work/out"; fail "$1" "expected: $2"; fi
}

for cpus in 1 4; do
    start "cpus$cpus" "$cpus" "$tree"
    run "$lodger" perf record --wait 60 --duration 3 -o "$work/$cpus.data" "cpus$cpus"
    expect "record with $cpus vCPUs" 0 "samples"
    judge "$cpus vCPUs" "$work/$cpus.data"
    perf script -i "$work/$cpus.data" -F cpu 2>/dev/null | sort -u | grep -c '\[' >"$work/cpus"
    if [ "$(cat "$work/cpus")" = "$cpus" ]; then echo "ok samples of all $cpus"; else fail "samples of all $cpus" "of $(cat "$work/cpus")"; fi
    kill "${guests[-1]}"
    wait "${guests[-1]}"
done

# Two guests at once, on the machine of each its own; both attached to a second time.
start first 2 "$tree"
start second 2 "$tree"
run "$lodger" perf record --wait 60 --duration 4 -o "$work/two.data" first second
expect "record two guests" 0 "second: "
for name in first second; do
    pid=$(pgrep -f "guest=$name,debug-threads" | head -n 1)
    count=$(perf script -i "$work/two.data" -F machine_pid,event 2>/dev/null | grep -cE "VM: *$pid .*$name/cpu-clock/")
    if [ "$count" -gt 200 ]; then echo "ok $name: $count samples"; else fail "$name" "$count samples of VM $pid"; fi
done
judge "two guests" "$work/two.data"
run "$lodger" perf record --wait 60 --duration 3 -o "$work/again.data" first
expect "second attach" 0
judge "second attach" "$work/again.data"
run perf report -i "$work/again.data" --stdio --no-children -g none
expect_text "perf report" '^ +[0-9.]+% +tree +tree +\[u\] spin_heavy' "$work/out"
if perf annotate -i "$work/again.data" --stdio -s spin_heavy >"$work/annotate" 2>&1; then
    expect_text "perf annotate" 'dec +%' "$work/annotate"
else
    fail "perf annotate" "$(tail -n 5 "$work/annotate")"
fi

# A recording that grows can be read; Ctrl-C completes it.
"$lodger" perf record --wait 60 -o "$work/live.data" first >"$work/out" 2>"$work/err" &
recorder=$!
for _ in $(seq 300); do
    [ "$(stat -c %s "$work/live.data" 2>/dev/null || echo 0)" -gt 100000 ] && break
    sleep 0.1
done
judge "while it grows" "$work/live.data"
kill -INT $recorder
code=0
wait $recorder || code=$?
expect "Ctrl-C" 0 "samples"
run perf report -i "$work/live.data" --header-only
expect_text "the header is complete" 'cmdline : lodger perf record' "$work/out"

# Only one collector at a time.
rm "$work/live.data"
"$lodger" perf record --wait 60 -o "$work/live.data" first >"$work/out" 2>"$work/err" &
recorder=$!
for _ in $(seq 300); do
    [ -s "$work/live.data" ] && break
    sleep 0.1
done
run "$lodger" perf record --wait 60 --duration 1 -o "$work/other.data" first
expect "a second collector" 126 "collects from this guest already"
# The recorder is killed: what it had written can be read, and the next one may start.
kill -KILL $recorder
wait $recorder 2>/dev/null
run perf script -i "$work/live.data"
expect "a killed recorder" 0
run "$lodger" perf record --wait 60 --duration 1 -o "$work/other.data" first
expect "the next one" 0

# No rights.
chmod 755 "$work"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    run setpriv --reuid 65534 --regid 65534 --clear-groups "$lodger" perf record --wait 60 --duration 1 -o /dev/null first
    expect "no rights" 126 "no right to read the memory"
fi
run "$lodger" perf record --wait 60 --duration 1 -o /dev/full first
expect "a full disk" 126 "No space left"
run "$lodger" perf record nobody
expect "an unknown guest" 126 "there is no guest nobody"
run "$lodger" perf record --wait 60 --duration 1 -o "$work/x.data" $$
expect "no guest at all" 126 "no guest with this kernel"

# The guest dies.
"$lodger" perf record --wait 60 -o "$work/dies.data" second >"$work/out" 2>"$work/err" &
recorder=$!
for _ in $(seq 300); do
    [ "$(stat -c %s "$work/dies.data" 2>/dev/null || echo 0)" -gt 50000 ] && break
    sleep 0.1
done
kill -KILL "$(pgrep -f 'guest=second,debug-threads' | head -n 1)"
code=0
wait $recorder || code=$?
expect "the guest dies" 0 "second has ended"
judge "what it ran" "$work/dies.data"

# A program without symbols: perf finds them in a file with the same build-id.
cp "$tree" "$work/stripped"
llvm-strip-19 "$work/stripped"
start bare 2 "$work/stripped"
run "$lodger" perf record --wait 60 --duration 3 -o "$work/bare.data" bare
expect "record a stripped program" 0
rm -rf "$work/.debug"
cp "$tree" "$work/unstripped"
run perf buildid-cache --add "$work/unstripped"
judge "a stripped program" "$work/bare.data" stripped

# A kernel that firmware has loaded elsewhere than the ELF file says.
arguments=(dd if=/dev/zero of=/dev/null bs=1)
start moved 1 /bin/busybox --firmware uefi --memory 256M
run "$lodger" perf attach moved
expect_text "UEFI: the image has moved" 'image +at 0x[0-9a-f]+ in memory' "$work/out"
run "$lodger" perf record --wait 60 --duration 3 -o "$work/moved.data" moved
expect "UEFI: record" 0
perf script -i "$work/moved.data" -F ip,sym >"$work/moved.symbols" 2>/dev/null
expect_text "UEFI: functions of the kernel" 'syscall_entry|zero_read|null_write' "$work/moved.symbols"

finish
