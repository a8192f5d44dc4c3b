// SPDX-License-Identifier: MIT
// Records of perf_event_open(2): samples, and what happens to tasks (linux/perf_event.h, enum
// perf_event_type).
//
// A record is put together in a page of its CPU and copied into the ring whole.
#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "kernel/fs/poll.h"
#include "mm/slab.h"
#include "perf/event/event.h"
#include "perf/perf.h"
#include "perf/unwind.h"

#include <linux/mman.h>

#define RECORD_BYTES   4096
#define CHAIN_MAX      127 // frames of the kernel's, and of the program's
#define NAME_MAX_BYTES 2048

// One for each CPU, made before the first event; for ever.
static uint8_t *record_pages[CPU_MAX];
static PERCPU(uint32_t, events_nesting); // V4

struct writer {
    uint8_t *begin, *at;
};

int perf_event_records_prepare(void)
{
    for (uint32_t cpu = 0; cpu < cpu_count_possible; cpu++) {
        if (record_pages[cpu] == NULL)
            record_pages[cpu] = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
        if (record_pages[cpu] == NULL)
            return -ENOMEM;
    }
    return 0;
}

static void put_u64(struct writer *writer, uint64_t value)
{
    *(uint64_t *)writer->at = value;
    writer->at += sizeof(value);
}

static void put_u32s(struct writer *writer, uint32_t first, uint32_t second)
{
    ((uint32_t *)writer->at)[0] = first;
    ((uint32_t *)writer->at)[1] = second;
    writer->at += 8;
}

// The event that a program knows: an inherited one is its parent.
static struct perf_event *known(struct perf_event *event)
{
    return event->parent != NULL ? event->parent : event;
}

// False: there is no room for a record now, or this interrupts the making of one.
static bool record_begin(struct writer *writer, uint32_t type, uint16_t misc)
{
    if (this_cpu(events_nesting) != 0)
        return false;
    this_cpu(events_nesting) = 1;
    writer->begin = record_pages[cpu_current()];
    writer->at = writer->begin;
    *(struct perf_event_header *)writer->at =
        (struct perf_event_header){.type = type, .misc = misc};
    writer->at += sizeof(struct perf_event_header);
    return true;
}

static void record_write(
    struct perf_event *event, struct perf_buffer *buffer, struct writer *writer)
{
    bool wake = false;
    uint32_t size = (uint32_t)(writer->at - writer->begin);
    debug_assert(IS_ALIGNED(size, 8u) && size <= RECORD_BYTES);
    ((struct perf_event_header *)writer->begin)->size = (uint16_t)size;
    if (!perf_buffer_write(buffer, writer->begin, size, &wake))
        atomic_fetch_add_relaxed(&known(event)->lost, UINT64_C(1));
    if (wake)
        perf_event_wake(known(event), EPOLLIN | EPOLLRDNORM);
}

static void record_end(void)
{
    this_cpu(events_nesting) = 0;
}

// What follows records that are no samples, with sample_id_all.
static void put_sample_id_of(
    struct writer *writer, struct perf_event *event, const struct thread *thread)
{
    uint64_t type = event->attr.sample_type;
    if (!event->attr.sample_id_all)
        return;
    if (type & PERF_SAMPLE_TID)
        put_u32s(writer, thread->pid, thread->tid);
    if (type & PERF_SAMPLE_TIME)
        put_u64(writer, time_monotonic_ns());
    if (type & PERF_SAMPLE_ID)
        put_u64(writer, known(event)->id);
    if (type & PERF_SAMPLE_STREAM_ID)
        put_u64(writer, event->id);
    if (type & PERF_SAMPLE_CPU)
        put_u32s(writer, cpu_current(), 0);
    if (type & PERF_SAMPLE_IDENTIFIER)
        put_u64(writer, known(event)->id);
}

static void put_sample_id(struct writer *writer, struct perf_event *event)
{
    put_sample_id_of(writer, event, thread_current());
}

// Says what was lost before the next record.
static void tell_lost(struct perf_event *event, struct perf_buffer *buffer)
{
    struct writer writer;
    uint64_t lost = perf_buffer_take_lost(buffer);
    if (likely(lost == 0) || !record_begin(&writer, PERF_RECORD_LOST, 0))
        return;
    put_u64(&writer, known(event)->id);
    put_u64(&writer, lost);
    put_sample_id(&writer, event);
    record_write(event, buffer, &writer);
    record_end();
}

