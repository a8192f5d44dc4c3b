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
//             latency=MS        zeroes, as many as the file has bytes, each request so late
//   device  net[,OPTION...]     network without an outside: queues=N, packed, mac=ADDRESS
//           rng                 random numbers of the host
//           balloon             memory that the host can ask back
//           console             a second console (hvc0), to nowhere
//           monitor             a port (/dev/vport*) named "monitor" that leads to the machine's
//                               own monitor (QMP): for tests, which change the machine from inside
//           vsock=CID           sockets to the host (vhost-vsock)
//           share=FOLDER        a folder of the host, 9p with the tag "share"
#pragma once

#include "tools/lodger/machine.h"
#include "tools/lodger/util.h"

// FILE[,OPTION...], a word of the `device` lines above: adds it to the machine. NULL, or why not,
// as an allocated string for the user.
[[nodiscard]] char *machine_add_disk(struct machine *machine, const char *text);
[[nodiscard]] char *machine_add_device(struct machine *machine, const char *text);

// Checks that the files can be opened. NULL, or why not.
[[nodiscard]] char *machine_check_devices(const struct machine *machine);

// The QEMU options of all of them.
void machine_device_options(const struct machine *machine, struct strings *command);
