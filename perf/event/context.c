// SPDX-License-Identifier: MIT
// Contexts of events: what is active where. event.h has the rules.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/preempt.h"
#include "kernel/core/time.h"
#include "kernel/fs/poll.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include "perf/event/event.h"
#include "perf/perf.h"

struct mutex events_lock = MUTEX_INIT(events_lock, "perf events");

static struct perf_context *cpu_contexts[CPU_MAX]; // made at first use, for ever; events_lock

// ---- life ---------------------------------------------------------------------------------------

struct perf_context *perf_context_create(void)
{
    struct perf_context *context = kzalloc(sizeof(*context));
    if (context == NULL)
        return NULL;
    spin_lock_init(&context->lock);
    list_init(&context->events);
    context->refcount = 1;
    return context;
}

void perf_context_put(struct perf_context *context)
{
    if (atomic_fetch_sub(&context->refcount, 1u) == 1)
        kfree(context);
}

struct perf_context *perf_context_for(struct task *task, int32_t cpu)
{
    struct perf_context **place = task != NULL ? &task->thread.perf_context : &cpu_contexts[cpu];
    if (*place == NULL) {
        struct perf_context *context = perf_context_create();
        if (context == NULL)
            return NULL;
        atomic_store_release(place, context);
    }
    atomic_fetch_add_relaxed(&(*place)->refcount, 1u);
    return *place;
}

// ---- activity -----------------------------------------------------------------------------------

// Own CPU, context locked.
static void event_start(struct perf_event *event, uint64_t now_ns)
{
    event->active = true;
    event->since_ns = now_ns;
    list_add_tail(&this_cpu_ptr(active_events)[0], &event->active_node);
    perf_event_source_start(event, now_ns);
}

static void event_stop(struct perf_event *event, uint64_t now_ns)
{
    perf_event_source_stop(event, now_ns);
    list_remove(&event->active_node);
    event->active = false;
    event->running_ns += now_ns - event->since_ns;
}

// Makes active what should be, on this CPU and in a context that is in force here.
static void context_sync(struct perf_context *context, bool in_force)
{
    uint64_t now_ns = time_monotonic_ns();
    struct perf_event *event;
    spin_lock(&context->lock);
    perf_hardware_begin();
    list_for_each_entry (event, &context->events, context_node) {
        bool wanted = in_force && event->enabled && event->leader->enabled &&
                      (event->cpu < 0 || (uint32_t)event->cpu == cpu_current());
        if (wanted && !event->active)
            event_start(event, now_ns);
        else if (!wanted && event->active)
            event_stop(event, now_ns);
    }
    perf_hardware_end(now_ns);
    spin_unlock_no_resched(&context->lock);
}

static struct perf_context *thread_context(const struct thread *thread)
{
    return atomic_load_acquire(&thread->perf_context);
}

static void sync_here(void *argument)
{
    struct perf_context *of_cpu = atomic_load_acquire(&cpu_contexts[cpu_current()]);
    struct perf_context *of_thread = thread_context(thread_current());
    struct list_node *active = this_cpu_ptr(active_events);
    if (active->next == NULL)
        list_init(active);
    perf_event_wake_queued();
    if (of_cpu != NULL)
        context_sync(of_cpu, true);
    if (of_thread != NULL)
        context_sync(of_thread, true);
    perf_hardware_user(of_thread);
}

void perf_event_sync_all(void)
{
    preempt_disable();
    smp_call_mask(&cpu_online, sync_here, NULL, true);
    uint64_t flags = arch_irq_save();
    sync_here(NULL);
    arch_irq_restore(flags);
    preempt_enable();
}

void perf_event_switch(const struct thread *previous, const struct thread *next, bool preempted)
{
    assert_irqs_off();
    struct perf_context *leaves = thread_context(previous);
    struct perf_context *comes = thread_context(next);
    struct list_node *active = this_cpu_ptr(active_events);
    if (active->next == NULL)
        list_init(active);
    perf_event_note_switch(previous, next,
        PERF_RECORD_MISC_SWITCH_OUT | (preempted ? PERF_RECORD_MISC_SWITCH_OUT_PREEMPT : 0));
    if (leaves != NULL)
        context_sync(leaves, false);
    if (comes != NULL)
        context_sync(comes, true);
    perf_event_note_switch(next, previous, 0);
    perf_hardware_user(comes);
}