// ---- samples ------------------------------------------------------------------------------------

static uint64_t *put_kernel_chain(uint64_t *at, const struct trap_frame *frame, uint32_t max)
{
    uint32_t *frames = (uint32_t *)(at + 2) + max; // behind: widened from the front
    uint32_t count = perf_unwind_kernel(frames, max, frame->rbp, frame->rsp);
    *at++ = (uint64_t)PERF_CONTEXT_KERNEL;
    *at++ = frame->rip;
    for (uint32_t i = 0; i < count; i++)
        *at++ = UINT64_C(0xffffffff00000000) | frames[i];
    return at;
}

static void put_chain(
    struct writer *writer, const struct perf_event *event, const struct trap_frame *frame)
{
    const struct perf_event_attr *attr = &event->attr;
    const struct thread *thread = thread_current();
    uint64_t *count = (uint64_t *)writer->at;
    uint64_t *at = count + 1;
    uint32_t max = attr->sample_max_stack != 0 ? MIN(attr->sample_max_stack, CHAIN_MAX) : CHAIN_MAX;
    bool in_user = trap_frame_is_user(frame);
    if (!in_user && !attr->exclude_callchain_kernel && !attr->exclude_kernel)
        at = put_kernel_chain(at, frame, max);
    const struct trap_frame *user = NULL;
    if (in_user)
        user = frame;
    else if (thread->space != NULL && !(thread->flags & THREAD_FLAG_KERNEL))
        user = (const struct trap_frame *)thread->arch.kernel_stack_top - 1;
    if (user != NULL && !attr->exclude_callchain_user && !attr->exclude_user) {
        struct perf_user_window window;
        bool complete;
        perf_user_window_init(&window);
        *at++ = (uint64_t)PERF_CONTEXT_USER;
        *at++ = user->rip;
        at += perf_unwind_user(&window, at, max, user->rbp, user->rsp, &complete);
    }
    *count = (uint64_t)(at - count - 1);
    writer->at = (uint8_t *)at;
}

static void put_read(struct writer *writer, struct perf_event *event)
{
    uint64_t format = event->attr.read_format;
    uint64_t now_ns = time_monotonic_ns();
    uint64_t enabled_ns = event->running_ns + (now_ns - event->since_ns);
    const bool counter = event->kind == PERF_EVENT_COUNTER;
    uint64_t running_ns = counter ? pmu_event_running_ns(&event->counter, now_ns) : enabled_ns;
    // A counter is read in its own interrupt, which has just brought its count up to date.
    put_u64(writer, counter ? event->counter.count : atomic_load_relaxed(&event->count));
    if (format & PERF_FORMAT_TOTAL_TIME_ENABLED)
        put_u64(writer, enabled_ns);
    if (format & PERF_FORMAT_TOTAL_TIME_RUNNING)
        put_u64(writer, running_ns);
    if (format & PERF_FORMAT_ID)
        put_u64(writer, known(event)->id);
    if (format & PERF_FORMAT_LOST)
        put_u64(writer, atomic_load_relaxed(&known(event)->lost));
}

static void put_raw(struct writer *writer, const struct perf_event_sample *sample)
{
    // The size counts itself in the alignment.
    uint32_t size = ALIGN_UP(sample->raw_len + 4, 8u) - 4;
    *(uint32_t *)writer->at = size;
    memcpy(writer->at + 4, sample->raw, sample->raw_len);
    memset(writer->at + 4 + sample->raw_len, 0, size - sample->raw_len);
    writer->at += 4 + size;
}

