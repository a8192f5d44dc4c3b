// SPDX-License-Identifier: MIT
// Controllers: registers, admin commands, and the steps from reset to work (base specification 2.0,
// 3.5.1).

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "kernel/nvme/internal.h"
#include "kernel/pci/pci.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "sched/sched.h"

#include <linux/errno.h>
#include <nvme/types.h>

#define ADMIN_TIMEOUT_NS    (10000 * NS_PER_MS)
#define SHUTDOWN_TIMEOUT_NS (5000 * NS_PER_MS)
#define ALL_ONES            UINT32_MAX // what a device reads as that is not there

static bool use_shadow = true;
BOOT_OPTION_BOOL(use_shadow, "nvme.shadow_doorbells",
    "Tell NVMe controllers through memory what is in their queues, where they can be told so "
    "(default: yes).");
static bool use_sgl = true;
BOOT_OPTION_BOOL(use_sgl, "nvme.sgl",
    "Describe memory to NVMe controllers by SGLs where they can be described so (default: yes); "
    "no: "
    "by PRP lists, with requests that are cut where those have gaps.");

COUNTER(nvme, doorbells); // written: exits
COUNTER(nvme, doorbells_suppressed);

// ---- registers ----------------------------------------------------------------------------------

static uint32_t status(const struct nvme_controller *controller)
{
    return arch_mmio_read32(controller->registers + NVME_REG_CSTS);
}

static void write64(struct nvme_controller *controller, uint32_t offset, uint64_t value)
{
    arch_mmio_write32(controller->registers + offset, (uint32_t)value);
    arch_mmio_write32(controller->registers + offset + 4, (uint32_t)(value >> 32));
}

// Waits until the controller says that it is ready, or is not. -EIO: it has failed, or is gone.
static int wait_ready(struct nvme_controller *controller, bool ready)
{
    uint64_t deadline_ns = time_monotonic_ns() + controller->capabilities.ready_timeout_ns;
    for (;;) {
        uint32_t value = status(controller);
        if (value == ALL_ONES || (ready && NVME_CSTS_CFS(value)))
            return -EIO;
        if (NVME_CSTS_RDY(value) == ready)
            return 0;
        if (time_monotonic_ns() > deadline_ns)
            return -EIO;
        sched_yield();
    }
}

// Writes a doorbell, or what stands for it (annex B.5): the controller has said up to where it
// looks by itself.
static void ring(volatile char *doorbell, uint32_t *shadow, const uint32_t *event, uint32_t value)
{
    if (shadow != NULL) {
        uint16_t old = (uint16_t)*shadow;
        // Entries before their index; the index before we look whether that is enough.
        atomic_store_release(shadow, value);
        atomic_fence();
        uint16_t wanted = (uint16_t)atomic_load_relaxed(event);
        if ((uint16_t)(value - wanted - 1) >= (uint16_t)(value - old)) {
            counter_add(nvme, doorbells_suppressed, 1);
            return;
        }
    }
    counter_add(nvme, doorbells, 1);
    atomic_fence_release();
    arch_mmio_write32(doorbell, value);
}

void nvme_pair_publish(struct nvme_pair *pair)
{
    assert_lock_held(&pair->lock);
    if (nvme_queue_publish(&pair->queue))
        ring(pair->tail_doorbell, pair->shadow, pair->event, pair->queue.tail);
}

void nvme_pair_taken(struct nvme_pair *pair)
{
    assert_lock_held(&pair->lock);
    bool shares = pair->shadow != NULL;
    ring(pair->head_doorbell, shares ? pair->shadow + 1 : NULL, shares ? pair->event + 1 : NULL,
        pair->queue.head);
}

// ---- memory of a pair ---------------------------------------------------------------------------

static unsigned order_of(size_t len_bytes)
{
    unsigned order = 0;
    while (PAGE_SIZE << order < len_bytes)
        order++;
    return order;
}

