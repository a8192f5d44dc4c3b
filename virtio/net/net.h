// SPDX-License-Identifier: MIT
// Network cards: virtio-net (virtio 1.2, section 5.1).
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_net_driver;
