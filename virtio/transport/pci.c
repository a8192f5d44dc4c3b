// SPDX-License-Identifier: MIT
// Virtio over PCI (virtio 1.2, section 4.1), modern interface only. A transitional device has that
// too.
//
// MSI-X entry 0 is for configuration changes, entry 1 + n for queue n. If the device has fewer, or
// vectors have run out, the queues share the last one. A device without MSI-X (QEMU's balloon) uses
// its line, and a register says what for.

#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/rcu.h"
#include "kernel/pci/pci.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "virtio/device.h"
#include "virtio/transport/transport.h"

#include <linux/errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define VENDOR_VIRTIO     0x1af4
#define ID_TRANSITIONAL   0x1000
#define ID_MODERN         0x1040
#define ID_LAST           0x107f
#define NOTIFY_BYTES      4
#define CONFIG_BYTES_MAX  4096
#define CAPABILITIES_MAX  32
#define ENTRY_CONFIG      0
#define ISR_QUEUE         0x1 // 4.1.4.5; the header has the other bit only
#define ENTRY_FIRST_QUEUE 1

struct virtio_pci {
    struct virtio_device device;
    struct pci_device *pci;
    volatile char *common;
    volatile char *config; // NULL: the device has none
    uint32_t config_bytes;
    volatile char *notify;
    uint32_t notify_bytes, notify_multiplier;
    volatile char *isr;   // of a device without MSI-X, else NULL
    bool line_enabled;    // the line's handler may look; atomic
    uint32_t entry_count; // MSI-X entries in use
    uint32_t vectors[];   // by MSI-X entry; 0: none
};

static struct virtio_pci *of(struct virtio_device *device)
{
    return device->transport_data;
}

// ---- registers (4.1.4.3) ------------------------------------------------------------------------

static uint8_t pci_status(struct virtio_device *device)
{
    return arch_mmio_read8(of(device)->common + VIRTIO_PCI_COMMON_STATUS);
}

static void pci_set_status(struct virtio_device *device, uint8_t status)
{
    arch_mmio_write8(of(device)->common + VIRTIO_PCI_COMMON_STATUS, status);
}

static uint64_t pci_features(struct virtio_device *device)
{
    volatile char *common = of(device)->common;
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_DFSELECT, 0);
    uint64_t features = arch_mmio_read32(common + VIRTIO_PCI_COMMON_DF);
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_DFSELECT, 1);
    return features | (uint64_t)arch_mmio_read32(common + VIRTIO_PCI_COMMON_DF) << 32;
}

static void pci_set_features(struct virtio_device *device, uint64_t features)
{
    volatile char *common = of(device)->common;
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_GFSELECT, 0);
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_GF, (uint32_t)features);
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_GFSELECT, 1);
    arch_mmio_write32(common + VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32));
}

static uint32_t pci_config_read(struct virtio_device *device, uint32_t offset, uint32_t len_bytes)
{
    struct virtio_pci *pci = of(device);
    if (pci->config == NULL || range_exceeds(offset, len_bytes, pci->config_bytes))
        return 0;
    if (len_bytes == 1)
        return arch_mmio_read8(pci->config + offset);
    if (len_bytes == 2)
        return arch_mmio_read16(pci->config + offset);
    return arch_mmio_read32(pci->config + offset);
}

static void pci_config_write(
    struct virtio_device *device, uint32_t offset, uint32_t len_bytes, uint32_t value)
{
    struct virtio_pci *pci = of(device);
    if (pci->config == NULL || range_exceeds(offset, len_bytes, pci->config_bytes))
        return;
    if (len_bytes == 1)
        arch_mmio_write8(pci->config + offset, (uint8_t)value);
    else if (len_bytes == 2)
        arch_mmio_write16(pci->config + offset, (uint16_t)value);
    else
        arch_mmio_write32(pci->config + offset, value);
}

static uint32_t pci_config_generation(struct virtio_device *device)
{
    return arch_mmio_read8(of(device)->common + VIRTIO_PCI_COMMON_CFGGENERATION);
}

