// SPDX-License-Identifier: MIT
// Sockets to the host: virtio-vsock (virtio 1.2, section 5.10).
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_vsock_driver;
