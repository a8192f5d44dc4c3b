// SPDX-License-Identifier: MIT
// Virtio over memory-mapped registers (virtio 1.2, section 4.2), version 2 only.
//
// Devices are named on the command line, as Linux does and as QEMU's microvm adds it
// (virtio_mmio.device=SIZE@ADDRESS:INTERRUPT[:ID]), or in the ACPI tables (LNRO0005). A device that
// is named in both is one. All of a device's queues share one interrupt, on CPU 0.

#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "virtio/device.h"
#include "virtio/transport/transport.h"

#include <linux/errno.h>
#include <linux/virtio_mmio.h>

#define MAGIC           0x74726976 // "virt"
#define VERSION         2
#define REGISTERS_BYTES 0x200
#define DEVICES_MAX     64

struct virtio_mmio {
    struct virtio_device device;
    volatile char *registers;
    uint64_t address;
    uint32_t interrupt; // GSI
    uint32_t vector;    // 0: none
};

static struct virtio_mmio *of(struct virtio_device *device)
{
    return device->transport_data;
}

static uint32_t get(struct virtio_device *device, uint32_t offset)
{
    return arch_mmio_read32(of(device)->registers + offset);
}

static void put(struct virtio_device *device, uint32_t offset, uint32_t value)
{
    arch_mmio_write32(of(device)->registers + offset, value);
}

static uint8_t mmio_status(struct virtio_device *device)
{
    return (uint8_t)get(device, VIRTIO_MMIO_STATUS);
}

static void mmio_set_status(struct virtio_device *device, uint8_t status)
{
    put(device, VIRTIO_MMIO_STATUS, status);
}

