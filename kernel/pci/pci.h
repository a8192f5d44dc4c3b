// SPDX-License-Identifier: MIT
// PCI: configuration space, the devices that there are, their memory, MSI-X.
//
// A folder of its own below virtio and NVMe, which both drive PCI functions. Devices are found once
// at start-up (pci_init()), by walking the buses from the first one of each segment that the
// firmware names (MCFG), or from bus 0 through I/O ports when it names none. Addresses are those
// that the firmware gave. Interrupts are MSI-X: each entry of a function's table is its own vector,
// directed to one CPU; or the old line, for functions without.
//
// What the host says in configuration space is checked before use: capability lists are walked at
// most as far as they can be long, and ranges must lie inside their base address register.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/irq.h"

#define PCI_BARS 6

struct pci_device;

struct pci_driver {
    const char *name;
    // Is it one for this driver?
    bool (*match)(const struct pci_device *device);
    // Takes it. Task context. 0 or -errno: then nobody drives it.
    int (*probe)(struct pci_device *device);
};

// Fixed after it was found, but for driver, driver_data, msix.
struct pci_device {
    struct list_node node;
    volatile char *config; // its 4 KiB of memory-mapped configuration space, or NULL: ports
    uint16_t segment;
    uint8_t bus, slot, function;
    uint16_t vendor, id, subsystem_vendor, subsystem_id;
    uint32_t class_code; // class << 16 | subclass << 8 | interface
    uint8_t revision;
    const struct pci_driver *driver;
    void *driver_data; // the driver's
    struct {
        uint16_t capability; // 0: none
        uint16_t entries;
        volatile char *table; // NULL: not enabled
        // By entry: 0, or the CPU that it was set to plus 1, wherever it goes while that one is
        // off. Under msix.c's lock.
        uint16_t *cpus;
    } msix;
};

// Finds the devices. Once, task context, before drivers.
void pci_init(void);
// Offers all devices that nobody drives to this driver. Task context.
void pci_driver_bind(const struct pci_driver *driver);
// In order of discovery; NULL: first, and end.
struct pci_device *pci_device_next(struct pci_device *device);

// Configuration space; offsets below 4096, aligned. Where only ports reach it, offsets from 256 on
// read as all ones and are not written. Any context.
uint8_t pci_config_read8(const struct pci_device *device, uint32_t offset);
uint16_t pci_config_read16(const struct pci_device *device, uint32_t offset);
uint32_t pci_config_read32(const struct pci_device *device, uint32_t offset);
void pci_config_write16(const struct pci_device *device, uint32_t offset, uint16_t value);
void pci_config_write32(const struct pci_device *device, uint32_t offset, uint32_t value);

// Offset of the next capability with this id behind `after` (0: the first one), 0: none. Task
// context.
uint32_t pci_capability_find(const struct pci_device *device, uint8_t id, uint32_t after);

// Switches memory decoding and bus mastering on, and the old interrupt line off.
void pci_device_enable(struct pci_device *device);
// Bus mastering off: the device reads and writes no memory any more and sends no interrupts.
void pci_device_disable(struct pci_device *device);

// Maps [offset, offset + len_bytes) of memory region `bar`, uncached. NULL: no memory region,
// without an address, too small, or no memory. Unmapped by vmap_free() of the result. Task context;
// before the device is in use (the region's size is found by writing to its register).
volatile void *pci_bar_map(
    struct pci_device *device, uint32_t bar, uint64_t offset, uint64_t len_bytes);

// Switches MSI-X on with all entries masked. 0; -ENODEV: it has none; -EIO: bad table; -ENOMEM.
[[nodiscard]] int pci_msix_enable(struct pci_device *device);
// Entry `index` (below msix.entries) raises `vector` on `cpu`, or on another one while that is off.
// Also while the device is in use.
void pci_msix_set(struct pci_device *device, uint32_t index, uint32_t vector, uint32_t cpu);
void pci_msix_disable(struct pci_device *device);
void pci_msix_init(void); // from pci_init(): follows CPUs that go off and come back
// Interrupts by the function's line, on CPU 0: the handler is called for everybody's on that line,
// too. For good: the context stays valid. Task context. 0; -ENODEV: the firmware gave it none;
// -ENOSPC.
[[nodiscard]] int pci_line_enable(struct pci_device *device, irq_handler *handler, void *context);
