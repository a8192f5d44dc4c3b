#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints the files of a folder that match a pattern, one a line: sources.sh FOLDER PATTERN. For targets to which one adds by
# adding a file; GN runs again before every build (`./lodger` sees to it).
set -eu
cd "$1"
for file in $2; do
    [ -e "$file" ] && echo "$file"
done