static uint16_t pci_queue_size_max(struct virtio_device *device, uint32_t index)
{
    volatile char *common = of(device)->common;
    if (index >= arch_mmio_read16(common + VIRTIO_PCI_COMMON_NUMQ))
        return 0;
    arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_SELECT, (uint16_t)index);
    return arch_mmio_read16(common + VIRTIO_PCI_COMMON_Q_SIZE);
}

static void write_address(volatile char *at, const void *memory)
{
    uint64_t address = virt_to_phys(memory);
    arch_mmio_write32(at, (uint32_t)address);
    arch_mmio_write32(at + 4, (uint32_t)(address >> 32));
}

static uint32_t entry_of_queue(const struct virtio_pci *pci, uint32_t index)
{
    return MIN(ENTRY_FIRST_QUEUE + index, pci->entry_count - 1);
}

static int pci_queue_enable(struct virtio_queue *queue)
{
    struct virtio_pci *pci = of(queue->device);
    volatile char *common = pci->common;
    const struct virtio_ring_config *config = &queue->ring.config;
    struct virtio_ring_layout layout = virtio_ring_layout(config->is_packed, config->size);
    char *memory = config->memory;
    arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_SELECT, (uint16_t)queue->index);
    uint64_t notify_at =
        (uint64_t)arch_mmio_read16(common + VIRTIO_PCI_COMMON_Q_NOFF) * pci->notify_multiplier;
    if (range_exceeds(notify_at, NOTIFY_BYTES, pci->notify_bytes) &&
        range_exceeds(notify_at, 2, pci->notify_bytes))
        return -EIO;
    queue->notify_address = pci->notify + notify_at;
    arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_SIZE, config->size);
    write_address(common + VIRTIO_PCI_COMMON_Q_DESCLO, memory);
    write_address(common + VIRTIO_PCI_COMMON_Q_AVAILLO, memory + layout.driver_offset);
    write_address(common + VIRTIO_PCI_COMMON_Q_USEDLO, memory + layout.device_offset);
    uint16_t entry = VIRTIO_MSI_NO_VECTOR;
    if (pci->isr != NULL) {
        arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
        return 0;
    }
    if (queue->used != NULL)
        entry = (uint16_t)entry_of_queue(pci, queue->index);
    arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_MSIX, entry);
    // 4.1.5.1.2: the device says whether it has the resources.
    if (arch_mmio_read16(common + VIRTIO_PCI_COMMON_Q_MSIX) != entry)
        return -ENOSPC;
    arch_mmio_write16(common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    return 0;
}

// 4.1.5.2: 16 bits, or 32 with VIRTIO_F_NOTIFICATION_DATA.
static void pci_notify(struct virtio_queue *queue, uint32_t value)
{
    if (value >> 16 != 0)
        arch_mmio_write32(queue->notify_address, value);
    else
        arch_mmio_write16(queue->notify_address, (uint16_t)value);
}

// ---- interrupts ---------------------------------------------------------------------------------

static void queue_handler(void *context, struct trap_frame *frame)
{
    virtio_interrupt_count();
    virtio_queue_interrupt(context);
}

// One vector for several queues.
static void shared_handler(void *context, struct trap_frame *frame)
{
    struct virtio_pci *pci = context;
    virtio_interrupt_count();
    for (uint32_t i = 0; i < pci->device.queue_count; i++) {
        if (entry_of_queue(pci, i) == pci->entry_count - 1)
            virtio_queue_interrupt(&pci->device.queues[i]);
    }
}

static void config_handler(void *context, struct trap_frame *frame)
{
    struct virtio_pci *pci = context;
    virtio_device_config_changed(&pci->device);
    if (pci->entry_count == 1)
        shared_handler(context, frame);
}

