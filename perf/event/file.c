// SPDX-License-Identifier: MIT
// The file of an event: read, poll, ioctl, mmap.
#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/time.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "kernel/process/credentials.h"
#include "perf/event/event.h"
#include "perf/perf.h"

#include <linux/capability.h>

#define MLOCK_BYTES ((uint64_t)(516 + 4) << 10) // perf_event_mlock_kb and a page

// Runs the statement while the event is inactive everywhere. events_lock held.
#define while_inactive(event, statement)                                                           \
    do {                                                                                           \
        bool was_enabled_ = (event)->enabled;                                                      \
        perf_event_set_enabled((event), false);                                                    \
        perf_event_sync_all();                                                                     \
        statement;                                                                                 \
        perf_event_set_enabled((event), was_enabled_);                                             \
        perf_event_sync_all();                                                                     \
    } while (0)

// ---- waking -------------------------------------------------------------------------------------

static PERCPU(struct perf_event *, wake_list); // own CPU, interrupts off

void perf_event_wake(struct perf_event *event, uint32_t events)
{
    assert_irqs_off();
    atomic_fetch_or(&event->ready, events);
    if (atomic_exchange(&event->wake_queued, 1u) != 0)
        return;
    event->wake_next = this_cpu(wake_list);
    this_cpu(wake_list) = event;
    apic_send_ipi(cpu_current(), VECTOR_TIMER); // perf_event_wake_queued() follows
}

void perf_event_wake_now(struct perf_event *event, uint32_t events)
{
    atomic_fetch_or(&event->ready, events);
    wait_wake(&event->wait, UINT32_MAX, events);
}

void perf_event_wake_queued(void)
{
    uint64_t flags = arch_irq_save();
    perf_event_records_flush();
    struct perf_event *event = this_cpu(wake_list);
    this_cpu(wake_list) = NULL;
    while (event != NULL) {
        struct perf_event *next = event->wake_next;
        atomic_exchange(&event->wake_queued, 0u);
        wait_wake(&event->wait, UINT32_MAX, atomic_load_relaxed(&event->ready));
        event = next;
    }
    arch_irq_restore(flags);
}

// ---- reading ------------------------------------------------------------------------------------

// What an event and its copies have counted, and for how long.
struct total {
    uint64_t count, enabled_ns, running_ns;
};

static void totals(struct perf_event *event, struct total *total)
{
    struct perf_event *child;
    perf_event_read(event, &total->count, &total->enabled_ns, &total->running_ns);
    total->count += event->child_count;
    total->enabled_ns += event->child_enabled_ns;
    total->running_ns += event->child_running_ns;
    list_for_each_entry (child, &event->children, child_node) {
        struct total own;
        perf_event_read(child, &own.count, &own.enabled_ns, &own.running_ns);
        total->count += own.count;
        total->enabled_ns += own.enabled_ns;
        total->running_ns += own.running_ns;
    }
}

static size_t put_times(uint64_t *words, uint64_t format, const struct total *total)
{
    size_t at = 0;
    if (format & PERF_FORMAT_TOTAL_TIME_ENABLED)
        words[at++] = total->enabled_ns;
    if (format & PERF_FORMAT_TOTAL_TIME_RUNNING)
        words[at++] = total->running_ns;
    return at;
}

static size_t put_value(uint64_t *words, struct perf_event *event, uint64_t count)
{
    size_t at = 0;
    words[at++] = count;
    if (event->leader->attr.read_format & PERF_FORMAT_ID)
        words[at++] = event->id;
    if (event->leader->attr.read_format & PERF_FORMAT_LOST)
        words[at++] = atomic_load_relaxed(&event->lost);
    return at;
}

static int64_t read_group(struct perf_event *event, struct io_iter *to)
{
    struct perf_event *leader = event->leader;
    struct perf_event *sibling;
    uint64_t format = leader->attr.read_format;
    uint64_t words[8];
    struct total total;
    size_t at = 0;
    int64_t done = 0;
    totals(leader, &total);
    words[at++] = 1 + leader->sibling_count;
    at += put_times(words + at, format, &total);
    at += put_value(words + at, leader, total.count);
    if (iter_copy_to(to, words, at * sizeof(uint64_t)) != at * sizeof(uint64_t))
        return -EFAULT;
    done += (int64_t)(at * sizeof(uint64_t));
    list_for_each_entry (sibling, &leader->siblings, sibling_node) {
        totals(sibling, &total);
        at = put_value(words, sibling, total.count);
        if (iter_copy_to(to, words, at * sizeof(uint64_t)) != at * sizeof(uint64_t))
            return -EFAULT;
        done += (int64_t)(at * sizeof(uint64_t));
    }
    return done;
}

static int64_t read_one(struct perf_event *event, struct io_iter *to)
{
    uint64_t format = event->attr.read_format;
    uint64_t words[5];
    struct total total;
    totals(event, &total);
    words[0] = total.count;
    size_t at = 1 + put_times(words + 1, format, &total);
    if (format & PERF_FORMAT_ID)
        words[at++] = event->id;
    if (format & PERF_FORMAT_LOST)
        words[at++] = atomic_load_relaxed(&event->lost);
    return iter_copy_to(to, words, at * sizeof(uint64_t)) == at * sizeof(uint64_t)
               ? (int64_t)(at * sizeof(uint64_t))
               : -EFAULT;
}

