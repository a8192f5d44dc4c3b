#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# What xl runs in dom0 when a back end comes or goes: as /etc/xen/scripts/block for disks, as .../vif-bridge for
# network cards. $XENBUS_PATH is the back end's folder in xenstore. (Xen's own scripts want bash and much more; the
# lab's disks are devices of dom0 already, and there is one bridge.)
export PATH=/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$1" "$XENBUS_PATH/hotplug-status" error
    exit 1
}

add_disk() {
    device=$(xenstore-read "$XENBUS_PATH/params")
    case $device in /*) ;; *) device=/dev/$device ;; esac
    [ -b "$device" ] || fail "$device is no block device"
    # xl waits for this node; blkback opens the device by it. Both numbers are hexadecimal.
    xenstore-write "$XENBUS_PATH/physical-device" "$(stat -c %t:%T "$device")" \
        "$XENBUS_PATH/physical-device-path" "$device"
}

case $(basename "$0") in
block)
    case $1 in add) add_disk ;; esac
    ;;
vif-bridge)
    case $1 in
    online | add)
        bridge=$(xenstore-read "$XENBUS_PATH/bridge" 2>/dev/null)
        [ -n "$bridge" ] && { ip link set "$vif" master "$bridge" 2>/dev/null || brctl addif "$bridge" "$vif" || fail "no bridge $bridge"; }
        ip link set "$vif" up || fail "cannot start $vif"
        ;;
    esac
    ;;
esac
case $1 in add | online) xenstore-write "$XENBUS_PATH/hotplug-status" connected ;; esac