// 4.1.4.5: reading the register takes the interrupt back.
static void line_handler(void *context, struct trap_frame *frame)
{
    struct virtio_pci *pci = context;
    if (!__atomic_load_n(&pci->line_enabled, __ATOMIC_ACQUIRE))
        return;
    uint8_t isr = arch_mmio_read8(pci->isr);
    if (isr & VIRTIO_PCI_ISR_CONFIG)
        virtio_device_config_changed(&pci->device);
    if (isr & ISR_QUEUE)
        virtio_interrupt_count();
    for (uint32_t i = 0; (isr & ISR_QUEUE) && i < pci->device.queue_count; i++)
        virtio_queue_interrupt(&pci->device.queues[i]);
}

static int line_setup(struct virtio_pci *pci)
{
    __atomic_store_n(&pci->line_enabled, true, __ATOMIC_RELEASE);
    int error = pci_line_enable(pci->pci, line_handler, pci);
    if (error != 0)
        __atomic_store_n(&pci->line_enabled, false, __ATOMIC_RELEASE);
    return error;
}

static void pci_interrupts_release(struct virtio_device *device)
{
    struct virtio_pci *pci = of(device);
    if (pci->isr != NULL) {
        // The line stays, with a handler that may run on another CPU now.
        __atomic_store_n(&pci->line_enabled, false, __ATOMIC_RELEASE);
        rcu_synchronize();
        return;
    }
    pci_msix_disable(pci->pci);
    for (uint32_t i = 0; i < pci->entry_count; i++) {
        if (pci->vectors[i] != 0)
            irq_vector_free(pci->vectors[i]);
        pci->vectors[i] = 0;
    }
    pci->entry_count = 0;
}

static int pci_interrupts_setup(struct virtio_device *device, uint32_t count)
{
    struct virtio_pci *pci = of(device);
    if (pci->isr != NULL)
        return line_setup(pci);
    int error = pci_msix_enable(pci->pci);
    if (error != 0)
        return error;
    pci->entry_count = MIN(ENTRY_FIRST_QUEUE + count, (uint32_t)pci->pci->msix.entries);
    bool shares = pci->entry_count < ENTRY_FIRST_QUEUE + count;
    for (uint32_t i = 0; i < pci->entry_count; i++) {
        irq_handler *handler = queue_handler;
        void *context = i >= ENTRY_FIRST_QUEUE ? &device->queues[i - ENTRY_FIRST_QUEUE] : NULL;
        if (i == ENTRY_CONFIG) {
            handler = config_handler;
            context = pci;
        } else if (shares && i == pci->entry_count - 1) {
            handler = shared_handler;
            context = pci;
        }
        if (handler == queue_handler && device->queues[i - ENTRY_FIRST_QUEUE].used == NULL)
            continue;
        int vector = irq_vector_alloc(handler, context, device->name);
        if (vector < 0)
            return vector;
        pci->vectors[i] = (uint32_t)vector;
        uint32_t cpu = i >= ENTRY_FIRST_QUEUE ? device->queues[i - ENTRY_FIRST_QUEUE].cpu : 0;
        pci_msix_set(pci->pci, i, (uint32_t)vector, cpu);
    }
    arch_mmio_write16(pci->common + VIRTIO_PCI_COMMON_MSIX, ENTRY_CONFIG);
    return arch_mmio_read16(pci->common + VIRTIO_PCI_COMMON_MSIX) == ENTRY_CONFIG ? 0 : -ENOSPC;
}

static const struct virtio_transport transport = {
    .name = "pci",
    .status = pci_status,
    .set_status = pci_set_status,
    .features = pci_features,
    .set_features = pci_set_features,
    .config_read = pci_config_read,
    .config_write = pci_config_write,
    .config_generation = pci_config_generation,
    .config_max_bytes = CONFIG_BYTES_MAX,
    .queue_size_max = pci_queue_size_max,
    .interrupts_setup = pci_interrupts_setup,
    .queue_enable = pci_queue_enable,
    .notify = pci_notify,
    .interrupts_release = pci_interrupts_release,
};

// ---- discovery ----------------------------------------------------------------------------------

