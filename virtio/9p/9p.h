// SPDX-License-Identifier: MIT
// Folders of the host: virtio's 9P transport.
#pragma once

#include "virtio/device.h"

extern const struct virtio_driver virtio_9p_driver;
