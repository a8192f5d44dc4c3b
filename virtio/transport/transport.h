// SPDX-License-Identifier: MIT
// The transports: each looks for its devices and adds them. Once, task context.
#pragma once

void virtio_pci_start(void);
void virtio_mmio_start(void);