// Maps the first structure of a type (4.1.4): at least `least_bytes`, at most `most_bytes`. Also
// where its capability lies, and how much was mapped. NULL: there is none that can be used.
static volatile char *map_structure(struct pci_device *pci, uint8_t type, uint32_t least_bytes,
    uint32_t most_bytes, uint32_t *capability, uint32_t *mapped_bytes)
{
    uint32_t at = 0;
    for (int i = 0; i < CAPABILITIES_MAX; i++) {
        at = pci_capability_find(pci, PCI_CAP_ID_VNDR, at);
        if (at == 0)
            return NULL;
        if (pci_config_read8(pci, at + VIRTIO_PCI_CAP_CFG_TYPE) != type)
            continue;
        // 4.1.4.1: those with a reserved region are to be ignored.
        uint32_t bar = pci_config_read8(pci, at + VIRTIO_PCI_CAP_BAR);
        uint32_t len = pci_config_read32(pci, at + VIRTIO_PCI_CAP_LENGTH);
        if (bar >= PCI_BARS || len < least_bytes)
            continue;
        *mapped_bytes = MIN(len, most_bytes);
        volatile char *mapped = pci_bar_map(
            pci, bar, pci_config_read32(pci, at + VIRTIO_PCI_CAP_OFFSET), *mapped_bytes);
        *capability = at;
        if (mapped != NULL)
            return mapped;
    }
    return NULL;
}

static void unmap(volatile char *mapped)
{
    if (mapped != NULL)
        vmap_free((void *)mapped);
}

static bool map_structures(struct virtio_pci *pci)
{
    uint32_t capability, bytes;
    pci->common =
        map_structure(pci->pci, VIRTIO_PCI_CAP_COMMON_CFG, sizeof(struct virtio_pci_common_cfg),
            sizeof(struct virtio_pci_common_cfg) + 8, &capability, &bytes);
    pci->config = map_structure(
        pci->pci, VIRTIO_PCI_CAP_DEVICE_CFG, 1, CONFIG_BYTES_MAX, &capability, &pci->config_bytes);
    pci->notify = map_structure(
        pci->pci, VIRTIO_PCI_CAP_NOTIFY_CFG, 2, 1u << 20, &capability, &pci->notify_bytes);
    if (pci->notify != NULL)
        pci->notify_multiplier =
            pci_config_read32(pci->pci, capability + VIRTIO_PCI_NOTIFY_CAP_MULT);
    bool needs_isr = pci->pci->msix.capability == 0;
    if (needs_isr)
        pci->isr = map_structure(pci->pci, VIRTIO_PCI_CAP_ISR_CFG, 1, 1, &capability, &bytes);
    if (pci->common != NULL && pci->notify != NULL && (!needs_isr || pci->isr != NULL))
        return true;
    unmap(pci->common);
    unmap(pci->config);
    unmap(pci->notify);
    unmap(pci->isr);
    return false;
}

static bool match(const struct pci_device *pci)
{
    return pci->vendor == VENDOR_VIRTIO && pci->id >= ID_TRANSITIONAL && pci->id <= ID_LAST;
}

static int probe(struct pci_device *device)
{
    struct virtio_pci *pci = kzalloc(sizeof(*pci) + device->msix.entries * sizeof(pci->vectors[0]));
    if (pci == NULL)
        return -ENOMEM;
    pci->pci = device;
    if (!map_structures(pci)) {
        kfree(pci);
        return -ENODEV;
    }
    pci_device_enable(device);
    // 4.1.2.1: a transitional device says its type elsewhere.
    pci->device.type = device->id >= ID_MODERN ? device->id - ID_MODERN : device->subsystem_id;
    pci->device.transport = &transport;
    pci->device.transport_data = pci;
    fmt_snprintf(pci->device.place, sizeof(pci->device.place), "pci %04x:%02x:%02x.%u",
        device->segment, device->bus, device->slot, device->function);
    device->driver_data = pci;
    virtio_device_add(&pci->device);
    return 0;
}

void virtio_pci_start(void)
{
    static const struct pci_driver driver = {.name = "virtio", .match = match, .probe = probe};
    pci_driver_bind(&driver);
}
