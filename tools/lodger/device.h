// SPDX-License-Identifier: MIT
//
// A machine's devices beyond processor, memory and console: what users and tests write, and the
// QEMU options that it becomes.
//
//   disk    FILE[,OPTION...]    a virtio block device with that image:
//             format=raw|qcow2  (default raw)      readonly     no writes
//             serial=TEXT       up to 20 letters   queues=N     (default: one a vCPU)
//             packed            packed rings       iommu        addresses through the platform
//             block=BYTES       logical block      discard      discards reach the file
//             depth=N           ring entries       nvme         an NVMe disk instead
//             faults=FILE       QEMU's blkdebug rules
//             vhost-user        FILE is a socket, behind which another program is the disk
//             latency=MS        zeroes, as many as the file has bytes, each request so late
//   device  net[,OPTION...]     network without an outside: queues=N, packed, mac=ADDRESS; vhost:
//                               in the KVM lab, to its host (10.0.2.2), through vhost-net
//           rng                 random numbers of the host
//           balloon             memory that the host can ask back
//           console             a second console (hvc0), to nowhere
//           monitor             a port (/dev/vport*) named "monitor" that leads to the machine's
//                               own monitor (QMP): for tests, which change the machine from inside
//           vsock=CID[,peer=FILE] sockets to the host (vhost-vsock); in the KVM lab its host runs
//                               that program beside the guest
//           share=FOLDER        a folder of the host, 9p with the tag "share"
#pragma once

#include "tools/lodger/machine.h"
#include "tools/lodger/util.h"

// FILE[,OPTION...], a word of the `device` lines above: adds it to the machine. NULL, or why not,
// as an allocated string for the user.
[[nodiscard]] char *machine_add_disk(struct machine *machine, const char *text);
[[nodiscard]] char *machine_add_device(struct machine *machine, const char *text);

// The program that `vsock` names for the lab's host, valid until the next call, or NULL.
const char *machine_vsock_peer(const struct machine *machine, bool *has_vsock);

// Has it a network that the lab's host has to set up (lab_host.c)?
bool machine_has_vhost_net(const struct machine *machine);
// Must other programs be able to map the machine's memory?
bool machine_needs_shared_memory(const struct machine *machine);

// Checks that the files can be opened. NULL, or why not.
[[nodiscard]] char *machine_check_devices(const struct machine *machine);

// The QEMU options of all of them.
void machine_device_options(const struct machine *machine, struct strings *command);
