// SPDX-License-Identifier: MIT
// Queues: from submission to the end of a request.
//
// Theory. A request is handed to the queue of the CPU that submits it, and everything that happens
// to it until its end() is called happens under that queue's lock. With a queue per CPU the lock is
// never contended: it costs two instructions, once per batch, and it keeps the few strangers out
// that may come (removal of the device, a poller that was moved to another CPU).
//
// Requests that the driver can't take wait in the queue, in order, where later ones may be merged
// to them; or in a scheduler, if the device has one. They are offered again after each completion.
//
// end() is never called with the lock held: finished requests gather in queue->done, and whoever
// gave the lock back calls them. Where one queue serves several CPUs, requests of other CPUs are
// sent there to be ended.
//
// Invariants (lock held):
//   Q1  started is the number of requests with BLOCK_STARTED: those that the driver has.
//   Q2  started <= device->queue_depth.
//   Q3  Something waits only if started == queue_depth, or the driver has refused it while started
//       != 0. So a completion will come that starts it. Or the driver (whose device is being reset)
//       will call block_queue_interrupt().
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/block/internal.h"
#include "kernel/block/scheduler.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"

#define BATCH_MAX 32 // requests that are given to a driver at a time

COUNTER(block, submitted);
COUNTER(block, merged);
COUNTER(block, batches); // commits: requests per batch is submitted / batches
COUNTER(block, completed);
COUNTER(block, completed_elsewhere); // ended on another CPU than the one that found them finished
COUNTER(block, refused);             // times that a driver had no room

// Requests that other CPUs have found finished and that are to be ended here.
struct done_box {
    struct spinlock lock; // list; taken with interrupts off
    struct list_node list;
    bool called; // an interrupt is on its way
};
static PERCPU(struct done_box, done_box) PERCPU_INITIAL({.lock = SPINLOCK_INIT("block: done")});

void block_queue_init(struct block_queue *queue, struct block_device *device, uint32_t index)
{
    spin_lock_init(&queue->lock);
    queue->device = device;
    queue->index = index;
    list_init(&queue->waiting);
    list_init(&queue->done);
    block_completion_init(queue);
}

static struct block_statistics *statistics_of(const struct block_request *request)
{
    return &request->volume->statistics[request->queue->index];
}

// ---- to the driver ----

// The device's scheduler, if something may wait in it.
static struct block_scheduler *scheduler_of(const struct block_queue *queue)
{
    return __atomic_load_n(&queue->device->scheduler, __ATOMIC_ACQUIRE);
}

static bool something_waits(const struct block_queue *queue)
{
    const struct block_scheduler *scheduler = scheduler_of(queue);
    return queue->waiting_count != 0 ||
           (scheduler != NULL && __atomic_load_n(&scheduler->waiting, __ATOMIC_RELAXED) != 0);
}

static struct block_request *take_waiting(struct block_queue *queue, uint64_t now)
{
    struct block_request *request =
        list_pop_head_entry_or_null(&queue->waiting, struct block_request, node);
    if (request != NULL) {
        queue->waiting_count--;
        return request;
    }
    struct block_scheduler *scheduler = scheduler_of(queue);
    request = scheduler != NULL ? block_scheduler_take(scheduler, now) : NULL;
    if (request == NULL)
        return NULL;
    // It may have been submitted on another CPU.
    for (struct block_request *each = request; each != NULL; each = each->merged)
        each->queue = queue;
    request->flags |= BLOCK_SCHEDULED;
    return request;
}

// ---- tracepoints ----

// Linux' letters: what is done, and how.
static void trace_operation(const struct block_request *request, char letters[8])
{
    static const char operations[BLOCK_OPERATIONS] = {'R', 'W', 'F', 'D', 'W'};
    size_t len = 0;
    letters[len++] = operations[request->operation];
    if (request->flags & BLOCK_FUA)
        letters[len++] = 'F';
    if (request->flags & BLOCK_SYNC)
        letters[len++] = 'S';
    letters[len] = '\0';
}

