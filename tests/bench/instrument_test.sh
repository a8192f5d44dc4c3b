#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The instrument itself: a kernel compared with itself, a planted slow-down, two counted runs, and what it says when
# images do not boot and guests die.
set -u
cd "$(dirname "$0")/../.."
folder=$(mktemp -d /tmp/lodger-bench.XXXXXX)
trap 'rm -rf "$folder"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

bench() {
    timeout 250 ./lodger bench --no-history "$@"
}

# ratios FILE MEASURE: name, ratio and its interval, from a CSV report.
ratios() {
    awk -F, -v measure="$2" '$2 == measure && $16 != "" { print $1, $16, $17, $18 }' "$1"
}

# within FILE MEASURE LOW HIGH: the interval of each ratio reaches into LOW..HIGH.
within() {
    local name ratio low high count=0
    while read -r name ratio low high; do
        count=$((count + 1))
        awk -v l="$low" -v h="$high" -v from="$3" -v to="$4" 'BEGIN { exit !(l <= to && h >= from) }' ||
            fail "$name ($2): the ratio is $ratio [$low, $high], which does not reach into $3 to $4"
    done < <(ratios "$1" "$2")
    [ "$count" -gt 0 ] || fail "$1 has no ratios of $2"
}

self=(--against out/release/lodger.elf null open pipe)

# A kernel compared with itself; exact where it is counted. Times are bounded so widely that no load of the machine
# fails the test: whether intervals hold what they say is tested with made-up series (tools/lodger/statistics_test.c).
bench --measure counts,time --pairs 11 --csv="$folder/self.csv" --json="$folder/self.json" "${self[@]}" >/dev/null ||
    fail "comparing the kernel with itself ended with $?"
within "$folder/self.csv" counts 0.999 1.001
within "$folder/self.csv" time 0.8 1.25

# A planted 5 % is found where it is counted, a doubling also in times.
bench --measure counts --plant 5 --against-append block.copy --csv="$folder/slow.csv" --json="$folder/slow.json" "${self[@]}" >/dev/null ||
    fail "the planted slow-down ended with $?"
grep -q '"counted other.*quiet block.copy' "$folder/slow.json" || fail "--against-append does not reach the other kernel"
grep -q '"counted here.*block.copy' "$folder/slow.json" && fail "--against-append reaches this kernel"
within "$folder/slow.csv" counts 1.045 1.055
bench --measure time --plant 100 --pairs 11 --csv="$folder/double.csv" "${self[@]}" >/dev/null ||
    fail "the planted doubling ended with $?"
within "$folder/double.csv" time 1.5 2.7

# Comparing the two reports finds it as well, and says so in the exit code; the other way round it is no regression.
./lodger bench compare "$folder/self.json" "$folder/slow.json" >"$folder/compare" &&
    fail "bench compare did not find the planted regression"
grep -q 'null .*WORSE' "$folder/compare" || fail "bench compare does not show the regression: $(cat "$folder/compare")"
./lodger bench compare "$folder/slow.json" "$folder/self.json" >/dev/null || fail "bench compare calls an improvement a regression"

# Two counted runs agree to 0.1 %.
bench --alone --measure counts --json="$folder/again.json" null open pipe fork fault >/dev/null || fail "counting ended with $?"
bench --alone --measure counts --json="$folder/again2.json" null open pipe fork fault >/dev/null || fail "counting ended with $?"
./lodger bench compare "$folder/again.json" "$folder/again2.json" |
    awk '$2 == "counts" { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/ && $(i + 1) ~ /^\[/) { n++; if ($i < 0.999 || $i > 1.001) { print; bad = 1 } } }
         END { exit bad || n < 5 }' || fail "two counted runs differ by more than 0.1 %"

# An image that does not boot: said, this kernel is measured all the same, exit code 1.
bench --measure counts,time --pairs 2 --against README.md null >"$folder/noboot" 2>&1
[ $? -eq 1 ] || fail "an image that does not boot: wrong exit code"
grep -q 'README.md does not boot' "$folder/noboot" || fail "an image that does not boot is not named: $(tail -5 "$folder/noboot")"
[ "$(grep -c '^  null  *[0-9]' "$folder/noboot")" -eq 2 ] || fail "an image that does not boot stops the rest: $(cat "$folder/noboot")"

bench --cpus 0 null >"$folder/bad" 2>&1 && fail "--cpus 0 is taken"
grep -q -- '--cpus 0: not a number from 1 to 256' "$folder/bad" || fail "--cpus 0 is not explained: $(cat "$folder/bad")"

# A guest that dies in the middle: said, the others go on, exit code 1.
out/host/lodger bench --no-history --alone --measure time --pairs 200 null open pipe >"$folder/died" 2>&1 &
lodger=$!
killed=0
for _ in $(seq 600); do
    # Rounds are reported every few seconds: from the first report on, its guest is the only machine that runs.
    if grep -q 'round [0-9]* of 200' "$folder/died" && pkill -KILL -P "$lodger" qemu-system; then
        killed=1
        break
    fi
    sleep 0.1
done
wait "$lodger"
code=$?
[ "$killed" -eq 1 ] || fail "no guest was found to kill"
[ "$code" -eq 1 ] || fail "a guest that died: exit code $code: $(tail -5 "$folder/died")"
grep -q 'failed: the guest ended' "$folder/died" || fail "a guest that died is not told: $(cat "$folder/died")"
[ "$(grep -cE '^  (null|open|pipe) .*[0-9.]+ [num]?s' "$folder/died")" -ge 2 ] || fail "a guest that died stops the rest: $(cat "$folder/died")"

# What a user may get wrong.
bench no-such-benchmark >"$folder/bad" 2>&1
[ $? -eq 126 ] && grep -q 'there is no benchmark no-such-benchmark' "$folder/bad" || fail "unknown benchmark: $(tail -3 "$folder/bad")"
bench --against /nowhere/kernel null >"$folder/bad" 2>&1
[ $? -eq 126 ] && grep -q '/nowhere/kernel' "$folder/bad" || fail "missing image: $(tail -3 "$folder/bad")"
./lodger bench compare "$folder/self.json" "$folder/died" >"$folder/bad" 2>&1
[ $? -eq 126 ] && grep -q "$folder/died" "$folder/bad" || fail "no report: $(tail -3 "$folder/bad")"

echo "$failures failures"
exit $((failures > 0))
