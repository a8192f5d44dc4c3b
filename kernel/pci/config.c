// SPDX-License-Identifier: MIT
// Configuration space, by memory (PCI Express base specification, 7.2.2) or by ports (PCI local bus
// specification 3.0, 3.2.2.3.2).

#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/core/spinlock.h"
#include "kernel/pci/pci.h"

#include <linux/pci_regs.h>

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc
#define PORT_ENABLE  BIT(31)
#define PORT_LIMIT   256

static struct spinlock port_lock = SPINLOCK_INIT("pci ports"); // address and data go together

static uint32_t port_address(const struct pci_device *device, uint32_t offset)
{
    return (uint32_t)PORT_ENABLE | (uint32_t)device->bus << 16 | (uint32_t)device->slot << 11 |
           (uint32_t)device->function << 8 | (offset & ~3u);
}

uint32_t pci_config_read32(const struct pci_device *device, uint32_t offset)
{
    assert(IS_ALIGNED(offset, 4));
    assert(offset < PAGE_SIZE);
    if (device->config != NULL)
        return arch_mmio_read32(device->config + offset);
    if (offset >= PORT_LIMIT)
        return UINT32_MAX;
    uint64_t flags = spin_lock_irqsave(&port_lock);
    arch_out32(PORT_ADDRESS, port_address(device, offset));
    uint32_t value = arch_in32(PORT_DATA);
    spin_unlock_irqrestore(&port_lock, flags);
    return value;
}

uint16_t pci_config_read16(const struct pci_device *device, uint32_t offset)
{
    assert(IS_ALIGNED(offset, 2));
    return (uint16_t)(pci_config_read32(device, offset & ~3u) >> 8 * (offset & 2));
}

uint8_t pci_config_read8(const struct pci_device *device, uint32_t offset)
{
    return (uint8_t)(pci_config_read32(device, offset & ~3u) >> 8 * (offset & 3));
}

void pci_config_write32(const struct pci_device *device, uint32_t offset, uint32_t value)
{
    assert(IS_ALIGNED(offset, 4));
    assert(offset < PAGE_SIZE);
    if (device->config != NULL) {
        arch_mmio_write32(device->config + offset, value);
    } else if (offset < PORT_LIMIT) {
        uint64_t flags = spin_lock_irqsave(&port_lock);
        arch_out32(PORT_ADDRESS, port_address(device, offset));
        arch_out32(PORT_DATA, value);
        spin_unlock_irqrestore(&port_lock, flags);
    }
}

// Its neighbour must not be written: the status register is cleared by ones.
void pci_config_write16(const struct pci_device *device, uint32_t offset, uint16_t value)
{
    assert(IS_ALIGNED(offset, 2));
    assert(offset < PAGE_SIZE);
    if (device->config != NULL) {
        arch_mmio_write16(device->config + offset, value);
    } else if (offset < PORT_LIMIT) {
        uint64_t flags = spin_lock_irqsave(&port_lock);
        arch_out32(PORT_ADDRESS, port_address(device, offset));
        arch_out16((uint16_t)(PORT_DATA + (offset & 2)), value);
        spin_unlock_irqrestore(&port_lock, flags);
    }
}

uint32_t pci_capability_find(const struct pci_device *device, uint8_t id, uint32_t after)
{
    if (!(pci_config_read16(device, PCI_STATUS) & PCI_STATUS_CAP_LIST))
        return 0;
    uint32_t at = after != 0 ? after + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST;
    // A capability has at least four bytes, so that there is no room for more without a loop.
    for (uint32_t i = 0; i < (PORT_LIMIT - PCI_STD_HEADER_SIZEOF) / 4; i++) {
        uint32_t offset = pci_config_read8(device, at) & ~3u;
        if (offset < PCI_STD_HEADER_SIZEOF)
            return 0;
        if (pci_config_read8(device, offset + PCI_CAP_LIST_ID) == id)
            return offset;
        at = offset + PCI_CAP_LIST_NEXT;
    }
    return 0;
}
