# SPDX-License-Identifier: MIT
#
# Sourced by dom0_init.sh before the domain starts, for ./lodger lab xen --exits and bench --measure exits: exits and what came
# of them are traced from the moment when the host command asks for the first time, on the port "control", and counted whenever
# it asks. (Tracing a whole boot of Linux keeps dom0 and the domain from getting on.) dom0 itself has no exits.
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = control ] &&
        /lab/count /run/trace "/dev/${port##*/}" xentrace -D -S 1024 -s 50 -e 0x0008f000 /run/trace >/dev/null 2>&1 &
done
