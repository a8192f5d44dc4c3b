// SPDX-License-Identifier: MIT
// Finding PCI devices, and their memory regions.

#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/io.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/pci/pci.h"
#include "mm/slab.h"

#include <linux/pci_regs.h>

#define SLOTS            32
#define FUNCTIONS        8
#define FUNCTION_BYTES   4096ul
#define BUS_BYTES        (SLOTS * FUNCTIONS * FUNCTION_BYTES)
#define CLASS_BRIDGE_PCI 0x0604

static bool pci_enabled = true;
BOOT_OPTION_BOOL(pci_enabled, "pci", "Look for PCI devices (default: yes).");

static struct list_node devices = LIST_INIT(devices); // written at start-up by one thread

// A range of buses and how their configuration space is reached.
struct segment {
    uint16_t number;
    uint8_t first_bus, last_bus;
    uint64_t base;    // physical address of bus 0's; 0: by ports
    uint64_t seen[4]; // buses that were scanned: bridges may say anything
};

struct pci_device *pci_device_next(struct pci_device *device)
{
    struct list_node *next = device != NULL ? device->node.next : devices.next;
    return next == &devices ? NULL : container_of(next, struct pci_device, node);
}

static void read_identity(struct pci_device *device)
{
    uint32_t class_code = pci_config_read32(device, PCI_CLASS_REVISION);
    device->class_code = class_code >> 8;
    device->revision = (uint8_t)class_code;
    if ((pci_config_read8(device, PCI_HEADER_TYPE) & 0x7f) == PCI_HEADER_TYPE_NORMAL) {
        device->subsystem_vendor = pci_config_read16(device, PCI_SUBSYSTEM_VENDOR_ID);
        device->subsystem_id = pci_config_read16(device, PCI_SUBSYSTEM_ID);
    }
    uint32_t msix = pci_capability_find(device, PCI_CAP_ID_MSIX, 0);
    if (msix != 0) {
        device->msix.capability = (uint16_t)msix;
        device->msix.entries =
            (pci_config_read16(device, msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1;
    }
}

static void scan_bus(struct segment *segment, uint32_t bus);

// One function: true if it exists. A bridge's other side is scanned.
static bool scan_function(
    struct segment *segment, struct pci_device *probe, volatile char *bus_config)
{
    uint64_t offset = (probe->slot * FUNCTIONS + probe->function) * FUNCTION_BYTES;
    probe->config = bus_config != NULL ? bus_config + offset : NULL;
    uint32_t identity = pci_config_read32(probe, PCI_VENDOR_ID);
    probe->vendor = (uint16_t)identity;
    probe->id = (uint16_t)(identity >> 16);
    if (probe->vendor == 0xffff || probe->vendor == 0)
        return false;
    struct pci_device *device = kzalloc(sizeof(*device));
    if (device == NULL) {
        log_error("pci: no memory for a device");
        return false;
    }
    *device = *probe;
    read_identity(device);
    list_add_tail(&devices, &device->node);
    if (device->class_code >> 8 == CLASS_BRIDGE_PCI)
        scan_bus(segment, pci_config_read8(device, PCI_SECONDARY_BUS));
    return true;
}

static void scan_bus(struct segment *segment, uint32_t bus)
{
    // Each bus at most once, so that this ends whatever bridges say; bridges nest as deep as there
    // are buses that the firmware has numbered, upwards.
    if (bus < segment->first_bus || bus > segment->last_bus ||
        segment->seen[bus / 64] & BIT(bus % 64))
        return;
    segment->seen[bus / 64] |= BIT(bus % 64);
    volatile char *config = NULL;
    if (segment->base != 0) {
        config = vmap_device(segment->base + bus * BUS_BYTES, BUS_BYTES, false);
        if (config == NULL) {
            log_error("pci: no memory for the configuration space of bus %u", bus);
            return;
        }
    }
    uint32_t found = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        struct pci_device probe = {
            .segment = segment->number, .bus = (uint8_t)bus, .slot = (uint8_t)slot};
        if (!scan_function(segment, &probe, config))
            continue;
        found++;
        bool several = pci_config_read8(&probe, PCI_HEADER_TYPE) & 0x80;
        for (uint32_t function = 1; several && function < FUNCTIONS; function++) {
            probe.function = (uint8_t)function;
            scan_function(segment, &probe, config);
        }
    }
    if (found == 0 && config != NULL)
        vmap_free((void *)config);
}

void pci_init(void)
{
    if (!pci_enabled)
        return;
    pci_msix_init();
    for (uint32_t i = 0; i < firmware.mcfg_count; i++) {
        const struct acpi_mcfg_entry *entry = &firmware.mcfg[i];
        struct segment segment = {.number = entry->segment,
            .first_bus = entry->first_bus,
            .last_bus = entry->last_bus,
            .base = entry->base_address};
        if (IS_ALIGNED(entry->base_address, PAGE_SIZE) && entry->base_address != 0)
            scan_bus(&segment, entry->first_bus);
    }
    // Without tables: is there a bridge from the host (or anything) behind the ports?
    struct segment ports = {.last_bus = 255};
    if (firmware.mcfg_count == 0)
        scan_bus(&ports, 0);
}

void pci_driver_bind(const struct pci_driver *driver)
{
    for (struct pci_device *device = NULL; (device = pci_device_next(device)) != NULL;) {
        if (device->driver != NULL || !driver->match(device))
            continue;
        int error = driver->probe(device);
        if (error == 0)
            device->driver = driver;
        else
            log_warning("pci: %04x:%02x:%02x.%u (%04x:%04x): %s can't drive it (error %d)",
                device->segment, device->bus, device->slot, device->function, device->vendor,
                device->id, driver->name, -error);
    }
}

void pci_device_enable(struct pci_device *device)
{
    uint16_t command = pci_config_read16(device, PCI_COMMAND);
    command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
    pci_config_write16(device, PCI_COMMAND, command);
}

void pci_device_disable(struct pci_device *device)
{
    uint16_t command = pci_config_read16(device, PCI_COMMAND);
    pci_config_write16(device, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
}

// The region's address and size. False: no memory region, or the firmware gave it no address.
static bool bar_read(struct pci_device *device, uint32_t bar, uint64_t *address, uint64_t *len)
{
    uint32_t offset = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint32_t low = pci_config_read32(device, offset);
    if (low & PCI_BASE_ADDRESS_SPACE_IO)
        return false;
    bool is_64_bit = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (is_64_bit && bar + 1 == PCI_BARS)
        return false;
    uint32_t high = is_64_bit ? pci_config_read32(device, offset + 4) : 0;
    // The size is what does not stay of all ones; nothing may be decoded meanwhile (6.2.5.1).
    uint16_t command = pci_config_read16(device, PCI_COMMAND);
    pci_config_write16(device, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
    pci_config_write32(device, offset, UINT32_MAX);
    uint64_t mask = pci_config_read32(device, offset) & PCI_BASE_ADDRESS_MEM_MASK;
    pci_config_write32(device, offset, low);
    if (is_64_bit) {
        pci_config_write32(device, offset + 4, UINT32_MAX);
        mask |= (uint64_t)pci_config_read32(device, offset + 4) << 32;
        pci_config_write32(device, offset + 4, high);
    } else {
        mask |= UINT64_C(0xffffffff00000000);
    }
    pci_config_write16(device, PCI_COMMAND, command);
    *address = (uint64_t)high << 32 | (low & PCI_BASE_ADDRESS_MEM_MASK);
    *len = ~mask + 1;
    return *address != 0 && *len >= 16 && IS_POWER_OF_TWO(*len) && IS_ALIGNED(*address, *len);
}

volatile void *pci_bar_map(
    struct pci_device *device, uint32_t bar, uint64_t offset, uint64_t len_bytes)
{
    uint64_t address, bar_bytes;
    if (bar >= PCI_BARS || len_bytes == 0 || !bar_read(device, bar, &address, &bar_bytes) ||
        range_exceeds(offset, len_bytes, bar_bytes))
        return NULL;
    return vmap_device(address + offset, len_bytes, false);
}
