// SPDX-License-Identifier: MIT
// Start of everything under virtio/.
#pragma once

// Finds the devices of all transports and starts their drivers. Once, task context; after
// pci_init() and when programs' files and the layers above (block, net, tty) are there.
void virtio_init(void);
