# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the tests of the command are written with. Source it in the root of the tree.
set -u

lodger=$PWD/out/host/lodger
work=$(mktemp -d /tmp/lodger-cli.XXXXXX)
trap 'rm -rf "$work"' EXIT
failures=0

# Runs a command; its output is in $work/out and $work/err, its exit code in $code.
run() {
    code=0
    "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
}

fail() {
    failures=$((failures + 1))
    echo "FAIL $1"
    shift
    printf '  %s\n' "$@"
    echo "  exit code: $code"
    sed 's/^/  out: /' "$work/out" | tail -n 40
    sed 's/^/  err: /' "$work/err" | tail -n 40
}

# expect NAME CODE [TEXT_IN_STDERR]: judges the last run().
expect() {
    if [ "$code" -ne "$2" ]; then
        fail "$1" "expected exit code $2"
    elif [ $# -gt 2 ] && ! grep -qF -- "$3" "$work/err"; then
        fail "$1" "expected in the message: $3"
    else
        echo "ok $1"
    fi
}

# expect_output NAME TEXT: the last run() printed exactly that.
expect_output() {
    if [ "$(cat "$work/out"; echo x)" != "$2"x ]; then
        fail "$1" "expected the output: $2"
    else
        echo "ok $1"
    fi
}

finish() {
    [ "$failures" -eq 0 ]
    exit
}
