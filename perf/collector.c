// SPDX-License-Identifier: MIT
// The collector's words: what the host asks for becomes what is collected (export.h: STARTING).
//
// CPUs notice a new request at their timer interrupts; the work is done by the kernel's worker
// thread, one request at a time. A request is copied once and only the copy is believed in. Then:
// sources stop on every CPU (a cross-CPU call that waits), rings and perf_config change, sources
// start again: P1 of state.h.
#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/nmi.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/preempt.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "mm/page.h"
#include "perf/collected.h"
#include "perf/collector.h"
#include "perf/state.h"
#include "perf/trace.h"

#include <linux/perf_event.h>

#define RING_DEFAULT_BYTES (256u << 10)
#define RING_SHARE         128 // a CPU's two rings take at most 1/64 of the memory

uint32_t perf_seen_generation, perf_seen_rundown;

static struct work request_work, rundown_work;
static struct timer lease_timer;
static uint32_t lease_heartbeat; // at the last look; the lease timer's
static uint64_t lease_ns;
static bool lease_is_over;                // the lease timer tells the worker; atomic
static struct perf_cpu_shared *directory; // one for each possible CPU; set once

static uint64_t flight_hz;
BOOT_OPTION_U64(flight_hz, "perf_flight",
    "Take so many samples a second on each CPU from the start, into rings that are overwritten: a "
    "flight recorder, which the host may read at any time (docs/profiling.md).");

static struct perf_export_status *status_words(void)
{
    return &perf_export_descriptor.status;
}

// ---- memory -------------------------------------------------------------------------------------

static int directory_make(void)
{
    if (directory != NULL)
        return 0;
    size_t len = cpu_count_possible * sizeof(struct perf_cpu_shared);
    unsigned order = len <= PAGE_SIZE ? 0 : bit_highest(len - 1) + 1 - PAGE_SHIFT;
    directory = page_alloc_kernel(order, PAGE_ALLOC_ZERO);
    if (directory == NULL)
        return -ENOMEM;
    struct perf_export_status *status = status_words();
    status->cpu_count = cpu_count_possible;
    status->directory_stride = sizeof(struct perf_cpu_shared);
    for (uint32_t cpu = 0; cpu < cpu_count_possible; cpu++) {
        directory[cpu].entry.cpu = cpu;
        directory[cpu].entry.apic_id = perf_apic_id(cpu);
    }
    atomic_store_release(&status->directory_physical, virt_to_phys(directory));
    return 0;
}

// Most that a ring may have: what was asked for, what fits into the machine, a block of the page
// allocator.
static uint32_t ring_bytes(uint32_t asked)
{
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    uint64_t most = statistics.total_pages * PAGE_SIZE / RING_SHARE / cpumask_count(&cpu_online);
    most = MIN(most, (uint64_t)PAGE_SIZE << PAGE_ORDER_MAX);
    uint32_t bytes = asked != 0 ? asked : RING_DEFAULT_BYTES;
    while (bytes > most && bytes > 4 * PERF_EXPORT_RING_MIN)
        bytes /= 2;
    return MAX(bytes, PERF_EXPORT_RING_MIN);
}

static unsigned ring_order(uint32_t bytes)
{
    return bit_highest(bytes) - PAGE_SHIFT;
}

// Gives a ring memory of its size, in place of what it had; the smaller the less there is.
static int ring_make(struct perf_ring *ring, struct perf_export_ring *control,
    struct perf_export_ring_place *place, uint32_t bytes, bool overwrite)
{
    uint8_t *data = ring->data;
    if (ring->bytes != bytes) {
        do {
            data = page_alloc_kernel(ring_order(bytes), PAGE_ALLOC_ZERO);
        } while (data == NULL && (bytes /= 2) >= PERF_EXPORT_RING_MIN);
        if (data == NULL)
            return -ENOMEM;
        place->bytes = 0;
        if (ring->data != NULL)
            page_free_kernel(ring->data, ring_order(ring->bytes));
    }
    perf_ring_init(ring, control, data, bytes, overwrite);
    place->control_physical = virt_to_phys(control);
    place->data_physical = virt_to_phys(data);
    atomic_store_release(&place->bytes, bytes);
    return 0;
}

