// SPDX-License-Identifier: MIT
// Disks: virtio-blk (virtio 1.2, section 5.2).
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_block_driver;
