// SPDX-License-Identifier: MIT
// The table of virtio drivers.

#include "virtio/9p/9p.h"
#include "virtio/balloon/balloon.h"
#include "virtio/block/block.h"
#include "virtio/console/console.h"
#include "virtio/entropy/entropy.h"
#include "virtio/net/net.h"
#include "virtio/virtio.h"
#include "virtio/vsock/vsock.h"

void virtio_init(void)
{
    static const struct virtio_driver *const drivers[] = {
        &virtio_9p_driver,
        &virtio_balloon_driver,
        &virtio_block_driver,
        &virtio_console_driver,
        &virtio_entropy_driver,
        &virtio_net_driver,
        &virtio_vsock_driver,
    };
    virtio_start(drivers, ARRAY_SIZE(drivers));
}
