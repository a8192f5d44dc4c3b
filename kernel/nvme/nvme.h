// SPDX-License-Identifier: MIT
// NVMe disks: /dev/nvme0n1 and so on.
#pragma once

// Looks for controllers among the PCI devices. Once, task context, after pci_init().
void nvme_init(void);
