// SPDX-License-Identifier: MIT
// When a controller does not do what it should: noticing it, resetting it, giving it what it had
// again, or giving it up.
//
// Theory. A timer looks at the pairs, twice in each time-out. If the oldest command was under way
// at the look before and there are completions that nobody has taken, an interrupt was lost: they
// are taken. A command that was under way at two looks before has taken the whole time-out: the
// controller is reset. A failed controller (CSTS.CFS), or one that reads as all ones because it is
// gone, is noticed at the same looks.
//
// A reset runs in a thread of its own, as the controller may take half a minute. Until it is over
// the pairs are closed: the block layer's requests wait in their queues, those that the controller
// had in pair->retry. Nothing is freed, or given back to anybody, before the controller has said
// that it is off, or has been cut off from memory.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "kernel/nvme/internal.h"
#include "sched/sched.h"

#include <nvme/types.h>

static uint64_t timeout_ms = 30000;
BOOT_OPTION_U64(timeout_ms, "nvme.timeout_ms",
    "An NVMe command that takes longer has its controller reset (default: 30000).");

#define ROUNDS_MAX 2 // a command that is older by so many looks is stuck

COUNTER(nvme, resets);
COUNTER(nvme, lost_interrupts);

static void arm(struct nvme_controller *controller)
{
    uint64_t interval_ns = MAX(timeout_ms, 2ul) * NS_PER_MS / ROUNDS_MAX;
    timer_arm(&controller->watchdog, time_monotonic_ns() + interval_ns);
}

// One look at one pair. True: something is stuck.
static bool look_at(struct nvme_pair *pair)
{
    uint64_t flags = spin_lock_irqsave(&pair->lock);
    uint32_t age = pair->queue.round - nvme_queue_oldest_round(&pair->queue);
    bool has_lost = age != 0 && nvme_queue_has_completion(&pair->queue);
    pair->queue.round++;
    spin_unlock_irqrestore(&pair->lock, flags);
    if (has_lost) {
        counter_add(nvme, lost_interrupts, 1);
        nvme_pair_interrupt(pair);
    }
    return age >= ROUNDS_MAX && !has_lost;
}

static void look(struct timer *timer)
{
    struct nvme_controller *controller = container_of(timer, struct nvme_controller, watchdog);
    if (nvme_state(controller) != NVME_LIVE)
        return; // armed again after the reset
    uint32_t status = arch_mmio_read32(controller->registers + NVME_REG_CSTS);
    const char *why = NULL;
    if (status == UINT32_MAX)
        why = "it is gone";
    else if (NVME_CSTS_CFS(status))
        why = "it says that it has failed";
    for (uint32_t i = 0; i < controller->pair_count && why == NULL; i++) {
        if (look_at(&controller->pairs[i]))
            why = "a command takes too long";
    }
    if (why != NULL)
        nvme_controller_reset(controller, why);
    else
        arm(controller);
}

// Whatever waits in the block layer for a queue is looked at.
static void restart_queues(struct nvme_controller *controller)
{
    for (uint32_t i = 0; i < controller->pair_count; i++) {
        uint64_t flags = arch_irq_save();
        nvme_pair_interrupt(&controller->pairs[i]);
        arch_irq_restore(flags);
    }
}

static void open_pairs(struct nvme_controller *controller, bool open)
{
    for (uint32_t i = 0; i < controller->pair_count; i++) {
        struct nvme_pair *pair = &controller->pairs[i];
        uint64_t flags = spin_lock_irqsave(&pair->lock);
        pair->open = open;
        spin_unlock_irqrestore(&pair->lock, flags);
    }
}

static void take_back(struct nvme_controller *controller)
{
    for (uint32_t i = 0; i < controller->pair_count; i++) {
        struct nvme_pair *pair = &controller->pairs[i];
        uint64_t flags = spin_lock_irqsave(&pair->lock);
        nvme_pair_take_back(pair);
        spin_unlock_irqrestore(&pair->lock, flags);
    }
}

void nvme_controller_kill(struct nvme_controller *controller, const char *why)
{
    log_error("nvme: %s is given up: %s", controller->name, why);
    open_pairs(controller, false);
    (void)nvme_controller_stop(controller);
    atomic_store_release(&controller->state, NVME_DEAD);
    take_back(controller);
    uint32_t count = atomic_load_acquire(&controller->namespace_count);
    for (uint32_t i = 0; i < count; i++)
        block_device_fail(controller->namespaces[i].block);
    restart_queues(controller);
}

static void reset_thread(void *argument)
{
    struct nvme_controller *controller = argument;
    assert(nvme_state(controller) == NVME_RESETTING);
    log_warning("nvme: %s is reset: %s", controller->name, controller->why);
    counter_add(nvme, resets, 1);
    open_pairs(controller, false);
    if (nvme_controller_stop(controller) != 0) {
        nvme_controller_kill(controller, "it does not stop");
        return;
    }
    take_back(controller);
    int error = nvme_controller_start(controller);
    if (error == 0)
        error = nvme_namespaces_check(controller);
    if (error != 0) {
        nvme_controller_kill(controller, "it does not come back");
        return;
    }
    open_pairs(controller, true);
    atomic_store_release(&controller->state, NVME_LIVE);
    restart_queues(controller);
    arm(controller);
}

static void start_reset(struct work *work)
{
    struct nvme_controller *controller = container_of(work, struct nvme_controller, reset_work);
    if (kthread_create(NULL, "nvme reset", reset_thread, controller) != 0)
        nvme_controller_kill(controller, "no memory for its reset");
}

void nvme_controller_reset(struct nvme_controller *controller, const char *why)
{
    uint32_t live = NVME_LIVE;
    assert(why != NULL);
    if (!atomic_cmpxchg(&controller->state, &live, NVME_RESETTING))
        return;
    atomic_store_release(&controller->why, why);
    work_queue(&controller->reset_work);
}

void nvme_recovery_init(struct nvme_controller *controller)
{
    timer_init(&controller->watchdog, look);
    work_init(&controller->reset_work, start_reset);
}

void nvme_recovery_start(struct nvme_controller *controller)
{
    assert(nvme_state(controller) == NVME_STARTING);
    open_pairs(controller, true);
    atomic_store_release(&controller->state, NVME_LIVE);
    arm(controller);
}
