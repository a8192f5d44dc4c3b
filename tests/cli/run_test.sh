#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: `lodger run` passes a program's input, output, errors and exit code through unchanged, leaves no QEMU behind,
# restores the terminal, and turns every other end of a guest into an exit code of its own.
# Method: small programs of the host in guests, and what they leave on the host.
. tests/cli/check.sh

patience=(--timeout 120)

run "$lodger" run "${patience[@]}" -- /bin/busybox true
expect "exit code 0" 0
run "$lodger" run "${patience[@]}" -- /bin/busybox sh -c 'exit 37'
expect "exit code 37" 37
run "$lodger" run "${patience[@]}" -- /bin/busybox sh -c 'exit 255'
expect "exit code 255" 255
run "$lodger" run "${patience[@]}" -- /bin/busybox sh -c 'kill -9 $$'
expect "ended by a signal" 137
run "$lodger" run "${patience[@]}" -- /bin/busybox echo 'a  b' "it's" '"q"' ''
expect_output "arguments with blanks and quotes" "a  b it's \"q\" "$'\n'
run "$lodger" run "${patience[@]}" -- /bin/busybox sh -c 'echo out; echo err >&2'
expect_output "standard output" "out"$'\n'
expect "standard error" 0 "err"

# All byte values, through the program and back.
for i in $(seq 0 255); do printf "\\x$(printf %02x "$i")"; done >"$work/bytes"
for _ in $(seq 40); do cat "$work/bytes"; done >"$work/many"
code=0
"$lodger" run "${patience[@]}" -- /bin/busybox cat <"$work/many" >"$work/out" 2>"$work/err" || code=$?
if cmp -s "$work/many" "$work/out"; then echo "ok all bytes pass"; else fail "all bytes pass" "the bytes differ"; fi
expect "end of input ends cat" 0

run "$lodger" run "${patience[@]}" -- /bin/true
expect "a dynamic program with its libraries" 0
run "$lodger" run "${patience[@]}" --json -- /bin/busybox sh -c 'echo hello; exit 3'
expect "JSON: exit code" 3
if grep -q '"stdout": "hello\\n"' "$work/out" && grep -q '"outcome": "exit"' "$work/out"; then
    echo "ok JSON: output and outcome"
else
    fail "JSON: output and outcome" "a field is missing"
fi
run "$lodger" run --timeout 4 -- /bin/busybox sleep 1000
expect "time-out" 124 "did not end within 4 s"
run "$lodger" run --timeout 60 --append init=/nonexistent -- /bin/busybox true
expect "a panic has an exit code of its own" 125 "panic: "
expect_output "and prints nothing to standard output" ""
if grep -qE '#[0-9]+ 0x[0-9a-f]{16} kthread_main\+.*\(sched/kthread.c:[0-9]+\)' "$work/err"; then
    echo "ok its call chain has names and lines"
else
    code=0
    fail "its call chain has names and lines" "no line like: #1 0x... kthread_main+0x13 (sched/kthread.c:22)"
fi
run "$lodger" run --dry-run
expect "dry run" 0
grep -q '^qemu-system-x86_64 ' "$work/out" || fail "dry run" "no QEMU command was printed"

run "$lodger" run --memory 4M -- /bin/busybox true
expect "too little memory for the guest" 126 "too little"
run "$lodger" run --memory 99999G -- /bin/busybox true
expect "more memory than there is" 126 "memory"
mkdir "$work/bin"
for tool in gn ninja; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
run env PATH="$work/bin" "$lodger" run -- /bin/busybox true
expect "no QEMU" 126 "qemu-system-x86_64"
head -c 100000 out/host/guests/busybox.cpio >"$work/cut.cpio"
run "$lodger" run --timeout 60 --initrd "$work/cut.cpio"
if [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && grep -qi 'initial' "$work/err"; then
    echo "ok truncated initial file system"
else
    fail "truncated initial file system" "expected a message and a code that is neither 0 nor 124"
fi

# A signal to the command ends QEMU too.
"$lodger" run -- /bin/busybox sleep 1000 >"$work/out" 2>"$work/err" </dev/null &
command=$!
qemu=
for _ in $(seq 300); do
    qemu=$(cat /proc/$command/task/*/children | tr -d " ")
    [ -n "$qemu" ] && [ "$(cat "/proc/$qemu/comm")" = qemu-system-x86 ] && break
    sleep 0.2
done
kill -TERM $command
code=0
wait $command || code=$?
expect "a signal ends the command" 143
if [ -n "$qemu" ] && ! kill -0 "$qemu" 2>/dev/null; then echo "ok QEMU is gone"; else fail "QEMU is gone" "QEMU '$qemu'"; fi

# The keyboard: a shell on a terminal of 31 rows, left with Ctrl-A X; the terminal is as before.
# Waits until the guest has printed a text.
wait_for() {
    for _ in $(seq 300); do
        grep -qF "$1" "$work/out" && return
        sleep 0.2
    done
}
keys() {
    wait_for 'lodger:~#'
    printf 'stty size; echo mark-$((40 + 2))\r'
    wait_for mark-42
    printf '\001x'
    wait_for code=
}
: >"$work/out"
code=0
keys | script -qfec "stty rows 31 cols 90; before=\$(stty -g); $lodger run --timeout 120; echo code=\$?; [ \"\$before\" = \"\$(stty -g)\" ] && echo restored" \
    /dev/null >"$work/out" 2>"$work/err" || code=$?
for text in "31 90" "mark-42" "code=0" "restored"; do
    if grep -qF "$text" "$work/out"; then echo "ok terminal: $text"; else fail "terminal: $text" "it is missing"; fi
done

finish
