#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: whatever is wrong with what the user gives to the command, it says what, and ends with its own exit code.
# Method: one wrong call each; none of them gets as far as starting a guest, unless it says so.
. tests/cli/check.sh

run "$lodger" frobnicate
expect "unknown command" 126 "unknown command: frobnicate"
run "$lodger"
expect "no command" 126
run "$lodger" --help
expect "help" 0
run "$lodger" run --help
expect "help of run" 0
run "$lodger" run --frobnicate
expect "unknown option" 126 "--frobnicate"
run "$lodger" run --cpus
expect "option without its value" 126 "cpus"
run "$lodger" run --cpus 0
expect "no CPU" 126 "--cpus 0: expected"
run "$lodger" run --cpus 1000
expect "too many CPUs" 126 "--cpus 1000: expected"
run "$lodger" run --cpus two
expect "CPUs not a number" 126 "--cpus two: expected"
run "$lodger" run --memory lots
expect "memory not a size" 126 "--memory lots: expected"
run "$lodger" run --memory 99999999999999999999G
expect "memory too big for a number" 126 "--memory"
run "$lodger" run --machine vax
expect "unknown machine" 126 "--machine vax: expected"
run "$lodger" run --firmware bios
expect "unknown firmware" 126 "--firmware bios: expected"
run "$lodger" run --firmware uefi --machine microvm
expect "UEFI on microvm" 126 "OVMF does not run on microvm"
run "$lodger" run --accel magic
expect "unknown accelerator" 126 "--accel magic: expected"
run "$lodger" run --accel kvm --icount
expect "counting with KVM" 126 "--"
run "$lodger" run --variant golden
expect "unknown variant" 126 "--variant golden: expected"
run "$lodger" run --timeout soon
expect "time-out not a number" 126 "--timeout soon: expected"
run "$lodger" run --disk "$work/nowhere"
expect "missing disk" 126 "$work/nowhere"
run "$lodger" run no-such-guest
expect "unknown guest" 126 "there is no guest no-such-guest"
run "$lodger" run ../../etc
expect "a path as guest" 126 "there is no guest"
run "$lodger" run busybox busybox
expect "two guests" 126 "one guest at a time"
run "$lodger" run --
expect "no program" 126 "must be followed by a program"
run "$lodger" run -- "$work/nowhere"
expect "missing program" 126 "No such file or directory"
run "$lodger" run -- no-such-program-anywhere
expect "program not in PATH" 126 "no such program on this host"
run "$lodger" run --kernel "$work/nowhere"
expect "missing kernel" 126 "$work/nowhere"
run "$lodger" run --initrd "$work/nowhere"
expect "missing initial file system" 126 "$work/nowhere"

mkdir "$work/folder"
run "$lodger" run -- "$work/folder"
expect "a folder as program" 126 "is not a file"
echo "just text" >"$work/text"
run "$lodger" run -- "$work/text"
expect "not executable" 126 "is not executable"
chmod +x "$work/text"
run "$lodger" run -- "$work/text"
expect "neither ELF nor script" 126 "neither an ELF program nor"
printf '#!/no/such/shell\n' >"$work/script"
chmod +x "$work/script"
run "$lodger" run -- "$work/script"
expect "script without its interpreter" 126 "/no/such/shell"

busybox=/bin/busybox
head -c 40 $busybox >"$work/short" && chmod +x "$work/short"
run "$lodger" run -- "$work/short"
expect "ELF cut within its header" 126 "corrupt ELF"
head -c 5000 $busybox >"$work/cut" && chmod +x "$work/cut"
run "$lodger" run -- "$work/cut"
expect "ELF cut within its segments" 126 "corrupt ELF"
cp $busybox "$work/machine" && printf '\x28' | dd of="$work/machine" bs=1 seek=18 conv=notrunc status=none
run "$lodger" run -- "$work/machine"
expect "ELF of another machine" 126 "not a 64-bit x86 program"
# A dynamic program whose interpreter has a name that no host has.
sed 's|/lib64/ld-linux-x86-64.so.2|/lib64/no-such-interpreter|' /bin/true >"$work/dynamic" && chmod +x "$work/dynamic"
run "$lodger" run -- "$work/dynamic"
expect "missing interpreter" 126 "needs the interpreter /lib64/no-such-interpret"

run "$lodger" test --frobnicate
expect "unknown option of test" 126
run "$lodger" test stray
expect "stray word for test" 126 "unexpected stray"
run "$lodger" symbolize --elf "$work/text" 0x1
expect "symbols of what is no ELF file" 126 "cannot read symbols"
run "$lodger" efi-image
expect "efi-image without arguments" 126 "efi-image"

finish
