#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The figures of guests/bench/baseline.txt: none is more than 2 % worse, none above its limit.
cd "$(dirname "$0")/../.." && exec ./lodger bench --check