int nvme_pair_create(struct nvme_controller *controller, struct nvme_pair *pair, uint16_t entries)
{
    uint16_t slots = entries - 1;
    struct nvme_queue *queue = &pair->queue;
    spin_lock_init(&pair->lock);
    list_init(&pair->retry);
    list_init(&pair->finished);
    pair->controller = controller;
    queue->size = entries;
    queue->slot_count = slots;
    queue->commands = page_alloc_kernel(order_of(entries * sizeof(*queue->commands)), 0);
    queue->completions = page_alloc_kernel(order_of(entries * sizeof(*queue->completions)), 0);
    queue->slots = kzalloc(slots * sizeof(*queue->slots));
    pair->lists = page_alloc_kernel(order_of(slots * NVME_LIST_BYTES), 0);
    pair->pages = kzalloc(slots * sizeof(*pair->pages));
    if (queue->commands != NULL && queue->completions != NULL && queue->slots != NULL &&
        pair->lists != NULL && pair->pages != NULL)
        return 0;
    nvme_pair_destroy(pair);
    return -ENOMEM;
}

void nvme_pair_destroy(struct nvme_pair *pair)
{
    struct nvme_queue *queue = &pair->queue;
    if (queue->commands != NULL)
        page_free_kernel(queue->commands, order_of(queue->size * sizeof(*queue->commands)));
    if (queue->completions != NULL)
        page_free_kernel(queue->completions, order_of(queue->size * sizeof(*queue->completions)));
    if (pair->lists != NULL)
        page_free_kernel(pair->lists, order_of(queue->slot_count * NVME_LIST_BYTES));
    kfree(queue->slots);
    kfree(pair->pages);
    *queue = (struct nvme_queue){};
    pair->lists = NULL;
    pair->pages = NULL;
}

static void set_doorbells(struct nvme_controller *controller, struct nvme_pair *pair, uint32_t id)
{
    uint32_t stride = controller->capabilities.doorbell_stride_bytes;
    pair->tail_doorbell = controller->doorbells + 2ul * id * stride;
    pair->head_doorbell = pair->tail_doorbell + stride;
    pair->shadow = pair->event = NULL;
}

// ---- admin commands -----------------------------------------------------------------------------

struct admin_wait {
    bool done; // atomic
    uint16_t status;
    uint32_t value;
};

// Stands for who has given up waiting: the command is still the controller's.
static struct admin_wait abandoned;

static void take_answers(struct nvme_controller *controller)
{
    struct nvme_pair *admin = &controller->admin;
    struct nvme_result result;
    int taken;
    bool any = false;
    while ((taken = nvme_queue_take(&admin->queue, &result)) == 1) {
        struct admin_wait *wait = result.token;
        any = true;
        if (wait == &abandoned)
            continue;
        wait->status = result.status;
        wait->value = result.value;
        atomic_store_release(&wait->done, true);
    }
    if (any)
        nvme_pair_taken(admin);
    if (taken < 0)
        nvme_controller_reset(controller, admin->queue.broken);
}

void nvme_admin_interrupt(struct nvme_controller *controller)
{
    spin_lock(&controller->admin.lock);
    if (controller->admin.open)
        take_answers(controller);
    spin_unlock(&controller->admin.lock);
    wait_wake_all(&controller->answered);
}

static void give_up(struct nvme_pair *admin, struct admin_wait *wait)
{
    for (uint32_t i = 0; i < admin->queue.slot_count; i++) {
        if (admin->queue.slots[i].token == wait)
            admin->queue.slots[i].token = &abandoned;
    }
}

// One command and its answer. 0 or -errno. Task context.
static int execute(
    struct nvme_controller *controller, const struct nvme_command *command, uint32_t *value)
{
    struct nvme_pair *admin = &controller->admin;
    struct admin_wait wait = {};
    uint64_t flags = spin_lock_irqsave(&admin->lock);
    bool can_add = admin->open && admin->queue.broken == NULL &&
                   nvme_queue_next_slot(&admin->queue) != admin->queue.slot_count;
    if (can_add) {
        nvme_queue_add(&admin->queue, command, &wait);
        nvme_pair_publish(admin);
    }
    spin_unlock_irqrestore(&admin->lock, flags);
    if (!can_add)
        return -EIO;
    (void)wait_event_state(&controller->answered, atomic_load_acquire(&wait.done),
        THREAD_UNINTERRUPTIBLE, false, time_monotonic_ns() + ADMIN_TIMEOUT_NS);
    flags = spin_lock_irqsave(&admin->lock);
    if (!wait.done)
        take_answers(controller); // an interrupt that did not come
    if (!wait.done)
        give_up(admin, &wait);
    spin_unlock_irqrestore(&admin->lock, flags);
    if (!wait.done)
        return -ETIMEDOUT;
    if (wait.status != 0)
        log_warning("nvme: %s: admin command %#x: status %#x", controller->name, command->opcode,
            wait.status);
    if (value != NULL)
        *value = wait.value;
    return nvme_status_errno(wait.status);
}

