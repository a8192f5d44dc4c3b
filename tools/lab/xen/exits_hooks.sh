# SPDX-License-Identifier: MIT
#
# Sourced by dom0_init.sh before the domain starts, for ./lodger lab xen --exits: all exits and what came of them are
# traced, and counted whenever the host command asks on the port "control". dom0 itself has none.
xentrace -D -S 1024 -s 50 -e 0x0008f000 /run/trace >/dev/null 2>&1 &
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = control ] && /lab/count /run/trace "/dev/${port##*/}" &
done
