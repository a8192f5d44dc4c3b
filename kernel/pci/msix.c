// SPDX-License-Identifier: MIT
// MSI-X (PCI local bus specification 3.0, 6.8.2; messages: Intel SDM 3A, 11.11).

#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/core/irq.h"
#include "kernel/pci/pci.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/pci_regs.h>

#define MESSAGE_ADDRESS      0xfee00000u
#define MESSAGE_TARGET_SHIFT 12
#define MESSAGE_TARGET_MAX   255 // APIC ids have 8 bits here

int pci_msix_enable(struct pci_device *device)
{
    if (device->msix.capability == 0)
        return -ENODEV;
    uint32_t capability = device->msix.capability;
    uint32_t place = pci_config_read32(device, capability + PCI_MSIX_TABLE);
    device->msix.table = pci_bar_map(device, place & PCI_MSIX_TABLE_BIR,
        place & PCI_MSIX_TABLE_OFFSET, device->msix.entries * (uint64_t)PCI_MSIX_ENTRY_SIZE);
    if (device->msix.table == NULL)
        return -EIO;
    for (uint32_t i = 0; i < device->msix.entries; i++)
        arch_mmio_write32(device->msix.table + i * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
            PCI_MSIX_ENTRY_CTRL_MASKBIT);
    uint16_t flags = pci_config_read16(device, capability + PCI_MSIX_FLAGS);
    flags &= (uint16_t)~PCI_MSIX_FLAGS_MASKALL;
    pci_config_write16(device, capability + PCI_MSIX_FLAGS, flags | PCI_MSIX_FLAGS_ENABLE);
    return 0;
}

void pci_msix_set(struct pci_device *device, uint32_t index, uint32_t vector, uint32_t cpu)
{
    assert(device->msix.table != NULL);
    assert(index < device->msix.entries);
    assert(vector >= VECTOR_DEVICE_FIRST);
    assert(vector <= VECTOR_DEVICE_LAST);
    volatile char *entry = device->msix.table + index * PCI_MSIX_ENTRY_SIZE;
    uint32_t target = firmware.cpu_apic_ids[cpu];
    if (target > MESSAGE_TARGET_MAX)
        target = firmware.cpu_apic_ids[0];
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
    arch_mmio_write32(
        entry + PCI_MSIX_ENTRY_LOWER_ADDR, MESSAGE_ADDRESS | target << MESSAGE_TARGET_SHIFT);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_DATA, vector);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

void pci_msix_disable(struct pci_device *device)
{
    if (device->msix.table == NULL)
        return;
    uint32_t at = device->msix.capability + PCI_MSIX_FLAGS;
    uint16_t flags = pci_config_read16(device, at);
    pci_config_write16(device, at, flags & (uint16_t)~PCI_MSIX_FLAGS_ENABLE);
    vmap_free((void *)device->msix.table);
    device->msix.table = NULL;
}
