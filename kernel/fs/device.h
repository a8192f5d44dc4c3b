// SPDX-License-Identifier: MIT
// Character devices and devtmpfs.
#pragma once

#include "kernel/fs/register.h"

struct superblock;

// Opens the device that file->inode stands for: sets file->ops. 0, -ENXIO.
[[nodiscard]] int device_open(struct file *file);
void device_init(void); // registers devtmpfs; the nodes of all registered devices appear in it
void device_register_memory(void); // null, zero, full, random, urandom, kmsg
// /proc/devices.
void device_for_each(
    void (*visit)(const struct character_device *device, void *context), void *context);
