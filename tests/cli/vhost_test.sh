#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Claim: the drivers of disks, networks and host sockets work with devices that are not QEMU's: qemu-storage-daemon as a
# vhost-user disk, vhost-net and vhost-vsock of Debian's kernel.
# Method: the guest tests of these devices. vhost-net and vhost-vsock are the KVM lab's host's, where vsock_peer.c is the
# other end of vsock_host.c, and the host's own kernel answers the ARP requests of net_frames.c.
. tests/cli/check.sh

programs=out/host/guest

# A disk in another process: data at every place, then a look at what that process has in its file.
truncate -s 16M "$work/disk"
qemu-storage-daemon --blockdev driver=file,node-name=file,filename="$work/disk" \
    --blockdev driver=raw,node-name=disk,file=file \
    --export type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path="$work/socket",writable=on,num-queues=2 \
    >"$work/daemon" 2>&1 &
daemon=$!
for _ in $(seq 100); do
    [ -S "$work/socket" ] && break
    sleep 0.1
done
run "$lodger" run --timeout 100 --machine q35 --cpus 2 --disk "$work/socket,vhost-user" -- $programs/disk_pattern
expect "vhost-user disk" 0
if [ "$(tr -d '\0' <"$work/disk" | head -c 1000000 | wc -c)" -eq 1000000 ]; then
    echo "ok its file has what was written"
else
    fail "its file has what was written" "$(cat "$work/daemon")"
fi
kill "$daemon"
wait "$daemon" 2>/dev/null
run "$lodger" run --machine microvm --disk "$work/disk,vhost-user" -- /bin/busybox true
expect "vhost-user without PCI" 126 "needs --machine q35 or pc"

run "$lodger" run --device vsock=42,peer=$programs/vsock_peer -- /bin/busybox true
expect "no host for the other end" 126 "host of the KVM lab"
if grep -qE '^flags.*\b(vmx|svm)\b' /proc/cpuinfo; then
    echo "no vhost-net and vhost-vsock: with virtualisation there is no lab's host to set them up in"
    finish
fi
run "$lodger" lab kvm --timeout 120 --machine q35 --cpus 2 --variant debug --device vsock=42,peer=$programs/vsock_peer \
    -- $programs/vsock_host
expect "vhost-vsock" 0
run "$lodger" lab kvm --timeout 120 --machine microvm --device net,vhost,mac=52:54:00:ab:cd:ef -- $programs/net_frames
expect "vhost-net" 0
finish