static void put_sample(
    struct writer *writer, struct perf_event *event, const struct perf_event_sample *sample)
{
    uint64_t type = event->attr.sample_type;
    const struct thread *thread = thread_current();
    if (type & PERF_SAMPLE_IDENTIFIER)
        put_u64(writer, known(event)->id);
    if (type & PERF_SAMPLE_IP)
        put_u64(writer, sample->frame->rip);
    if (type & PERF_SAMPLE_TID)
        put_u32s(writer, thread->pid, thread->tid);
    if (type & PERF_SAMPLE_TIME)
        put_u64(writer, time_monotonic_ns());
    if (type & PERF_SAMPLE_ADDR)
        put_u64(writer, sample->address);
    if (type & PERF_SAMPLE_ID)
        put_u64(writer, known(event)->id);
    if (type & PERF_SAMPLE_STREAM_ID)
        put_u64(writer, event->id);
    if (type & PERF_SAMPLE_CPU)
        put_u32s(writer, cpu_current(), 0);
    if (type & PERF_SAMPLE_PERIOD)
        put_u64(writer, sample->period);
    if (type & PERF_SAMPLE_READ)
        put_read(writer, event);
    if (type & PERF_SAMPLE_CALLCHAIN)
        put_chain(writer, event, sample->frame);
    if ((type & PERF_SAMPLE_RAW) && sample->raw != NULL)
        put_raw(writer, sample);
    else if (type & PERF_SAMPLE_RAW)
        put_u32s(writer, 4, 0);
}

static uint16_t sample_misc(const struct perf_event_sample *sample)
{
    return trap_frame_is_user(sample->frame) ? PERF_RECORD_MISC_USER : PERF_RECORD_MISC_KERNEL;
}

static bool is_wanted(const struct perf_event *event, const struct perf_event_sample *sample)
{
    bool in_user = trap_frame_is_user(sample->frame);
    if (in_user ? event->attr.exclude_user : event->attr.exclude_kernel)
        return false;
    return !event->attr.exclude_idle || !(thread_current()->flags & THREAD_FLAG_IDLE);
}

void perf_event_sample(struct perf_event *event, const struct perf_event_sample *sample)
{
    struct perf_buffer *buffer = event->buffer;
    assert_irqs_off();
    if (this_cpu(events_nesting) != 0 || !is_wanted(event, sample))
        return;
    if (buffer != NULL && buffer->bytes != 0) {
        struct writer writer;
        tell_lost(event, buffer);
        if (!record_begin(&writer, PERF_RECORD_SAMPLE, sample_misc(sample)))
            return;
        put_sample(&writer, event, sample);
        record_write(event, buffer, &writer);
        record_end();
    }
    if (event->attr.wakeup_events != 0 && !event->attr.watermark)
        perf_event_wake(known(event), EPOLLIN | EPOLLRDNORM);
}

// ---- records made in NMIs -----------------------------------------------------------------------
//
// An NMI can come while this CPU has a buffer locked, so it must not write there. Its records are
// staged: one after the other in memory of this CPU. The NMI alone appends; the interrupt that it
// raises takes them out, and empties the stage if nothing has come meanwhile.

#define STAGE_ORDER 2
#define STAGE_BYTES (PAGE_SIZE << STAGE_ORDER)

struct stage {
    uint32_t used; // own CPU; NMIs add, the interrupt makes it 0 by compare-and-exchange
    uint32_t reserved;
    uint8_t bytes[STAGE_BYTES - 8];
};
struct staged { // before each record
    struct perf_event *event;
    uint64_t len;
};
static struct stage *stages[CPU_MAX]; // made before the first event that needs them; for ever

int perf_event_stage_prepare(void)
{
    for (uint32_t cpu = 0; cpu < cpu_count_possible; cpu++) {
        if (stages[cpu] == NULL)
            stages[cpu] = page_alloc_kernel(STAGE_ORDER, PAGE_ALLOC_ZERO);
        if (stages[cpu] == NULL)
            return -ENOMEM;
    }
    return 0;
}

// False: there is no room, which counts as lost. NMI.
static bool stage_begin(
    struct writer *writer, struct perf_event *event, uint32_t type, uint16_t misc)
{
    struct stage *stage = stages[cpu_current()];
    if (event->buffer == NULL || event->buffer->bytes == 0)
        return false;
    if (stage->used + sizeof(struct staged) + RECORD_BYTES > sizeof(stage->bytes)) {
        atomic_fetch_add_relaxed(&known(event)->lost, UINT64_C(1));
        return false;
    }
    writer->begin = stage->bytes + stage->used + sizeof(struct staged);
    writer->at = writer->begin;
    *(struct perf_event_header *)writer->at =
        (struct perf_event_header){.type = type, .misc = misc};
    writer->at += sizeof(struct perf_event_header);
    return true;
}

