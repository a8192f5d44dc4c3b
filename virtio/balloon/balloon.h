// SPDX-License-Identifier: MIT
// Memory balloon: virtio-balloon (virtio 1.2, section 5.5).
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_balloon_driver;
