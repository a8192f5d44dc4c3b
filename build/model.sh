#!/bin/sh
# SPDX-License-Identifier: MIT
# model.sh MODEL OUTPUT: makes OUTPUT, a program that checks all executions of the Promela model MODEL with Spin and exits
# with 0 if none breaks an assertion or ends where it may not. Called from the output folder.
set -eu
model=$(realpath "$1")
output=$2
mkdir -p "$output.spin"
output_folder=$(realpath "$output.spin")
(cd "$output_folder" && spin -a "$model" && clang-19 -O2 -w -DSAFETY -DMEMLIM=2000 -o pan pan.c)
cat >"$output" <<EOF
#!/bin/sh
cd "$output_folder" && rm -f ./*.trail
./pan -m100000 >result 2>&1
cat result
grep -q 'errors: 0\$' result && ! grep -q 'Search not completed' result && exit 0
trail=\$(ls ./*.trail 2>/dev/null | head -1)
[ -z "\$trail" ] || spin -k "\$trail" -p -g "$model"
exit 1
EOF
chmod +x "$output"
