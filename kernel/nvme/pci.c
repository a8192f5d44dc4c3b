// SPDX-License-Identifier: MIT
// Finding controllers on PCI, their registers and interrupts (NVMe over PCIe transport
// specification 1.0).

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/shutdown.h"
#include "kernel/nvme/internal.h"
#include "kernel/nvme/nvme.h"
#include "kernel/pci/pci.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <nvme/types.h>

#define CLASS_NVME      0x010802 // mass storage, non-volatile memory, NVM Express
#define REGISTERS_BAR   0
#define QUEUE_ENTRIES   256u
#define CONTROLLERS_MAX 64

static struct nvme_controller *controllers[CONTROLLERS_MAX]; // written at start-up by one thread
static uint32_t controller_count;

// ---- interrupts: entry 0 is the admin queue's, entry 1 + i pair i's -----------------------------

static void pair_handler(void *context, struct trap_frame *frame)
{
    nvme_pair_interrupt(context);
}

static void admin_handler(void *context, struct trap_frame *frame)
{
    struct nvme_controller *controller = context;
    nvme_admin_interrupt(controller);
    for (uint32_t i = 0; controller->shares_vector && i < controller->pair_count; i++)
        nvme_pair_interrupt(&controller->pairs[i]);
}

static int set_vector(struct nvme_controller *controller, uint32_t entry, irq_handler *handler,
    void *context, uint32_t cpu)
{
    int vector = irq_vector_alloc(handler, context, controller->name);
    if (vector >= 0)
        pci_msix_set(controller->pci, entry, (uint32_t)vector, cpu);
    return vector;
}

static void free_vectors(struct nvme_controller *controller)
{
    pci_msix_disable(controller->pci);
    for (uint32_t i = 0; i < controller->pair_count; i++) {
        if (controller->pairs[i].vector != 0)
            irq_vector_free(controller->pairs[i].vector);
        controller->pairs[i].vector = 0;
    }
    if (controller->admin.vector != 0)
        irq_vector_free(controller->admin.vector);
    controller->admin.vector = 0;
}

static int set_vectors(struct nvme_controller *controller)
{
    int error = pci_msix_enable(controller->pci);
    if (error != 0)
        return error;
    int vector = set_vector(controller, 0, admin_handler, controller, 0);
    if (vector < 0)
        return vector;
    controller->admin.vector = (uint32_t)vector;
    controller->shares_vector = controller->pci->msix.entries < 1 + controller->pair_count;
    for (uint32_t i = 0; i < controller->pair_count && !controller->shares_vector; i++) {
        vector = set_vector(controller, 1 + i, pair_handler, &controller->pairs[i], i);
        if (vector < 0)
            return vector;
        controller->pairs[i].vector = (uint32_t)vector;
    }
    return 0;
}

// ---- probing ------------------------------------------------------------------------------------

static uint64_t read64(struct nvme_controller *controller, uint32_t offset)
{
    uint64_t low = arch_mmio_read32(controller->registers + offset);
    return low | (uint64_t)arch_mmio_read32(controller->registers + offset + 4) << 32;
}

static int map_registers(struct nvme_controller *controller)
{
    controller->registers = pci_bar_map(controller->pci, REGISTERS_BAR, 0, NVME_REGISTERS_BYTES);
    if (controller->registers == NULL)
        return -ENODEV;
    pci_device_enable(controller->pci);
    int error =
        nvme_capabilities_parse(read64(controller, NVME_REG_CAP), &controller->capabilities);
    pci_device_disable(controller->pci);
    if (error != 0)
        return error;
    uint64_t stride = controller->capabilities.doorbell_stride_bytes;
    controller->doorbells = pci_bar_map(
        controller->pci, REGISTERS_BAR, NVME_DOORBELLS, 2 * (controller->pair_count + 1) * stride);
    return controller->doorbells != NULL ? 0 : -ENODEV;
}

