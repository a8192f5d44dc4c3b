// SPDX-License-Identifier: MIT
// Consoles: virtio-console (virtio 1.2, section 5.3), its first port.
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_console_driver;