static size_t read_bytes(const struct perf_event *event)
{
    uint64_t format = event->attr.read_format;
    size_t times = ((format & PERF_FORMAT_TOTAL_TIME_ENABLED) != 0) +
                   ((format & PERF_FORMAT_TOTAL_TIME_RUNNING) != 0);
    size_t each = 1 + ((format & PERF_FORMAT_ID) != 0) + ((format & PERF_FORMAT_LOST) != 0);
    if (!(format & PERF_FORMAT_GROUP))
        return (times + each) * sizeof(uint64_t);
    return (1 + times + each * (1 + event->leader->sibling_count)) * sizeof(uint64_t);
}

static int64_t event_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct perf_event *event = file->private_data;
    int64_t result;
    (void)offset;
    mutex_lock(&events_lock);
    if (to->count < read_bytes(event))
        result = -ENOSPC;
    else if (event->attr.read_format & PERF_FORMAT_GROUP)
        result = read_group(event, to);
    else
        result = read_one(event, to);
    mutex_unlock(&events_lock);
    return result;
}

static uint32_t event_poll(struct file *file, struct poll_table *table)
{
    struct perf_event *event = file->private_data;
    poll_wait(table, file, &event->wait);
    return atomic_fetch_and(&event->ready, ~(uint32_t)(EPOLLIN | EPOLLRDNORM));
}

// ---- ioctl --------------------------------------------------------------------------------------

static void count_clear(struct perf_event *event)
{
    atomic_store_relaxed(&event->count, UINT64_C(0));
    event->counter.count = 0;
}

static void reset(struct perf_event *event)
{
    struct perf_event *child;
    while_inactive(event, count_clear(event));
    event->child_count = 0;
    list_for_each_entry (child, &event->children, child_node)
        while_inactive(child, count_clear(child));
}

static void set_enabled(struct perf_event *event, bool enabled)
{
    struct perf_event *child;
    perf_event_set_enabled(event, enabled);
    list_for_each_entry (child, &event->children, child_node)
        perf_event_set_enabled(child, enabled);
}

static void apply(struct perf_event *event, uint32_t command)
{
    if (command == PERF_EVENT_IOC_RESET)
        reset(event);
    else
        set_enabled(event, command == PERF_EVENT_IOC_ENABLE);
}

static void apply_to_group(struct perf_event *event, uint32_t command, bool group)
{
    struct perf_event *sibling;
    if (group)
        event = event->leader;
    apply(event, command);
    if (group) {
        list_for_each_entry (sibling, &event->siblings, sibling_node)
            apply(sibling, command);
    }
    perf_event_sync_all();
}

static void period_store(struct perf_event *event, uint64_t period)
{
    event->attr.sample_period = period;
    if (event->kind == PERF_EVENT_COUNTER)
        perf_hardware_set_period(event);
}

static int set_period(struct perf_event *event, uintptr_t user)
{
    uint64_t period;
    int error = user_get_u64(&period, user);
    if (error != 0)
        return error;
    if (event->attr.sample_period == 0 || period == 0 || (period >> 63) != 0 ||
        (event->attr.freq && period > atomic_load_relaxed(&perf_event_rate_max)))
        return -EINVAL;
    while_inactive(event, period_store(event, period));
    return 0;
}

int perf_event_set_output(struct perf_event *event, struct perf_event *target)
{
    struct perf_buffer *buffer = NULL;
    if (target != NULL) {
        if (target == event || event->cpu != target->cpu ||
            (event->cpu < 0 && event->task != target->task))
            return -EINVAL;
        buffer = target->buffer;
    }
    if (event->was_mapped)
        return -EINVAL;
    if (buffer != NULL)
        perf_buffer_get(buffer);
    struct perf_buffer *old = event->buffer;
    while_inactive(event, event->buffer = buffer);
    if (old != NULL)
        perf_buffer_put(old);
    return 0;
}

// The file is given back without the lock: it may be its last reference.
static int set_output_fd(struct perf_event *event, int fd)
{
    bool borrowed = true;
    struct file *file = fd == -1 ? NULL : file_fd_get(fd, &borrowed);
    struct perf_event *target = file != NULL ? perf_event_of_file(file) : NULL;
    int error = -EBADF;
    if (fd == -1 || target != NULL) {
        mutex_lock(&events_lock);
        error = perf_event_set_output(event, target);
        mutex_unlock(&events_lock);
    }
    if (file != NULL)
        file_fd_put(file, borrowed);
    return error;
}

static int pause_output(struct perf_event *event, bool pause)
{
    if (event->buffer == NULL)
        return -EINVAL;
    uint64_t flags = spin_lock_irqsave(&event->buffer->lock);
    event->buffer->paused = pause;
    spin_unlock_irqrestore(&event->buffer->lock, flags);
    return 0;
}

