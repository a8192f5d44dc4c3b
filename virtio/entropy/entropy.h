// SPDX-License-Identifier: MIT
// Random numbers of the host: virtio-rng (virtio 1.2, section 5.4).
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_entropy_driver;