static int make_pairs(struct nvme_controller *controller)
{
    uint16_t entries = (uint16_t)MIN(controller->capabilities.entries_max, QUEUE_ENTRIES);
    controller->identify_page = page_alloc_kernel(0, 0);
    controller->pairs = kzalloc(controller->pair_count * sizeof(*controller->pairs));
    if (controller->pairs == NULL || controller->identify_page == NULL)
        return -ENOMEM;
    int error = nvme_pair_create(controller, &controller->admin,
        (uint16_t)MIN(controller->capabilities.entries_max, (uint32_t)NVME_ADMIN_ENTRIES));
    for (uint32_t i = 0; i < controller->pair_count && error == 0; i++)
        error = nvme_pair_create(controller, &controller->pairs[i], entries);
    return error;
}

static void unmap(volatile char *mapped)
{
    if (mapped != NULL)
        vmap_free((void *)mapped);
}

// The controller is off, or was never on.
static void controller_free(struct nvme_controller *controller)
{
    for (uint32_t i = 0; controller->pairs != NULL && i < controller->pair_count; i++)
        nvme_pair_destroy(&controller->pairs[i]);
    nvme_pair_destroy(&controller->admin);
    kfree(controller->pairs);
    if (controller->identify_page != NULL)
        page_free_kernel(controller->identify_page, 0);
    if (controller->shadow != NULL)
        page_free_kernel(controller->shadow, 1);
    unmap(controller->doorbells);
    unmap(controller->registers);
    kfree(controller);
}

static int bring_up(struct nvme_controller *controller)
{
    int error = map_registers(controller);
    if (error == 0)
        error = make_pairs(controller);
    if (error != 0)
        return error;
    pci_device_enable(controller->pci);
    error = nvme_controller_stop(controller); // whatever the firmware did with it
    if (error == 0)
        error = set_vectors(controller);
    if (error == 0)
        error = nvme_controller_start(controller);
    if (error == 0) {
        nvme_recovery_start(controller);
        error = nvme_namespaces_find(controller);
    }
    if (error == 0)
        return 0;
    // One that is being reset, or was used, stays: somebody may still look at it.
    uint32_t live = NVME_LIVE;
    if (nvme_state(controller) != NVME_STARTING &&
        (controller->namespace_count != 0 ||
            !atomic_cmpxchg(&controller->state, &live, NVME_STARTING)))
        return 0;
    (void)timer_cancel_sync(&controller->watchdog);
    (void)nvme_controller_stop(controller);
    free_vectors(controller);
    return error;
}

static int probe(struct pci_device *device)
{
    if (controller_count == CONTROLLERS_MAX)
        return -ENOSPC;
    struct nvme_controller *controller = kzalloc(sizeof(*controller));
    if (controller == NULL)
        return -ENOMEM;
    controller->pci = device;
    controller->index = controller_count;
    controller->pair_count = cpumask_count(&cpu_online);
    wait_queue_init(&controller->answered);
    nvme_recovery_init(controller);
    fmt_snprintf(controller->name, sizeof(controller->name), "nvme%u", controller->index);
    int error = bring_up(controller);
    if (error != 0) {
        controller_free(controller);
        return error;
    }
    controllers[controller_count++] = controller;
    device->driver_data = controller;
    log_info("nvme: %s: %s, firmware %s, %u queues of %u%s%s", controller->name,
        controller->facts.model, controller->facts.firmware, controller->pair_count,
        controller->pairs[0].queue.size, controller->facts.sgl ? ", SGL" : "",
        controller->shadow != NULL ? ", shadow doorbells" : "");
    return 0;
}

static bool match(const struct pci_device *device)
{
    return device->class_code == CLASS_NVME;
}

// 3.6: the controller writes what it has in its cache.
static void shut_down(void)
{
    for (uint32_t i = 0; i < controller_count; i++) {
        if (nvme_state(controllers[i]) == NVME_LIVE)
            nvme_controller_shut_down(controllers[i]);
    }
}

void nvme_init(void)
{
    static const struct pci_driver driver = {.name = "nvme", .match = match, .probe = probe};
    static struct shutdown_step step = {.function = shut_down};
    pci_driver_bind(&driver);
    if (controller_count != 0)
        shutdown_register(&step);
}