static void trace_issue(const struct block_request *request)
{
    if (trace_is_on(block_rq_issue)) {
        const struct block_device *device = request->queue->device;
        struct trace_record_block_rq_issue record = {.dev = device->major << 20 | device->minor,
            .sector = request->sector,
            .nr_sector = request->total_sectors,
            .bytes = request->total_sectors * BLOCK_SECTOR_BYTES,
            .comm = trace_comm(thread_current()),
            .request = (uintptr_t)request};
        trace_operation(request, record.rwbs);
        trace_write(&trace_point_block_rq_issue, &record, sizeof(record));
    }
}

static void trace_complete(const struct block_request *request)
{
    if (trace_is_on(block_rq_complete)) {
        const struct block_device *device = request->queue->device;
        struct trace_record_block_rq_complete record = {.dev = device->major << 20 | device->minor,
            .sector = request->sector,
            .nr_sector = request->total_sectors,
            .error = request->error,
            .request = (uintptr_t)request};
        trace_operation(request, record.rwbs);
        trace_write(&trace_point_block_rq_complete, &record, sizeof(record));
    }
}

// One batch. How many requests the driver has taken; *refused: it is full.
static uint32_t start_batch(struct block_queue *queue, bool *refused)
{
    struct block_request *batch[BATCH_MAX];
    uint32_t count = 0;
    const uint32_t room = MIN(queue->device->queue_depth - queue->started, (uint32_t)BATCH_MAX);
    const uint64_t now = queue->device->scheduler != NULL ? time_monotonic_ns() : 0;
    while (count < room) {
        struct block_request *request = take_waiting(queue, now);
        if (request == NULL)
            break;
        request->flags |= BLOCK_STARTED;
        trace_issue(request);
        batch[count++] = request;
    }
    if (count == 0)
        return 0;
    if (queue->busy_since_ns == 0)
        queue->busy_since_ns = time_monotonic_ns();
    queue->started += count;
    const uint32_t taken = queue->device->ops->queue(queue, batch, count);
    assert(taken <= count);
    for (uint32_t i = count; i > taken; i--) { // back, in order
        batch[i - 1]->flags &= (uint16_t)~BLOCK_STARTED;
        list_add_head(&queue->waiting, &batch[i - 1]->node);
    }
    queue->waiting_count += count - taken;
    queue->started -= count - taken;
    *refused = taken < count;
    return taken;
}

// The scheduler holds requests back although the device could have them: looks again in time.
static void restart_later(struct block_queue *queue)
{
    struct block_scheduler *scheduler = scheduler_of(queue);
    if (scheduler == NULL || __atomic_load_n(&scheduler->waiting, __ATOMIC_RELAXED) == 0)
        return;
    const uint64_t next = block_scheduler_next_ns(scheduler);
    if (next != UINT64_MAX)
        timer_arm(&queue->device->restart, next);
}

static void start_waiting(struct block_queue *queue);

void block_queue_restart(struct timer *timer)
{
    struct block_device *device = container_of(timer, struct block_device, restart);
    struct block_queue *queue = block_queue_of_cpu(device, cpu_current());
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    start_waiting(queue);
    spin_unlock_irqrestore(&queue->lock, flags);
    block_queue_interrupt(queue);
}

// Gives the driver what it can take. Lock held.
static void start_waiting(struct block_queue *queue)
{
    assert_lock_held(&queue->lock);
    uint32_t total = 0;
    bool refused = false;
    while (something_waits(queue) && queue->started < queue->device->queue_depth && !refused) {
        uint32_t taken = start_batch(queue, &refused);
        total += taken;
        if (taken == 0)
            break;
    }
    counter_add(block, refused, refused);
    if (unlikely(scheduler_of(queue) != NULL))
        restart_later(queue);
    if (total == 0)
        return;
    counter_add(block, batches, 1);
    if (queue->device->ops->commit != NULL)
        queue->device->ops->commit(queue);
}

// ---- back from the driver ----

static void forget_scheduled(struct block_queue *queue, struct block_request *request)
{
    request->flags &= (uint16_t)~BLOCK_SCHEDULED;
    block_scheduler_done(queue->device->scheduler, request);
}