int nvme_identify(struct nvme_controller *controller, uint32_t nsid, uint32_t cns)
{
    struct nvme_command command = {.opcode = nvme_admin_identify,
        .nsid = nsid,
        .prp1 = virt_to_phys(controller->identify_page),
        .cdw10 = cns};
    memset(controller->identify_page, 0, PAGE_SIZE);
    return execute(controller, &command, NULL);
}

// How many pairs it gives us, of those that we have (5.27.1.5). 0 or -errno.
static int ask_for_pairs(struct nvme_controller *controller)
{
    uint32_t wanted = controller->pair_count - 1, value = 0;
    struct nvme_command command = {.opcode = nvme_admin_set_features,
        .cdw10 = NVME_FEAT_FID_NUM_QUEUES,
        .cdw11 = wanted | wanted << 16};
    int error = execute(controller, &command, &value);
    if (error != 0)
        return error;
    uint32_t granted = MIN(value & 0xffff, value >> 16) + 1;
    if (granted >= controller->pair_count)
        return 0;
    // Block devices have been made for as many as there were: later it has to give them again.
    if (controller->namespace_count != 0)
        return -EIO;
    for (uint32_t i = granted; i < controller->pair_count; i++)
        nvme_pair_destroy(&controller->pairs[i]);
    controller->pair_count = granted;
    return 0;
}

// 5.4, 5.5: the completion queue comes first.
static int create_queues(struct nvme_controller *controller, uint32_t index)
{
    struct nvme_pair *pair = &controller->pairs[index];
    struct nvme_queue *queue = &pair->queue;
    uint32_t id = index + 1;
    nvme_queue_init(queue, (uint16_t)id, queue->size, queue->slot_count);
    set_doorbells(controller, pair, id);
    if (controller->shadow != NULL) {
        uint32_t words = controller->capabilities.doorbell_stride_bytes / sizeof(uint32_t);
        // Tail and head are neighbours only at the smallest stride; others have no shadow.
        assert(words == 1);
        pair->shadow = controller->shadow + 2ul * id;
        pair->event = pair->shadow + PAGE_SIZE / sizeof(uint32_t);
    }
    uint32_t size_and_id = (uint32_t)(queue->size - 1) << 16 | id;
    uint32_t entry = controller->shares_vector ? 0 : id;
    struct nvme_command completions = {.opcode = nvme_admin_create_cq,
        .prp1 = virt_to_phys(queue->completions),
        .cdw10 = size_and_id,
        .cdw11 = entry << 16 | NVME_QUEUE_INTERRUPTS | NVME_QUEUE_CONTIGUOUS};
    struct nvme_command commands = {.opcode = nvme_admin_create_sq,
        .prp1 = virt_to_phys(queue->commands),
        .cdw10 = size_and_id,
        .cdw11 = id << 16 | NVME_QUEUE_CONTIGUOUS};
    int error = execute(controller, &completions, NULL);
    return error != 0 ? error : execute(controller, &commands, NULL);
}

// Shadow doorbells (5.8). Not having them is no error.
static int share_doorbells(struct nvme_controller *controller)
{
    if (!use_shadow || !controller->facts.doorbell_buffer ||
        controller->capabilities.doorbell_stride_bytes != sizeof(uint32_t) ||
        2 * (controller->pair_count + 1) * sizeof(uint32_t) > PAGE_SIZE)
        return 0;
    if (controller->shadow == NULL)
        controller->shadow = page_alloc_kernel(1, 0);
    if (controller->shadow == NULL)
        return 0;
    memset(controller->shadow, 0, 2 * PAGE_SIZE);
    struct nvme_command command = {.opcode = nvme_admin_dbbuf,
        .prp1 = virt_to_phys(controller->shadow),
        .prp2 = virt_to_phys(controller->shadow) + PAGE_SIZE};
    return execute(controller, &command, NULL);
}