static void stage_end(const struct writer *writer, struct perf_event *event)
{
    struct stage *stage = stages[cpu_current()];
    struct staged *staged = (struct staged *)writer->begin - 1;
    staged->event = event;
    staged->len = (uint64_t)(writer->at - writer->begin);
    debug_assert(staged->len <= RECORD_BYTES);
    atomic_store_release(&stage->used, (uint32_t)(writer->at - stage->bytes)); // nobody else adds
    apic_send_self(VECTOR_TIMER);
}

void perf_event_sample_nmi(struct perf_event *event, const struct perf_event_sample *sample)
{
    struct writer writer;
    if (!is_wanted(event, sample) ||
        !stage_begin(&writer, event, PERF_RECORD_SAMPLE, sample_misc(sample)))
        return;
    put_sample(&writer, event, sample);
    stage_end(&writer, event);
}

static void staged_write(const struct staged *staged)
{
    struct perf_event *event = staged->event;
    struct perf_buffer *buffer = event->buffer;
    if (buffer == NULL || buffer->bytes == 0)
        return;
    tell_lost(event, buffer);
    struct writer writer = {.begin = (uint8_t *)(staged + 1)};
    writer.at = writer.begin + staged->len;
    record_write(event, buffer, &writer);
    if (event->attr.wakeup_events != 0 && !event->attr.watermark)
        perf_event_wake(known(event), EPOLLIN | EPOLLRDNORM);
}

void perf_event_records_flush(void)
{
    struct stage *stage = stages[cpu_current()];
    uint32_t at = 0;
    assert_irqs_off();
    if (stage == NULL)
        return;
    uint32_t seen;
    do {
        seen = atomic_load_acquire(&stage->used);
        while (at < seen) {
            const struct staged *staged = (const struct staged *)(stage->bytes + at);
            staged_write(staged);
            at += (uint32_t)(sizeof(*staged) + staged->len);
        }
        // The stage is full at the latest after a few rounds.
    } while (seen != 0 && !atomic_cmpxchg(&stage->used, &seen, 0u));
}

static void put_throttle(struct writer *writer, struct perf_event *event)
{
    put_u64(writer, time_monotonic_ns());
    put_u64(writer, known(event)->id);
    put_u64(writer, event->id);
    put_sample_id(writer, event);
}

void perf_event_note_throttle(struct perf_event *event, bool throttled)
{
    struct writer writer;
    if (throttled) { // in the NMI that was one too many
        if (stage_begin(&writer, event, PERF_RECORD_THROTTLE, 0)) {
            put_throttle(&writer, event);
            stage_end(&writer, event);
        }
        return;
    }
    if (event->buffer == NULL || event->buffer->bytes == 0 ||
        !record_begin(&writer, PERF_RECORD_UNTHROTTLE, 0))
        return;
    put_throttle(&writer, event);
    record_write(event, event->buffer, &writer);
    record_end();
}

// ---- what happens to tasks ----------------------------------------------------------------------

// Writes the same record for each active event of this CPU that wants it; `put` adds the body.
static void side_write(uint32_t type, uint16_t misc,
    bool (*wants)(const struct perf_event_attr *attr),
    void (*put)(struct writer *writer, const struct perf_event *event, const void *argument),
    const void *argument)
{
    uint64_t flags = arch_irq_save();
    struct list_node *active = this_cpu_ptr(active_events);
    struct perf_event *event;
    if (active->next != NULL && this_cpu(events_nesting) == 0) {
        list_for_each_entry (event, active, active_node) {
            struct writer writer;
            struct perf_buffer *buffer = event->buffer;
            if (buffer == NULL || buffer->bytes == 0 || !wants(&event->attr))
                continue;
            tell_lost(event, buffer);
            if (!record_begin(&writer, type, misc))
                break;
            put(&writer, event, argument);
            put_sample_id(&writer, event);
            record_write(event, buffer, &writer);
            record_end();
        }
    }
    arch_irq_restore(flags);
}

static bool wants_comm(const struct perf_event_attr *attr)
{
    return attr->comm;
}

static bool wants_mmap(const struct perf_event_attr *attr)
{
    return attr->mmap && attr->mmap2;
}

static bool wants_old_mmap(const struct perf_event_attr *attr)
{
    return attr->mmap && !attr->mmap2;
}

static bool wants_task(const struct perf_event_attr *attr)
{
    return attr->task;
}

static void put_text(struct writer *writer, const char *text, size_t most)
{
    size_t len = strnlen(text, most - 1);
    memset(writer->at, 0, ALIGN_UP(len + 1, 8ul));
    memcpy(writer->at, text, len);
    writer->at += ALIGN_UP(len + 1, 8ul);
}