void block_request_complete(struct block_request *request, int error)
{
    struct block_queue *queue = request->queue;
    assert_lock_held(&queue->lock);
    assert(request->flags & BLOCK_STARTED);
    assert(queue->started != 0);
    request->flags &= (uint16_t)~BLOCK_STARTED;
    request->error = error;
    trace_complete(request);
    queue->started--;
    list_add_tail(&queue->done, &request->node);
    if (request->flags & BLOCK_SCHEDULED)
        forget_scheduled(queue, request);
}

static void account_done(struct block_request *request, uint64_t now)
{
    struct block_statistics *statistics = statistics_of(request);
    for (const struct block_request *each = request; each != NULL; each = each->merged) {
        statistics->requests[request->operation] += each == request;
        statistics->time_ns[request->operation] += now - each->start_ns;
        statistics->in_flight--;
    }
    statistics->sectors[request->operation] += request->total_sectors;
}

// Exponential mean over about eight values.
static uint32_t mean(uint32_t old, uint64_t value)
{
    return (uint32_t)(((uint64_t)old * 7 + MIN(value, (uint64_t)UINT32_MAX)) / 8);
}

// Takes the finished requests out, for end_list(). Lock held.
static void collect_done(struct block_queue *queue, struct list_node *list)
{
    if (list_is_empty(&queue->done))
        return;
    const uint64_t now = time_monotonic_ns();
    struct block_request *request;
    uint32_t count = 0;
    list_for_each_entry (request, &queue->done, node) {
        account_done(request, now);
        queue->service_ns = mean(queue->service_ns, now - request->start_ns);
        count++;
    }
    block_completion_found(queue, count, now);
    list_splice_tail(list, &queue->done);
    if (queue->started == 0 && queue->busy_since_ns != 0) {
        queue->busy_ns += now - queue->busy_since_ns;
        queue->busy_since_ns = 0;
    }
}

// A write that has to be durable on a device that only knows flushes: the flush follows.
static bool continue_with_flush(struct block_request *request)
{
    const struct block_limits *limits = &request->volume->device->limits;
    if (request->operation == BLOCK_FLUSH && (request->flags & BLOCK_FUA)) {
        request->operation = BLOCK_WRITE; // what the submitter knows
        return false;
    }
    if (!(request->flags & BLOCK_FUA) || request->operation != BLOCK_WRITE || limits->fua ||
        !limits->write_cache || request->error != 0)
        return false;
    request->operation = BLOCK_FLUSH;
    return true;
}

static void hand_over(struct list_node *requests);

// Ends the members of one chain.
static void end_chain(struct block_request *request)
{
    const int error = request->error;
    while (request != NULL) {
        struct block_request *next = request->merged;
        request->merged = NULL;
        request->last = request;
        request->error = error;
        if (continue_with_flush(request)) {
            struct list_node again;
            list_init(&again);
            list_add_tail(&again, &request->node);
            hand_over(&again);
        } else {
            counter_add(block, completed, 1);
            if (unlikely(request->copy_buffer != NULL))
                block_copy_end(request);
            request->sector -= request->volume->start_sector;
            request->end(request);
        }
        request = next;
    }
}

static void end_list(struct list_node *list)
{
    for (;;) {
        struct block_request *request =
            list_pop_head_entry_or_null(list, struct block_request, node);
        if (request == NULL)
            return;
        end_chain(request);
    }
}

static void end_box(void *unused)
{
    struct list_node list;
    list_init(&list);
    uint64_t flags = arch_irq_save();
    struct done_box *box = this_cpu_ptr(done_box);
    spin_lock(&box->lock);
    box->called = false;
    if (box->list.next != NULL)
        list_splice_tail(&list, &box->list);
    spin_unlock_no_resched(&box->lock);
    arch_irq_restore(flags);
    end_list(&list);
}

