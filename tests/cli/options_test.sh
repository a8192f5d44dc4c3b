#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: docs/options.md lists exactly the boot options that the kernel has.
# Method: `lodger options --markdown`, which reads them out of the kernel's ELF file, is compared with the page.
. tests/cli/check.sh

run "$lodger" options --markdown
expect "boot options of the kernel" 0
if diff -u docs/options.md "$work/out"; then
    echo "ok docs/options.md is up to date"
else
    fail "docs/options.md is up to date" "run: ./lodger options --markdown >docs/options.md"
fi
run "$lodger" options --kernel /bin/true
expect "a file that is no kernel" 126 "is not a Lodger kernel"
run "$lodger" options --variant fast
expect "an unknown variant" 126 "unknown variant"
finish