// Rings of every CPU; nobody writes.
static int rings_make(const struct perf_export_request *request, bool overwrite)
{
    int error = directory_make();
    if (error == 0)
        error = perf_clock_prepare();
    if (error != 0)
        return error;
    uint32_t sample_bytes = ring_bytes(request->sample_ring_bytes);
    uint32_t side_bytes = ring_bytes(request->side_ring_bytes);
    cpumask_for_each(cpu, &cpu_online)
    {
        struct perf_cpu *own = percpu_of(perf_cpu, cpu);
        struct perf_cpu_shared *shared = &directory[cpu];
        own->shared = shared;
        error = ring_make(
            &own->sample, &shared->sample, &shared->entry.sample, sample_bytes, overwrite);
        if (error == 0)
            error =
                ring_make(&own->side, &shared->side, &shared->entry.side, side_bytes, overwrite);
        if (error != 0)
            return error;
    }
    status_words()->sample_ring_bytes = sample_bytes;
    status_words()->side_ring_bytes = side_bytes;
    return 0;
}

// ---- sources ------------------------------------------------------------------------------------

static void stop_here(void *argument)
{
    perf_timer_stop();
}

static void start_here(void *argument)
{
    perf_timer_start();
}

// Runs the function on all CPUs, interrupts off, and waits.
static void on_all_cpus(void (*function)(void *argument))
{
    preempt_disable();
    smp_call_mask(&cpu_online, function, NULL, true);
    uint64_t flags = arch_irq_save();
    function(NULL);
    arch_irq_restore(flags);
    preempt_enable();
}

static void sources_stop(void)
{
    atomic_store_relaxed(&perf_side_to_host, false);
    perf_side_update();
    trace_collector_remove_all();
    perf_collected_remove_all();
    on_all_cpus(stop_here); // also waits for writers of side-band records
    perf_config = (struct perf_config){0};
}

static void sources_start(void)
{
    atomic_store_release(&perf_side_to_host, true);
    perf_side_update();
    on_all_cpus(start_here);
    perf_collected_start();
}

// ---- requests -----------------------------------------------------------------------------------

static bool ring_size_is_valid(uint32_t bytes)
{
    return bytes == 0 || (IS_POWER_OF_TWO(bytes) && bytes >= PERF_EXPORT_RING_MIN &&
                             bytes <= PERF_EXPORT_RING_MAX);
}

static int request_check(const struct perf_export_request *request)
{
    if (request->mode > PERF_EXPORT_MODE_FLIGHT || request->lease_ms > PERF_EXPORT_LEASE_MS_MAX ||
        request->frames_kernel_max > PERF_EXPORT_FRAMES_MAX ||
        request->frames_user_max > PERF_EXPORT_FRAMES_MAX ||
        (request->side & ~PERF_EXPORT_SIDE_SWITCH) != 0 ||
        !ring_size_is_valid(request->sample_ring_bytes) ||
        !ring_size_is_valid(request->side_ring_bytes))
        return -EINVAL;
    return 0;
}

// The sampling timer's event.
static int clock_event_take(
    const struct perf_export_event *event, uint16_t index, struct perf_export_event_status *status)
{
    uint64_t limit_ns = NS_PER_SECOND / PERF_EXPORT_RATE_HZ_MAX;
    if (perf_config.period_ns != 0 || perf_config.has_counters)
        return -EBUSY; // there is one timer, and one source of a ring
    if (event->period == 0 || (event->flags & PERF_EXPORT_EVENT_COUNT_ONLY))
        return -EINVAL;
    uint64_t period_ns = event->period;
    if (event->flags & PERF_EXPORT_EVENT_FREQ)
        period_ns = NS_PER_SECOND / MIN(event->period, (uint64_t)PERF_EXPORT_RATE_HZ_MAX);
    period_ns = CLAMP(period_ns, limit_ns, 3600 * NS_PER_SECOND);
    perf_config.clock_event = index;
    perf_config.clock_flags = event->flags;
    perf_config.period_ns = period_ns;
    status->source = PERF_EXPORT_SOURCE_TIMER;
    status->period = period_ns;
    status->frequency = NS_PER_SECOND / period_ns;
    return 0;
}