static void put_comm(struct writer *writer, const struct perf_event *event, const void *argument)
{
    const struct thread *thread = argument;
    put_u32s(writer, thread->pid, thread->tid);
    put_text(writer, thread->name, sizeof(thread->name));
}

struct note_mapping {
    const struct thread *thread;
    const struct perf_mapping *mapping;
};

static void put_mmap(struct writer *writer, const struct perf_event *event, const void *argument)
{
    const struct note_mapping *note = argument;
    const struct perf_mapping *mapping = note->mapping;
    put_u32s(writer, note->thread->pid, note->thread->tid);
    put_u64(writer, mapping->start);
    put_u64(writer, mapping->len_bytes);
    put_u64(writer, mapping->offset_bytes);
    if (event->attr.mmap2) {
        if (event->attr.build_id && mapping->build_id_len != 0) {
            ((struct perf_event_header *)writer->begin)->misc |= PERF_RECORD_MISC_MMAP_BUILD_ID;
            memset(writer->at, 0, 24);
            writer->at[0] = (uint8_t)mapping->build_id_len;
            memcpy(writer->at + 4, mapping->build_id, mapping->build_id_len);
            writer->at += 24;
        } else {
            put_u32s(writer, mapping->device_major, mapping->device_minor);
            put_u64(writer, mapping->inode);
            put_u64(writer, 0); // generation
        }
        put_u32s(writer, mapping->protection, mapping->flags);
    }
    put_text(writer, mapping->name, NAME_MAX_BYTES);
}

struct note_life {
    const struct thread *thread;
    uint32_t parent_pid, parent_tid;
};

static void put_life(struct writer *writer, const struct perf_event *event, const void *argument)
{
    const struct note_life *life = argument;
    put_u32s(writer, life->thread->pid, life->parent_pid);
    put_u32s(writer, life->thread->tid, life->parent_tid);
    put_u64(writer, time_monotonic_ns());
}

void perf_event_note_comm(const struct thread *thread, bool exec)
{
    uint16_t misc = PERF_RECORD_MISC_USER | (exec ? PERF_RECORD_MISC_COMM_EXEC : 0);
    side_write(PERF_RECORD_COMM, misc, wants_comm, put_comm, thread);
}

void perf_event_note_mapping(const struct thread *thread, const struct perf_mapping *mapping)
{
    struct note_mapping note = {.thread = thread, .mapping = mapping};
    side_write(PERF_RECORD_MMAP2, PERF_RECORD_MISC_USER, wants_mmap, put_mmap, &note);
    side_write(PERF_RECORD_MMAP, PERF_RECORD_MISC_USER, wants_old_mmap, put_mmap, &note);
}

void perf_event_note_fork(const struct thread *child, const struct thread *parent)
{
    struct note_life life = {.thread = child, .parent_pid = parent->pid, .parent_tid = parent->tid};
    side_write(PERF_RECORD_FORK, 0, wants_task, put_life, &life);
}

void perf_event_note_exit(const struct thread *thread)
{
    struct note_life life = {.thread = thread};
    side_write(PERF_RECORD_EXIT, 0, wants_task, put_life, &life);
}

// ---- switches -----------------------------------------------------------------------------------

static void put_switch(struct perf_event *event, const struct thread *thread,
    const struct thread *other, uint16_t misc)
{
    struct writer writer;
    const bool of_cpu = event->task == NULL;
    if (!record_begin(&writer, of_cpu ? PERF_RECORD_SWITCH_CPU_WIDE : PERF_RECORD_SWITCH, misc))
        return;
    if (of_cpu)
        put_u32s(&writer, other->pid, other->tid);
    put_sample_id_of(&writer, event, thread);
    record_write(event, event->buffer, &writer);
    record_end();
}

void perf_event_note_switch(const struct thread *thread, const struct thread *other, uint16_t misc)
{
    struct perf_event *event;
    assert_irqs_off();
    list_for_each_entry (event, this_cpu_ptr(active_events), active_node) {
        if (!event->attr.context_switch || event->buffer == NULL || event->buffer->bytes == 0)
            continue;
        tell_lost(event, event->buffer);
        put_switch(event, thread, other, misc);
    }
}
