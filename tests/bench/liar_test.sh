#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every benchmark notices a kernel that returns success without doing the work.
set -euo pipefail

# Its disk is a file in the tree: temporary folders may be in memory, where O_DIRECT is not.
BENCH_DISK=$(mktemp out/liar-disk.XXXXXX)
trap 'rm -f "$BENCH_DISK"' EXIT
truncate -s 32M "$BENCH_DISK"
BENCH_DISK=$(realpath "$BENCH_DISK")
export BENCH_DISK
out/host/bench-liar out/host/guest/bench