static int counter_event_take(
    const struct perf_export_event *event, uint16_t index, struct perf_export_event_status *status)
{
    if (perf_config.period_ns != 0)
        return -EBUSY;
    int error = perf_collected_add(event, index, status);
    perf_config.has_counters |= error == 0;
    return error;
}

static int event_take(
    const struct perf_export_event *event, uint16_t index, struct perf_export_event_status *status)
{
    switch (event->type) {
    case PERF_TYPE_SOFTWARE:
        if (event->config == PERF_COUNT_SW_CPU_CLOCK || event->config == PERF_COUNT_SW_TASK_CLOCK)
            return clock_event_take(event, index, status);
        return -EOPNOTSUPP;
    case PERF_TYPE_HARDWARE:
    case PERF_TYPE_RAW:
        return counter_event_take(event, index, status);
    case PERF_TYPE_TRACEPOINT:
        status->source = PERF_EXPORT_SOURCE_SOFT;
        status->period = 1;
        return trace_collector_add(event->config, index, event->flags);
    default:
        return -EOPNOTSUPP;
    }
}

static void config_take(const struct perf_export_request *request)
{
    perf_config.frames_kernel_max = request->frames_kernel_max;
    perf_config.frames_user_max = request->frames_user_max;
    perf_config.wants_switches = (request->side & PERF_EXPORT_SIDE_SWITCH) != 0;
    for (uint16_t i = 0; i < PERF_EXPORT_EVENTS; i++) {
        struct perf_export_event_status status = {0};
        if (request->events[i].type != PERF_EXPORT_EVENT_UNUSED)
            status.error = event_take(&request->events[i], i, &status);
        status_words()->events[i] = status;
    }
}

static void lease_fired(struct timer *timer)
{
    uint32_t heartbeat = atomic_load_relaxed(&perf_export_descriptor.request.heartbeat);
    if (heartbeat == lease_heartbeat) {
        atomic_store_relaxed(&lease_is_over, true);
        (void)work_queue(&request_work);
        return;
    }
    lease_heartbeat = heartbeat;
    timer_arm(timer, time_monotonic_ns() + lease_ns);
}

static void lease_begin(const struct perf_export_request *request)
{
    lease_heartbeat = request->heartbeat;
    lease_ns = request->lease_ms * NS_PER_MS;
    if (request->mode == PERF_EXPORT_MODE_COLLECT && lease_ns != 0)
        timer_arm(&lease_timer, time_monotonic_ns() + lease_ns);
}

// Does what the copy says. Worker thread.
static void request_apply(const struct perf_export_request *request)
{
    struct perf_export_status *status = status_words();
    (void)timer_cancel_sync(&lease_timer);
    atomic_store_relaxed(&lease_is_over, false);
    sources_stop();
    int error = request_check(request);
    bool flight = request->mode == PERF_EXPORT_MODE_FLIGHT;
    uint32_t state = request->mode; // the same numbers
    if (error == 0 && request->mode != PERF_EXPORT_MODE_OFF)
        error = rings_make(request, flight);
    if (error != 0) {
        state = PERF_EXPORT_STATE_FAILED;
    } else if (request->mode != PERF_EXPORT_MODE_OFF) {
        config_take(request);
        sources_start();
        lease_begin(request);
    }
    status->error = error;
    atomic_store_release(&status->state, state);
}

// The words as they are when the generation is `*generation`: read until they are of one piece, a
// few times; what the host still changes then is its own fault.
static void request_read(struct perf_export_request *copy)
{
    const struct perf_export_request *shared = &perf_export_descriptor.request;
    for (int attempt = 0; attempt < 4; attempt++) {
        uint32_t generation = atomic_load_acquire(&shared->generation);
        const volatile uint32_t *from = (const volatile uint32_t *)shared;
        for (size_t i = 0; i < sizeof(*copy) / sizeof(uint32_t); i++)
            ((uint32_t *)copy)[i] = from[i];
        copy->generation = generation;
        if (atomic_load_acquire(&shared->generation) == generation)
            break;
    }
}