void perf_event_attach(struct perf_event *event, struct perf_context *context)
{
    event->context = context;
    uint64_t flags = spin_lock_irqsave(&context->lock);
    list_add_tail(&context->events, &event->context_node);
    spin_unlock_irqrestore(&context->lock, flags);
}

void perf_event_set_enabled(struct perf_event *event, bool enabled)
{
    struct perf_context *context = event->context;
    if (context == NULL)
        return;
    uint64_t flags = spin_lock_irqsave(&context->lock);
    event->enabled = enabled;
    spin_unlock_irqrestore(&context->lock, flags);
}

void perf_event_detach(struct perf_event *event)
{
    struct perf_context *context = event->context;
    if (context == NULL)
        return;
    perf_event_set_enabled(event, false);
    perf_event_sync_all();
    uint64_t flags = spin_lock_irqsave(&context->lock);
    // A thread that was between two CPUs has left it active nowhere: it starts nothing more.
    list_remove(&event->context_node);
    if (event->kind == PERF_EVENT_COUNTER && event->was_mapped && event->task != NULL)
        context->user_readers--;
    spin_unlock_irqrestore(&context->lock, flags);
    assert(!event->active);
    event->context = NULL;
    perf_context_put(context);
}

void perf_event_read(
    struct perf_event *event, uint64_t *count, uint64_t *enabled_ns, uint64_t *running_ns)
{
    if (event->kind == PERF_EVENT_COUNTER) {
        perf_hardware_read(event, count, enabled_ns, running_ns);
        return;
    }
    struct perf_context *context = event->context;
    uint64_t flags = context != NULL ? spin_lock_irqsave(&context->lock) : 0;
    uint64_t since_ns = event->active ? time_monotonic_ns() - event->since_ns : 0;
    *count = atomic_load_relaxed(&event->count);
    if (event->kind == PERF_EVENT_CLOCK)
        *count += since_ns;
    *enabled_ns = event->running_ns + since_ns;
    *running_ns = *enabled_ns;
    if (context != NULL)
        spin_unlock_irqrestore(&context->lock, flags);
}

// ---- tasks --------------------------------------------------------------------------------------

int perf_event_fork(struct thread *child, struct thread *parent)
{
    struct perf_context *context = parent->perf_context;
    struct perf_event *event;
    int error = 0;
    if (likely(context == NULL))
        return 0;
    mutex_lock(&events_lock);
    // The set changes under events_lock only; the lock is for those who walk it on other CPUs.
    list_for_each_entry (event, &context->events, context_node) {
        if (!event->attr.inherit)
            continue;
        struct perf_event *copy = perf_event_inherit(event, task_of_thread(child));
        if (copy == NULL) {
            error = -ENOMEM;
            break;
        }
    }
    mutex_unlock(&events_lock);
    if (error != 0)
        perf_event_exit(child);
    return error;
}

// Adds what a copy has counted to the event it is a copy of.
static void fold(struct perf_event *copy)
{
    uint64_t count, enabled_ns, running_ns;
    struct perf_event *parent = copy->parent;
    perf_event_read(copy, &count, &enabled_ns, &running_ns);
    parent->child_count += count;
    parent->child_enabled_ns += enabled_ns;
    parent->child_running_ns += running_ns;
    list_remove(&copy->child_node);
}

void perf_event_exit(struct thread *thread)
{
    struct perf_context *context = thread->perf_context;
    if (likely(context == NULL))
        return;
    mutex_lock(&events_lock);
    while (!list_is_empty(&context->events)) {
        struct perf_event *event =
            container_of(context->events.next, struct perf_event, context_node);
        perf_event_detach(event);
        if (event->parent != NULL) {
            fold(event);
            perf_event_free(event);
        } else {
            perf_event_wake_now(event, EPOLLHUP);
        }
    }
    thread->perf_context = NULL;
    mutex_unlock(&events_lock);
    perf_context_put(context);
}

void perf_event_exec(struct thread *thread)
{
    struct perf_context *context = thread->perf_context;
    struct perf_event *event;
    bool changed = false;
    if (likely(context == NULL))
        return;
    mutex_lock(&events_lock);
    list_for_each_entry (event, &context->events, context_node) {
        if (event->attr.enable_on_exec && !event->enabled) {
            event->attr.enable_on_exec = 0;
            perf_event_set_enabled(event, true);
            changed = true;
        }
    }
    if (changed)
        perf_event_sync_all();
    mutex_unlock(&events_lock);
}