static uint64_t mmio_features(struct virtio_device *device)
{
    put(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    uint64_t features = get(device, VIRTIO_MMIO_DEVICE_FEATURES);
    put(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return features | (uint64_t)get(device, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void mmio_set_features(struct virtio_device *device, uint64_t features)
{
    put(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    put(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
    put(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

static uint32_t mmio_config_read(struct virtio_device *device, uint32_t offset, uint32_t len_bytes)
{
    volatile char *at = of(device)->registers + VIRTIO_MMIO_CONFIG + offset;
    if (len_bytes == 1)
        return arch_mmio_read8(at);
    if (len_bytes == 2)
        return arch_mmio_read16(at);
    return arch_mmio_read32(at);
}

static void mmio_config_write(
    struct virtio_device *device, uint32_t offset, uint32_t len_bytes, uint32_t value)
{
    volatile char *at = of(device)->registers + VIRTIO_MMIO_CONFIG + offset;
    if (len_bytes == 1)
        arch_mmio_write8(at, (uint8_t)value);
    else if (len_bytes == 2)
        arch_mmio_write16(at, (uint16_t)value);
    else
        arch_mmio_write32(at, value);
}

static uint32_t mmio_config_generation(struct virtio_device *device)
{
    return get(device, VIRTIO_MMIO_CONFIG_GENERATION);
}

static uint16_t mmio_queue_size_max(struct virtio_device *device, uint32_t index)
{
    put(device, VIRTIO_MMIO_QUEUE_SEL, index);
    uint32_t size = get(device, VIRTIO_MMIO_QUEUE_NUM_MAX);
    return (uint16_t)MIN(size, (uint32_t)VIRTIO_RING_SIZE_MAX);
}

static void put_address(struct virtio_device *device, uint32_t offset, const void *memory)
{
    uint64_t address = virt_to_phys(memory);
    put(device, offset, (uint32_t)address);
    put(device, offset + 4, (uint32_t)(address >> 32));
}

static int mmio_queue_enable(struct virtio_queue *queue)
{
    struct virtio_device *device = queue->device;
    const struct virtio_ring_config *config = &queue->ring.config;
    struct virtio_ring_layout layout = virtio_ring_layout(config->is_packed, config->size);
    char *memory = config->memory;
    queue->notify_address = of(device)->registers + VIRTIO_MMIO_QUEUE_NOTIFY;
    put(device, VIRTIO_MMIO_QUEUE_SEL, queue->index);
    // 4.2.3.2: it must not be in use.
    if (get(device, VIRTIO_MMIO_QUEUE_READY) != 0)
        return -EBUSY;
    put(device, VIRTIO_MMIO_QUEUE_NUM, config->size);
    put_address(device, VIRTIO_MMIO_QUEUE_DESC_LOW, memory);
    put_address(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, memory + layout.driver_offset);
    put_address(device, VIRTIO_MMIO_QUEUE_USED_LOW, memory + layout.device_offset);
    put(device, VIRTIO_MMIO_QUEUE_READY, 1);
    return 0;
}

static void mmio_notify(struct virtio_queue *queue, uint32_t value)
{
    arch_mmio_write32(queue->notify_address, value);
}

static void handler(void *context, struct trap_frame *frame)
{
    struct virtio_device *device = context;
    uint32_t why = get(device, VIRTIO_MMIO_INTERRUPT_STATUS);
    if (why == 0)
        return;
    // Before the queues are looked at: what is used after that interrupts again.
    put(device, VIRTIO_MMIO_INTERRUPT_ACK, why);
    if (why & VIRTIO_MMIO_INT_CONFIG)
        virtio_device_config_changed(device);
    if (why & VIRTIO_MMIO_INT_VRING)
        virtio_interrupt_count();
    for (uint32_t i = 0; why & VIRTIO_MMIO_INT_VRING && i < device->queue_count; i++)
        virtio_queue_interrupt(&device->queues[i]);
}

static int mmio_interrupts_setup(struct virtio_device *device, uint32_t count)
{
    struct virtio_mmio *mmio = of(device);
    int vector = irq_vector_alloc(handler, device, device->name);
    if (vector < 0)
        return vector;
    mmio->vector = (uint32_t)vector;
    // As QEMU's tables describe it: level, active high.
    return irq_gsi_route_wire(mmio->interrupt, mmio->vector, false, true);
}

static void mmio_interrupts_release(struct virtio_device *device)
{
    struct virtio_mmio *mmio = of(device);
    if (mmio->vector == 0)
        return;
    irq_gsi_mask(mmio->interrupt);
    irq_vector_free(mmio->vector);
    mmio->vector = 0;
}

static const struct virtio_transport transport = {
    .name = "mmio",
    .status = mmio_status,
    .set_status = mmio_set_status,
    .features = mmio_features,
    .set_features = mmio_set_features,
    .config_read = mmio_config_read,
    .config_write = mmio_config_write,
    .config_generation = mmio_config_generation,
    .config_max_bytes = REGISTERS_BYTES - VIRTIO_MMIO_CONFIG,
    .queue_size_max = mmio_queue_size_max,
    .interrupts_setup = mmio_interrupts_setup,
    .queue_enable = mmio_queue_enable,
    .notify = mmio_notify,
    .interrupts_release = mmio_interrupts_release,
};

// ---- discovery ----------------------------------------------------------------------------------

static uint64_t known[DEVICES_MAX]; // addresses that were looked at
static uint32_t known_count;

static bool is_known(uint64_t address)
{
    for (uint32_t i = 0; i < known_count; i++) {
        if (known[i] == address)
            return true;
    }
    return false;
}

static void add(uint64_t address, uint32_t interrupt)
{
    if (is_known(address) || known_count == DEVICES_MAX)
        return;
    known[known_count++] = address;
    volatile char *registers = vmap_device(address, REGISTERS_BYTES, false);
    struct virtio_mmio *mmio = kzalloc(sizeof(*mmio));
    if (registers == NULL || mmio == NULL) {
        log_warning("virtio: no memory for the device at %#lx", address);
        goto fail;
    }
    // 4.2.2.2: device 0 is a place without a device.
    uint32_t type = arch_mmio_read32(registers + VIRTIO_MMIO_DEVICE_ID);
    uint32_t version = arch_mmio_read32(registers + VIRTIO_MMIO_VERSION);
    if (arch_mmio_read32(registers + VIRTIO_MMIO_MAGIC_VALUE) != MAGIC || type == 0)
        goto fail;
    if (version != VERSION) {
        log_warning("virtio: the device at %#lx has the legacy interface (version %u): with QEMU, "
                    "-global virtio-mmio.force-legacy=false",
            address, version);
        goto fail;
    }
    *mmio = (struct virtio_mmio){.device.type = type,
        .device.transport = &transport,
        .device.transport_data = mmio,
        .registers = registers,
        .address = address,
        .interrupt = interrupt};
    fmt_snprintf(mmio->device.place, sizeof(mmio->device.place), "mmio %#lx", address);
    virtio_device_add(&mmio->device);
    return;
fail:
    if (registers != NULL)
        vmap_free((void *)registers);
    kfree(mmio);
}

// SIZE@ADDRESS:INTERRUPT[:ID]
static int parse_device(const char *text, size_t len)
{
    const char *at = memchr(text, '@', len);
    const char *end = text + len;
    const char *colon = at != NULL ? memchr(at, ':', (size_t)(end - at)) : NULL;
    uint64_t size, address, interrupt;
    if (colon == NULL)
        return -EINVAL;
    const char *second = memchr(colon + 1, ':', (size_t)(end - colon - 1));
    const char *interrupt_end = second != NULL ? second : end;
    if (cmdline_parse_u64(text, (size_t)(at - text), &size) != 0 ||
        cmdline_parse_u64(at + 1, (size_t)(colon - at - 1), &address) != 0 ||
        cmdline_parse_u64(colon + 1, (size_t)(interrupt_end - colon - 1), &interrupt) != 0 ||
        size < REGISTERS_BYTES || interrupt > UINT32_MAX)
        return -EINVAL;
    add(address, (uint32_t)interrupt);
    return 0;
}

// The devices can't be looked at when options are parsed: it is only checked that there is one.
static int option_device(const char *value)
{
    return 0;
}
BOOT_OPTION_FUNCTION(option_device, "virtio_mmio.device",
    "SIZE@ADDRESS:INTERRUPT[:ID]: a virtio device with memory-mapped registers; several times.");

static void add_from_command_line(void)
{
    struct cmdline_iterator iterator;
    struct cmdline_token token;
    cmdline_iterator_init(&iterator, option_command_line, strlen(option_command_line));
    while (cmdline_next(&iterator, &token) == 0) {
        if (token.is_init_argument || !cmdline_name_is(&token, "virtio_mmio.device"))
            continue;
        if (token.value == NULL || parse_device(token.value, token.value_len) != 0)
            log_warning("virtio: virtio_mmio.device is SIZE@ADDRESS:INTERRUPT, not %.*s",
                (int)token.value_len, token.value != NULL ? token.value : "");
    }
}

void virtio_mmio_start(void)
{
    add_from_command_line();
    for (uint32_t i = 0; i < firmware.virtio_mmio_count; i++)
        add(firmware.virtio_mmio[i].address, firmware.virtio_mmio[i].gsi);
}