static void request_run(struct work *work)
{
    static struct perf_export_request copy; // the worker's alone
    if (atomic_load_relaxed(&lease_is_over)) {
        sources_stop();
        atomic_store_relaxed(&lease_is_over, false);
        atomic_store_release(&status_words()->state, PERF_EXPORT_STATE_LEASE_OVER);
    }
    request_read(&copy);
    if (copy.generation == status_words()->generation)
        return;
    request_apply(&copy);
    atomic_store_release(&status_words()->generation, copy.generation);
}

// ---- rundown ------------------------------------------------------------------------------------

uint32_t (*perf_rundown)(uint32_t *tasks);

static void rundown_run(struct work *work)
{
    uint32_t wanted = atomic_load_acquire(&perf_export_descriptor.request.rundown);
    uint32_t tasks = 0;
    if (perf_side_to_host && perf_rundown != NULL)
        status_words()->rundown_lost = perf_rundown(&tasks);
    perf_note_rundown_end(wanted, tasks);
    atomic_store_release(&status_words()->rundown, wanted);
}

// ---- noticing -----------------------------------------------------------------------------------

void perf_poll_slow(void)
{
    const struct perf_export_request *request = &perf_export_descriptor.request;
    uint32_t generation = atomic_load_acquire(&request->generation);
    if (atomic_exchange(&perf_seen_generation, generation) != generation)
        (void)work_queue(&request_work);
    uint32_t rundown = atomic_load_acquire(&request->rundown);
    if (atomic_exchange(&perf_seen_rundown, rundown) != rundown)
        (void)work_queue(&rundown_work);
    uint64_t flags = arch_irq_save();
    perf_clock_answer();
    arch_irq_restore(flags);
}

// An NMI that a collector sends to a guest that may be idle. All CPUs get it, late perhaps, when
// one of them has seen the request already: from the first request on, NMIs from outside are the
// collector's. What has to be done is done by the timer's vector, which is raised here; most NMIs
// are a counter's, with nothing to do.
static bool woken_by_nmi(struct trap_frame *frame)
{
    const struct perf_export_request *request = &perf_export_descriptor.request;
    const bool has_collector = atomic_load_relaxed(&request->generation) != 0 ||
                               atomic_load_relaxed(&request->clock) != 0 ||
                               atomic_load_relaxed(&request->rundown) != 0;
    if (has_collector && perf_is_asked())
        apic_send_self(VECTOR_TIMER);
    return has_collector;
}

void perf_collector_init(void)
{
    if (nmi_handler_add(woken_by_nmi) == 0)
        perf_export_descriptor.flags |= PERF_EXPORT_WAKES_BY_NMI;
    work_init(&request_work, request_run);
    work_init(&rundown_work, rundown_run);
    timer_init(&lease_timer, lease_fired);
}

void perf_start(void)
{
    if (flight_hz == 0)
        return;
    static struct perf_export_request request;
    request = (struct perf_export_request){.mode = PERF_EXPORT_MODE_FLIGHT,
        .side = PERF_EXPORT_SIDE_SWITCH,
        .frames_kernel_max = 32,
        .frames_user_max = 32};
    for (uint32_t i = 0; i < PERF_EXPORT_EVENTS; i++)
        request.events[i].type = PERF_EXPORT_EVENT_UNUSED;
    request.events[0] = (struct perf_export_event){.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_CPU_CLOCK,
        .flags = PERF_EXPORT_EVENT_FREQ | PERF_EXPORT_EVENT_CALLCHAIN | PERF_EXPORT_EVENT_NO_IDLE,
        .period = flight_hz};
    request_apply(&request);
    if (status_words()->error != 0)
        log_warning("perf: no flight recorder (error %d)", -status_words()->error);
}