// A queue of several CPUs: requests of others than this one are sent to them.
static void send_home(struct list_node *list)
{
    struct block_request *request, *next;
    preempt_disable();
    const uint32_t self = cpu_current();
    list_for_each_entry_safe (request, next, list, node) {
        const uint32_t cpu = request->cpu;
        if (cpu == self || !cpumask_test(&cpu_online, cpu))
            continue;
        struct done_box *box = percpu_of(done_box, cpu);
        list_remove(&request->node);
        uint64_t flags = spin_lock_irqsave(&box->lock);
        if (box->list.next == NULL)
            list_init(&box->list);
        list_add_tail(&box->list, &request->node);
        const bool call = !box->called;
        box->called = true;
        spin_unlock_irqrestore(&box->lock, flags);
        counter_add(block, completed_elsewhere, 1);
        if (call) {
            struct cpumask mask = {};
            cpumask_set(&mask, cpu);
            smp_call_mask(&mask, end_box, NULL, false);
        }
    }
    preempt_enable();
}

static void finish(struct block_queue *queue, struct list_node *done)
{
    if (queue->device->queues_used < cpu_count_possible && !list_is_empty(done))
        send_home(done);
    end_list(done);
}

void block_queue_interrupt(struct block_queue *queue)
{
    struct list_node done;
    list_init(&done);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (queue->device->ops->poll != NULL)
        (void)queue->device->ops->poll(queue);
    if (something_waits(queue))
        start_waiting(queue);
    collect_done(queue, &done);
    spin_unlock_irqrestore(&queue->lock, flags);
    finish(queue, &done);
}

void block_queue_look_soon(struct block_queue *queue)
{
    timer_arm(&queue->poll_timer, 0);
}

bool block_queue_poll(struct block_queue *queue)
{
    struct list_node done;
    if (queue->device->ops->poll == NULL || __atomic_load_n(&queue->started, __ATOMIC_RELAXED) == 0)
        return false;
    list_init(&done);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    const bool any = queue->device->ops->poll(queue) != 0;
    if (any && something_waits(queue))
        start_waiting(queue);
    collect_done(queue, &done);
    spin_unlock_irqrestore(&queue->lock, flags);
    finish(queue, &done);
    return any;
}

bool block_volume_poll(struct block_volume *volume)
{
    preempt_disable();
    struct block_queue *queue = block_queue_of_cpu(volume->device, cpu_current());
    preempt_enable();
    return block_queue_poll(queue);
}

// ---- submission ----

static int check_range(const struct block_request *request)
{
    const struct block_volume *volume = request->volume;
    const struct block_limits *limits = &volume->device->limits;
    const uint64_t size = block_volume_sectors(volume);
    if (request->operation == BLOCK_FLUSH)
        return 0;
    if (request->sector > size || request->sector_count > size - request->sector ||
        request->sector_count == 0)
        return -EIO;
    if (request->operation == BLOCK_DISCARD)
        return request->sector_count > limits->max_discard_sectors ? -EOPNOTSUPP : 0;
    if (request->operation == BLOCK_WRITE_ZEROES)
        return request->sector_count > limits->max_write_zeroes_sectors ? -EOPNOTSUPP : 0;
    return 0;
}

static int check(const struct block_request *request)
{
    const uint32_t dead = atomic_load_relaxed(&request->volume->device->dead);
    if (unlikely(dead != 0))
        return -(int)dead;
    if (request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH &&
        block_volume_is_read_only(request->volume))
        return -EROFS;
    return check_range(request);
}

// Checked, and translated to the device. False: it has been ended.
static bool admit(struct block_request *request)
{
    debug_assert(request->end != NULL);
    debug_assert(request->merged == NULL);
    int error = check(request);
    if (error == 0 && unlikely(block_copy) && !block_copy_begin(request))
        error = -ENOMEM;
    if (unlikely(error != 0)) {
        request->error = error;
        request->end(request);
        return false;
    }
    request->sector += request->volume->start_sector;
    request->start_ns = time_monotonic_ns();
    return true;
}

