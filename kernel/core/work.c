// SPDX-License-Identifier: MIT
// Deferred work: one list, one kernel thread.
//
// work->queued is 1 from work_queue() until just before the function is called: who sets it to 1
// puts the work on the list; a work that is queued again while its function runs, runs again.
#include "kernel/core/work.h"

#include "kernel/base/atomic.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "kernel/core/wait.h"

static struct {
    struct spinlock lock; // protects list
    struct list_node list;
    struct wait_queue wait; // the worker
    uint32_t started;       // 1: the worker exists or is being made; atomic
} works = {
    .lock = SPINLOCK_INIT("work: list"),
    .list = LIST_INIT(works.list),
    .wait = WAIT_QUEUE_INIT(works.wait, "work: wait"),
};

void work_init(struct work *work, work_function *function)
{
    work->node.next = NULL;
    work->node.prev = NULL;
    work->function = function;
    work->queued = 0;
}

static struct work *work_take(void)
{
    uint64_t flags = spin_lock_irqsave(&works.lock);
    struct work *work = list_pop_head_entry_or_null(&works.list, struct work, node);
    if (work != NULL)
        atomic_store(&work->queued, 0u);
    spin_unlock_irqrestore(&works.lock, flags);
    return work;
}

static bool work_is_there(void)
{
    return !list_is_empty(&works.list);
}

static void work_run(void *argument)
{
    (void)argument;
    for (;;) {
        wait_event(&works.wait, work_is_there());
        struct work *work = work_take();
        if (work != NULL)
            work->function(work);
    }
}

void work_start(void)
{
    if (atomic_exchange(&works.started, 1u) != 0)
        return;
    if (kthread_create(NULL, "worker", work_run, NULL) != 0) {
        log_error("work: no memory for the worker thread");
        atomic_store(&works.started, 0u); // the next work tries again
    }
}

bool work_queue(struct work *work)
{
    if (atomic_exchange(&work->queued, 1u) != 0)
        return false;
    uint64_t flags = spin_lock_irqsave(&works.lock);
    list_add_tail(&works.list, &work->node);
    spin_unlock_irqrestore(&works.lock, flags);
    if (unlikely(atomic_load_relaxed(&works.started) == 0) && this_cpu(preempt_count) == 0 &&
        arch_irqs_enabled())
        work_start();
    wait_wake_all(&works.wait);
    return true;
}

struct work_barrier {
    struct work work;
    struct completion done;
};

static void work_barrier_run(struct work *work)
{
    completion_complete(&container_of(work, struct work_barrier, work)->done);
}

void work_flush(void)
{
    struct work_barrier barrier;
    work_init(&barrier.work, work_barrier_run);
    completion_init(&barrier.done);
    (void)work_queue(&barrier.work);
    completion_wait(&barrier.done);
}
