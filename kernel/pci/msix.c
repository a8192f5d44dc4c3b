// SPDX-License-Identifier: MIT
// MSI-X (PCI local bus specification 3.0, 6.8.2; messages: Intel SDM 3A, 11.11).
//
// An entry whose CPU goes off is directed to another one, and back when it is on again. The
// device's write to the old one has reached that CPU's APIC before the entry's new address is in
// place: the entry is masked in between, which is answered only then.

#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/hotplug.h"
#include "kernel/core/irq.h"
#include "kernel/core/spinlock.h"
#include "kernel/pci/pci.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/pci_regs.h>

#define MESSAGE_ADDRESS      0xfee00000u
#define MESSAGE_TARGET_SHIFT 12
#define MESSAGE_TARGET_MAX   255 // APIC ids have 8 bits here

static struct spinlock msix_lock = SPINLOCK_INIT("pci: MSI-X"); // entries in use, cpus_off
static struct cpumask cpus_off;

static uint32_t cpu_instead(uint32_t cpu)
{
    if (likely(!cpumask_test(&cpus_off, cpu)))
        return cpu;
    for (uint32_t other = cpu - 1; other > 0; other--) {
        if (!cpumask_test(&cpus_off, other) && cpumask_test(&cpu_online, other))
            return other;
    }
    return 0; // the boot CPU stays
}

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
    device->msix.cpus = kzalloc(device->msix.entries * sizeof(device->msix.cpus[0]));
    if (device->msix.cpus == NULL) {
        vmap_free((void *)device->msix.table);
        device->msix.table = NULL;
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < device->msix.entries; i++)
        arch_mmio_write32(device->msix.table + i * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
            PCI_MSIX_ENTRY_CTRL_MASKBIT);
    uint16_t flags = pci_config_read16(device, capability + PCI_MSIX_FLAGS);
    flags &= (uint16_t)~PCI_MSIX_FLAGS_MASKALL;
    pci_config_write16(device, capability + PCI_MSIX_FLAGS, flags | PCI_MSIX_FLAGS_ENABLE);
    return 0;
}

// Under the lock.
static void entry_direct(struct pci_device *device, uint32_t index, uint32_t cpu)
{
    volatile char *entry = device->msix.table + index * PCI_MSIX_ENTRY_SIZE;
    uint32_t target = firmware.cpu_apic_ids[cpu_instead(cpu)];
    if (target > MESSAGE_TARGET_MAX)
        target = firmware.cpu_apic_ids[0];
    arch_mmio_write32(
        entry + PCI_MSIX_ENTRY_LOWER_ADDR, MESSAGE_ADDRESS | target << MESSAGE_TARGET_SHIFT);
}

void pci_msix_set(struct pci_device *device, uint32_t index, uint32_t vector, uint32_t cpu)
{
    assert(device->msix.table != NULL);
    assert(index < device->msix.entries);
    assert(vector >= VECTOR_DEVICE_FIRST);
    assert(vector <= VECTOR_DEVICE_LAST);
    volatile char *entry = device->msix.table + index * PCI_MSIX_ENTRY_SIZE;
    uint64_t flags = spin_lock_irqsave(&msix_lock);
    device->msix.cpus[index] = (uint16_t)(cpu + 1);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
    entry_direct(device, index, cpu);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_DATA, vector);
    arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    spin_unlock_irqrestore(&msix_lock, flags);
}

void pci_msix_disable(struct pci_device *device)
{
    if (device->msix.table == NULL)
        return;
    uint32_t at = device->msix.capability + PCI_MSIX_FLAGS;
    uint16_t flags = pci_config_read16(device, at);
    pci_config_write16(device, at, flags & (uint16_t)~PCI_MSIX_FLAGS_ENABLE);
    uint64_t irq_flags = spin_lock_irqsave(&msix_lock);
    volatile char *table = device->msix.table;
    uint16_t *cpus = device->msix.cpus;
    device->msix.table = NULL;
    device->msix.cpus = NULL;
    spin_unlock_irqrestore(&msix_lock, irq_flags);
    vmap_free((void *)table);
    kfree(cpus);
}

// Directs those entries anew that were set to this CPU, or go there instead of another. Under the
// lock.
static void entries_redirect(struct pci_device *device)
{
    for (uint32_t i = 0; device->msix.table != NULL && i < device->msix.entries; i++) {
        volatile char *entry = device->msix.table + i * PCI_MSIX_ENTRY_SIZE;
        if (device->msix.cpus[i] == 0)
            continue;
        arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
        entry_direct(device, i, device->msix.cpus[i] - 1u);
        arch_mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        (void)arch_mmio_read32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL); // all that is written is there
    }
}

static void all_redirect(uint32_t cpu, bool is_off)
{
    uint64_t flags = spin_lock_irqsave(&msix_lock);
    if (is_off)
        cpumask_set(&cpus_off, cpu);
    else
        cpumask_clear(&cpus_off, cpu);
    for (struct pci_device *device = pci_device_next(NULL); device != NULL;
         device = pci_device_next(device))
        entries_redirect(device);
    spin_unlock_irqrestore(&msix_lock, flags);
}

static void cpu_leaves(uint32_t cpu)
{
    all_redirect(cpu, true);
}

static void cpu_is_back(uint32_t cpu)
{
    all_redirect(cpu, false);
}

void pci_msix_init(void)
{
    static struct cpu_hook hook = {.leaves = cpu_leaves, .is_back = cpu_is_back};
    cpu_hook_add(&hook);
}
