#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# First process of dom0 in the Xen lab: starts Xen's daemons, runs the one domain that /lab/domain.cfg describes, and ends
# the machine the way that domain ended.
#
#   virtio-serial port "console"   the domain's console, both ways
#   I/O ports 0x504, 0x501         how it ended (kernel/core/debug_exit.h)
#   /dev/hvc0                      Xen's console: what goes wrong here
#
# A reason above 5 is the exit code of the domain's first program (pv/xen/xen.c); 255 stands for 250 and up.
# /lab/hooks, if it is there, is a shell script that is sourced when the domain is ready to start, with its number in $id. It may
# start other domains and wait_for_end of them.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/lib/xen-4.17/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu XENSTORED_ROOTDIR=/var/lib/xenstored
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /run /dev/pts
mount -t tmpfs run /run
mount -t devpts pts /dev/pts
mkdir -p /run/xen /run/xenstored /run/lock
ln -sfn /run/lock /var/lock

load() {
    insmod "/lib/modules/$1.ko" $2 || echo "lab: cannot load $1"
}
for module in xen-privcmd xenfs xen-evtchn xen-gntdev xen-gntalloc virtio_ring virtio virtio_pci_modern_dev \
    virtio_pci_legacy_dev virtio_pci virtio_console virtio_blk xen-blkback llc stp bridge xen-netback; do
    case $module in
    xen-netback) load $module max_queues=4 ;; # not as many as dom0 has CPUs, which is one
    *) load $module ;;
    esac
done
mount -t xenfs xenfs /proc/xen

# end HOW [CODE]: ends the machine (kernel/core/debug_exit.h).
put_byte() {
    printf "\\$(printf %03o "$2")" | dd of=/dev/port bs=1 count=1 seek=$(($1)) conv=notrunc 2>/dev/null
}
end() {
    [ -z "$2" ] || put_byte 0x504 "$2"
    put_byte 0x501 "$1"
    poweroff -f
}
fail() {
    echo "lab: $*"
    sleep 0.5 # Xen's serial port is slow
    end 0x7e
}

# Xen's reason for a domain's end, in words; empty while it runs. Columns: name, number, memory, vCPUs, state, time,
# UUID, reason (hexadecimal).
reason() {
    xl list -v | awk -v id="$1" '$2 == id && $5 ~ /[sc]/ { print $5 ~ /c/ ? "crash" : $8 } $2 == id { found = 1 }
        END { if (!found) print "gone" }'
}

# wait_for_end NUMBER: until that domain has ended; then $why is the reason. xenstored says when a domain has ended, and one
# line comes at once.
wait_for_end() {
    rm -f /run/ends
    mkfifo /run/ends
    xenstore-watch @releaseDomain >/run/ends &
    watch=$!
    while read -r _; do
        why=$(reason "$1")
        [ -z "$why" ] || break
    done </run/ends
    kill $watch
}

xenstored --pid-file /run/xenstored.pid || fail "no xenstored"
xen-init-dom0 >/dev/null || fail "xen-init-dom0 failed"
xenconsoled --log=all --log-dir=/var/log/xen/console

brctl addbr xenbr0 2>/dev/null && ip link set xenbr0 up && ip addr add 10.0.2.2/24 dev xenbr0

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = console ] && console=/dev/${port##*/}
done
[ -c "$console" ] || fail "no virtio-serial port"

# -e: nobody else reacts to the domain's end (xl would destroy a domain whose reason it does not know).
xl create -e -p /lab/domain.cfg >/run/create 2>&1 || fail "xl create: $(cat /run/create)"
id=$(xl domid lodger)
tty=$(xenstore-read "/local/domain/$id/console/tty")
n=0
while [ -z "$tty" ] && [ $n -lt 50 ]; do
    sleep 0.1
    n=$((n + 1))
    tty=$(xenstore-read "/local/domain/$id/console/tty" 2>/dev/null)
done
[ -c "$tty" ] || fail "no console: xenconsoled does not run"
exec 3<>"$console" # it can be opened once
cat "$tty" >&3 &
cat <&3 >"$tty" &
[ ! -r /lab/hooks ] || . /lab/hooks
xl unpause "$id"

wait_for_end "$id"
sleep 0.2 # for the rest of what it printed

echo "lab: the domain has ended: reason $why"
case $why in
0) end 4 ;;
1) end 3 ;;
[2-5] | crash | gone) end 2 ;;
*) end 1 $((0x$why - 5)) ;;
esac