// ---- from reset to work -------------------------------------------------------------------------

static int enable(struct nvme_controller *controller)
{
    struct nvme_pair *admin = &controller->admin;
    uint32_t entries = admin->queue.size - 1u;
    nvme_queue_init(&admin->queue, 0, admin->queue.size, admin->queue.slot_count);
    set_doorbells(controller, admin, 0);
    arch_mmio_write32(
        controller->registers + NVME_REG_AQA, entries << NVME_AQA_ACQS_SHIFT | entries);
    write64(controller, NVME_REG_ASQ, virt_to_phys(admin->queue.commands));
    write64(controller, NVME_REG_ACQ, virt_to_phys(admin->queue.completions));
    uint32_t value = NVME_CC_CSS_NVM << NVME_CC_CSS_SHIFT | NVME_CC_AMS_RR << NVME_CC_AMS_SHIFT |
                     NVME_COMMAND_SHIFT << NVME_CC_IOSQES_SHIFT |
                     NVME_COMPLETION_SHIFT << NVME_CC_IOCQES_SHIFT | 1 << NVME_CC_EN_SHIFT;
    arch_mmio_write32(controller->registers + NVME_REG_CC, value);
    int error = wait_ready(controller, true);
    if (error != 0)
        return error;
    uint64_t flags = spin_lock_irqsave(&admin->lock);
    admin->open = true;
    spin_unlock_irqrestore(&admin->lock, flags);
    return 0;
}

int nvme_controller_start(struct nvme_controller *controller)
{
    pci_device_enable(controller->pci);
    int error = enable(controller);
    if (error == 0)
        error = nvme_identify(controller, NVME_NSID_NONE, NVME_IDENTIFY_CNS_CTRL);
    if (error == 0)
        error = nvme_controller_parse(controller->identify_page, &controller->facts);
    controller->facts.sgl = controller->facts.sgl && use_sgl;
    if (error == 0)
        error = ask_for_pairs(controller);
    if (error == 0)
        error = share_doorbells(controller);
    for (uint32_t i = 0; i < controller->pair_count && error == 0; i++)
        error = create_queues(controller, i);
    return error;
}

int nvme_controller_stop(struct nvme_controller *controller)
{
    struct nvme_pair *admin = &controller->admin;
    uint64_t flags = spin_lock_irqsave(&admin->lock);
    admin->open = false;
    spin_unlock_irqrestore(&admin->lock, flags);
    uint32_t value = arch_mmio_read32(controller->registers + NVME_REG_CC);
    int error = -EIO;
    if (value != ALL_ONES) {
        value &= ~(uint32_t)(NVME_CC_EN_MASK << NVME_CC_EN_SHIFT);
        arch_mmio_write32(controller->registers + NVME_REG_CC, value);
        error = wait_ready(controller, false);
    }
    // Whatever it says: without bus mastering it reaches no memory.
    pci_device_disable(controller->pci);
    return error;
}

void nvme_controller_shut_down(struct nvme_controller *controller)
{
    uint32_t value = arch_mmio_read32(controller->registers + NVME_REG_CC);
    uint64_t deadline_ns = time_monotonic_ns() + SHUTDOWN_TIMEOUT_NS;
    value &= ~(uint32_t)(NVME_CC_SHN_MASK << NVME_CC_SHN_SHIFT);
    value |= NVME_CC_SHN_NORMAL << NVME_CC_SHN_SHIFT;
    arch_mmio_write32(controller->registers + NVME_REG_CC, value);
    while (NVME_CSTS_SHST(status(controller)) != NVME_CSTS_SHST_CMPLT) {
        if (time_monotonic_ns() > deadline_ns) {
            log_warning("nvme: %s does not shut down", controller->name);
            return;
        }
        sched_yield();
    }
}