static int64_t event_ioctl_locked(struct perf_event *event, uint32_t command, uintptr_t argument)
{
    switch (command) {
    case PERF_EVENT_IOC_ENABLE:
    case PERF_EVENT_IOC_DISABLE:
    case PERF_EVENT_IOC_RESET:
        apply_to_group(event, command, (argument & PERF_IOC_FLAG_GROUP) != 0);
        return 0;
    case PERF_EVENT_IOC_PERIOD:
        return set_period(event, argument);
    case PERF_EVENT_IOC_ID:
        return copy_to_user(argument, &event->id, sizeof(event->id));
    case PERF_EVENT_IOC_PAUSE_OUTPUT:
        return pause_output(event, argument != 0);
    case PERF_EVENT_IOC_REFRESH: // counted wake-ups do not exist
    case PERF_EVENT_IOC_SET_FILTER:
    case PERF_EVENT_IOC_SET_BPF:
        return -EOPNOTSUPP;
    default:
        return -ENOTTY;
    }
}

static int64_t event_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    if (command == PERF_EVENT_IOC_SET_OUTPUT)
        return set_output_fd(file->private_data, (int)argument);
    mutex_lock(&events_lock);
    int64_t result = event_ioctl_locked(file->private_data, command, argument);
    mutex_unlock(&events_lock);
    return result;
}

// ---- mmap ---------------------------------------------------------------------------------------

static void set_watermark(struct perf_event *event, struct perf_buffer *buffer)
{
    if (event->attr.watermark && event->attr.wakeup_watermark != 0)
        buffer->watermark = MIN((uint64_t)event->attr.wakeup_watermark, buffer->bytes);
}

// A task that mapped the page of its counter may read the counter as well.
static void buffer_attach(struct perf_event *event, struct perf_buffer *buffer)
{
    struct perf_context *context = event->context;
    event->buffer = buffer;
    event->was_mapped = true;
    if (event->kind != PERF_EVENT_COUNTER || event->task == NULL || context == NULL)
        return;
    uint64_t flags = spin_lock_irqsave(&context->lock);
    context->user_readers++;
    spin_unlock_irqrestore(&context->lock, flags);
}

static int map_locked(struct perf_event *event, struct vm_map_request *request)
{
    uint64_t pages = request->len_bytes >> PAGE_SHIFT;
    if (!IS_ALIGNED(request->len_bytes, PAGE_SIZE) || pages == 0 || request->cache_index != 0 ||
        !(request->flags & VM_SHARED) || (pages != 1 && !IS_POWER_OF_TWO(pages - 1)))
        return -EINVAL;
    if (event->task != NULL && event->cpu < 0 && event->attr.inherit)
        return -EINVAL; // several CPUs would write
    if (request->len_bytes > MLOCK_BYTES && !capable(CAP_IPC_LOCK))
        return -EPERM;
    if (event->buffer != NULL) {
        if (event->buffer->bytes != (pages - 1) * PAGE_SIZE)
            return -EINVAL;
        return perf_buffer_map(event->buffer, request);
    }
    struct perf_buffer *buffer = perf_buffer_create(pages - 1, !(request->flags & VM_WRITE));
    if (buffer == NULL)
        return -ENOMEM;
    set_watermark(event, buffer);
    while_inactive(event, buffer_attach(event, buffer));
    return perf_buffer_map(buffer, request);
}

static int event_map(struct file *file, struct vm_map_request *request)
{
    mutex_lock(&events_lock);
    int error = map_locked(file->private_data, request);
    mutex_unlock(&events_lock);
    return error;
}

// ---- the end ------------------------------------------------------------------------------------

static void leave_group(struct perf_event *event)
{
    if (event->leader != event) {
        list_remove(&event->sibling_node);
        event->leader->sibling_count--;
        return;
    }
    while (!list_is_empty(&event->siblings)) {
        struct perf_event *sibling =
            container_of(event->siblings.next, struct perf_event, sibling_node);
        list_remove(&sibling->sibling_node);
        sibling->leader = sibling;
    }
    event->sibling_count = 0;
    perf_event_sync_all(); // nobody looks at their old leader any more
}

static void event_release(struct file *file)
{
    struct perf_event *event = file->private_data;
    mutex_lock(&events_lock);
    while (!list_is_empty(&event->children)) {
        struct perf_event *child =
            container_of(event->children.next, struct perf_event, child_node);
        perf_event_detach(child);
        list_remove(&child->child_node);
        perf_event_free(child);
    }
    perf_event_detach(event);
    leave_group(event);
    perf_event_free(event);
    mutex_unlock(&events_lock);
}

const struct file_ops perf_event_file_ops = {
    .read = event_read,
    .poll = event_poll,
    .ioctl = event_ioctl,
    .map = event_map,
    .release = event_release,
};

struct perf_event *perf_event_of_file(const struct file *file)
{
    return file->ops == &perf_event_file_ops ? file->private_data : NULL;
}