// Puts one request into its queue: into the scheduler, to a neighbour that waits, or else to
// `fresh`, whose members the plug has tried with each other. Lock held.
static void enqueue(
    struct block_queue *queue, struct block_request *request, uint32_t cpu, struct list_node *fresh)
{
    request->queue = queue;
    request->cpu = (uint16_t)cpu;
    struct block_statistics *statistics = statistics_of(request);
    for (struct block_request *each = request; each != NULL; each = each->merged) {
        each->queue = queue;
        each->cpu = (uint16_t)cpu;
        statistics->in_flight++;
        statistics->merges[request->operation] += each != request;
    }
    if (queue->device->scheduling && request->operation != BLOCK_FLUSH) {
        if (block_scheduler_add(queue->device->scheduler, request)) {
            counter_add(block, merged, 1);
            statistics->merges[request->operation]++;
        }
    } else if (!block_copy && block_merge_into(&queue->device->limits, &queue->waiting, request)) {
        counter_add(block, merged, 1);
        statistics->merges[request->operation]++;
    } else {
        list_add_tail(fresh, &request->node);
        queue->waiting_count++;
    }
}

// Requests of one device that have been admitted; the list is empty afterwards.
static void hand_over(struct list_node *requests)
{
    struct list_node done, fresh;
    list_init(&done);
    list_init(&fresh);
    struct block_request *request = list_first_entry(requests, struct block_request, node);
    struct block_device *device = request->volume->device;
    uint64_t flags = arch_irq_save();
    const uint32_t cpu = cpu_current();
    struct block_queue *queue = block_queue_of_cpu(device, cpu);
    spin_lock(&queue->lock);
    const bool dead = atomic_load_relaxed(&device->dead) != 0;
    while ((request = list_pop_head_entry_or_null(requests, struct block_request, node)) != NULL) {
        counter_add(block, submitted, 1);
        enqueue(queue, request, cpu, &fresh);
    }
    list_splice_tail(&queue->waiting, &fresh);
    if (likely(!dead))
        start_waiting(queue);
    collect_done(queue, &done);
    spin_unlock_irqrestore(&queue->lock, flags);
    end_list(&done);
    if (unlikely(dead))
        block_queue_fail_waiting(queue, -EIO);
}

void block_submit(struct block_request *request)
{
    struct list_node list;
    if (!admit(request))
        return;
    list_init(&list);
    list_add_tail(&list, &request->node);
    hand_over(&list);
}

void block_plug_begin(struct block_plug *plug)
{
    list_init(&plug->requests);
    plug->count = 0;
}

void block_plug_add(struct block_plug *plug, struct block_request *request)
{
    if (!admit(request))
        return;
    plug->count++;
    if (unlikely(block_copy)) {
        list_add_tail(&plug->requests, &request->node);
    } else if (block_add_or_merge(&request->volume->device->limits, &plug->requests, request)) {
        counter_add(block, merged, 1);
    }
}

void block_plug_end(struct block_plug *plug)
{
    // Usually all are of one device; else one list a device.
    while (!list_is_empty(&plug->requests)) {
        struct list_node same;
        struct block_request *request, *next;
        list_init(&same);
        request = list_first_entry(&plug->requests, struct block_request, node);
        const struct block_device *device = request->volume->device;
        list_for_each_entry_safe (request, next, &plug->requests, node)
            if (request->volume->device == device)
                list_move_tail(&same, &request->node);
        hand_over(&same);
    }
    plug->count = 0;
}

// ---- the end of a device ----

void block_queue_fail_waiting(struct block_queue *queue, int error)
{
    struct list_node done;
    list_init(&done);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    for (;;) {
        struct block_request *request = take_waiting(queue, UINT64_MAX);
        if (request == NULL)
            break;
        request->error = error;
        if (request->flags & BLOCK_SCHEDULED)
            forget_scheduled(queue, request);
        list_add_tail(&queue->done, &request->node);
    }
    collect_done(queue, &done);
    spin_unlock_irqrestore(&queue->lock, flags);
    end_list(&done);
}

void block_queue_drain(struct block_queue *queue)
{
    while (__atomic_load_n(&queue->started, __ATOMIC_ACQUIRE) != 0) {
        block_queue_interrupt(queue);
        if (__atomic_load_n(&queue->started, __ATOMIC_ACQUIRE) != 0)
            sched_yield();
    }
}
