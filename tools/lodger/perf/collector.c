// SPDX-License-Identifier: MIT
//
// Starting a collection and its rounds.
#include "tools/lodger/perf/collector.h"

#include "tools/lodger/perf/events.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MILLISECOND 1000000ull
#define LEASE_MS    10000
// How long a handshake may take, and how often there is one.
#define HANDSHAKE_PATIENCE_NS (20 * MILLISECOND)
#define HANDSHAKE_INTERVAL_NS (250 * MILLISECOND)
#define FIRST_HANDSHAKES      4u
#define HOLD_SAMPLES_NS       (2000 * MILLISECOND)

// Has an idle guest look at the request, if it takes an NMI for that.
static void wake(struct collector *collector)
{
    if ((collector->attach.fixed.flags & PERF_EXPORT_WAKES_BY_NMI) != 0) {
        guest_wake(&collector->guest);
    }
}

static void sleep_ns(uint64_t ns)
{
    usleep((useconds_t)(ns / 1000));
}

// The part of opening that follows when there is memory.
static char *open_attach(struct collector *collector, uint64_t descriptor, const char *kernel_elf)
{
    struct attach *attach = &collector->attach;
    int error = attach_open(attach, &collector->memory, descriptor);
    if (error == -EPROTO) {
        return xasprintf(
            "the guest's export descriptor is not of version %u, or damaged", PERF_EXPORT_VERSION);
    }
    if (error != 0) {
        return xasprintf("the guest's memory cannot be read: %s", strerror(-error));
    }
    const char *hint = kernel_elf != NULL ? kernel_elf : collector->guest.kernel;
    const struct perf_export_descriptor *fixed = &attach->fixed;
    error = kernel_elf_find(hint, fixed->build_id, fixed->build_id_len, &collector->kernel);
    if (error != 0 && kernel_elf != NULL) {
        return xasprintf("%s is not the kernel that the guest runs (build-id %s)", kernel_elf,
            build_id_text(fixed->build_id, fixed->build_id_len));
    }
    programs_init(&collector->programs, collector->guest.initrd);
    tasks_init(&collector->tasks);
    if (error == 0) {
        collector->kernel_program = programs_add_kernel(&collector->programs,
            collector->kernel.path, collector->kernel.build_id, collector->kernel.build_id_bytes);
    }
    guest_clock_init(&collector->clock, fixed->tsc_hz);
    return NULL;
}

char *collector_open(struct collector *collector, const char *guest, const char *kernel_elf)
{
    *collector = (struct collector){.alive_fd = -1};
    char *reason = guest_find(guest, &collector->guest);
    if (reason != NULL) {
        return reason;
    }
    collector->alive_fd = (int)syscall(SYS_pidfd_open, collector->guest.pid, 0);
    // Where the descriptor should be, if QEMU was given the ELF file itself.
    const char *path = kernel_elf != NULL ? kernel_elf : collector->guest.kernel;
    struct kernel_elf elf = {};
    uint64_t expected = 0, found = 0;
    if (path != NULL && kernel_elf_read(path, &elf) == 0 &&
        elf.descriptor > PERF_EXPORT_IMAGE_BASE) {
        expected = elf.descriptor - PERF_EXPORT_IMAGE_BASE;
    }
    kernel_elf_free(&elf);
    reason = guest_open_memory(&collector->guest, expected, &collector->memory, &found);
    if (reason != NULL) {
        guest_free(&collector->guest);
        return reason;
    }
    reason = open_attach(collector, found, kernel_elf);
    if (reason != NULL) {
        collector_close(collector);
    }
    return reason;
}

char *collector_open_memory(
    struct collector *collector, const struct guest_memory *memory, uint64_t descriptor)
{
    *collector = (struct collector){.memory = *memory, .alive_fd = -1};
    collector->guest.name = xstrdup("memory");
    collector->guest.pid = getpid();
    return open_attach(collector, descriptor, NULL);
}

void collector_close(struct collector *collector)
{
    for (unsigned i = 0; i < collector->event_count; i++) {
        free(collector->events[i].name);
    }
    attach_close(&collector->attach);
    if (collector->memory.ops != NULL) {
        guest_memory_close(&collector->memory);
    }
    if (collector->tasks.slots != NULL) {
        tasks_free(&collector->tasks);
    }
    programs_free(&collector->programs);
    kernel_elf_free(&collector->kernel);
    guest_free(&collector->guest);
    if (collector->alive_fd >= 0) {
        close(collector->alive_fd);
    }
    *collector = (struct collector){.alive_fd = -1};
}

// Memory that is mapped outlives its guest: the process is asked.
static bool has_ended(const struct collector *collector)
{
    struct pollfd poll_fd = {.fd = collector->alive_fd, .events = POLLIN};
    return collector->alive_fd >= 0 && poll(&poll_fd, 1, 0) > 0;
}

// Another collector that lives holds the guest.
static char *check_owner(struct collector *collector)
{
    uint64_t owner = attach_owner(&collector->attach);
    bool lives = owner != 0 && owner != (uint64_t)getpid() && owner < INT32_MAX &&
                 (kill((pid_t)owner, 0) == 0 || errno == EPERM);
    return lives ? xasprintf(
                       "process %llu collects from this guest already", (unsigned long long)owner)
                 : NULL;
}

static void make_request(struct collector *collector, const struct collector_settings *settings,
    struct perf_export_request *request)
{
    *request = (struct perf_export_request){
        .mode = settings->flight ? PERF_EXPORT_MODE_FLIGHT : PERF_EXPORT_MODE_COLLECT,
        .lease_ms = LEASE_MS,
        .side = settings->switches ? PERF_EXPORT_SIDE_SWITCH : 0,
        .frames_kernel_max = settings->kernel_frames,
        .frames_user_max = settings->user_frames,
        .sample_ring_bytes = settings->ring_bytes,
        .side_ring_bytes = settings->ring_bytes,
        .owner = (uint64_t)getpid(),
    };
    for (unsigned i = 0; i < PERF_EXPORT_EVENTS; i++) {
        request->events[i].type = PERF_EXPORT_EVENT_UNUSED;
    }
    for (unsigned i = 0; i < collector->event_count; i++) {
        request->events[i] = collector->events[i].event;
    }
}

// Waits until the guest has answered; an idle one is woken.
static char *wait_started(struct collector *collector, uint64_t patience_ns)
{
    uint64_t start_ns = time_now_ns();
    bool woken = false;
    for (;;) {
        int state = attach_started(&collector->attach);
        uint64_t waited_ns = time_now_ns() - start_ns;
        if (state == 1) {
            return NULL;
        }
        if (state == 0 && has_ended(collector)) {
            state = -ESRCH;
        }
        if (state < 0) {
            return state == -ESRCH ? xstrdup("the guest has ended")
                                   : xasprintf("the guest refuses: %s", strerror(-state));
        }
        if (waited_ns > patience_ns) {
            return xasprintf("the guest has not answered for %.0f s: it sleeps, is stopped, or its "
                             "kernel has come to an end",
                (double)patience_ns / 1e9);
        }
        if (!woken && waited_ns > 50 * MILLISECOND) {
            woken = true;
            wake(collector);
        }
        sleep_ns(MILLISECOND);
    }
}

// Events that the guest can't do are left out; none left is an error.
static char *check_events(struct collector *collector)
{
    unsigned usable = 0;
    for (unsigned i = 0; i < collector->event_count; i++) {
        int error = collector->attach.status.events[i].error;
        if (error == 0) {
            usable++;
            continue;
        }
        warn("%s: the guest does not have this event: %s%s", collector->events[i].name,
            strerror(-error),
            error == -ENOENT && collector->events[i].event.type <= PERF_TYPE_RAW
                ? " (no performance counters; -e cpu-clock works everywhere)"
                : "");
    }
    return usable == 0 ? xstrdup("the guest has none of the events") : NULL;
}

// Until there is a first point of the clock, nothing can be dated.
static char *set_clock(struct collector *collector, uint64_t patience_ns)
{
    uint64_t start_ns = time_now_ns();
    uint64_t handshake_ns = HANDSHAKE_PATIENCE_NS;
    bool woken = false;
    // Some points, so that the rate is ours and not the guest's. On a busy host the guest may need
    // longer to get a processor.
    while (collector->clock.count < FIRST_HANDSHAKES) {
        if (!guest_clock_handshake(&collector->clock, &collector->attach, handshake_ns) &&
            handshake_ns < 16 * HANDSHAKE_PATIENCE_NS) {
            handshake_ns *= 2;
        }
        uint64_t waited_ns = time_now_ns() - start_ns;
        if (waited_ns > patience_ns) {
            return collector->clock.count > 0
                       ? NULL
                       : xstrdup("the guest's clock could not be compared with ours: no CPU of it "
                                 "took an interrupt");
        }
        if (!woken && waited_ns > 100 * MILLISECOND) {
            woken = true;
            wake(collector);
        }
        sleep_ns(20 * MILLISECOND);
        if (attach_beat(&collector->attach) != 0 || has_ended(collector)) {
            return xstrdup("the guest has ended");
        }
    }
    return NULL;
}

char *collector_start(
    struct collector *collector, const struct collector_settings *settings, uint64_t patience_ns)
{
    char *reason = check_owner(collector);
    if (reason == NULL) {
        reason = events_parse(collector, settings);
    }
    if (reason != NULL) {
        return reason;
    }
    struct perf_export_request request;
    make_request(collector, settings, &request);
    collector->is_flight = settings->flight;
    collector->start_ns = time_now_ns();
    int error = attach_request(&collector->attach, &request);
    if (error != 0) {
        return xasprintf("the guest's memory cannot be written: %s", strerror(-error));
    }
    reason = wait_started(collector, patience_ns);
    reason = reason != NULL ? reason : check_events(collector);
    reason = reason != NULL ? reason : set_clock(collector, patience_ns);
    collector->rundown_done = settings->flight;
    collector->rundown_ns = time_now_ns();
    if (reason == NULL && attach_ask_rundown(&collector->attach) != 0) {
        reason = xstrdup("the guest has ended");
    }
    if (reason != NULL) {
        collector_stop(collector);
    }
    collector->next_handshake_ns = time_now_ns() + HANDSHAKE_INTERVAL_NS;
    return reason;
}

void collector_stop(struct collector *collector)
{
    struct perf_export_request request;
    make_request(collector, &(struct collector_settings){}, &request);
    request.mode = PERF_EXPORT_MODE_OFF;
    request.owner = 0;
    // A guest that is gone has stopped.
    (void)!attach_request(&collector->attach, &request);
}

struct program *collector_program(struct collector *collector, const struct perf_record *record)
{
    const struct perf_export_mmap *fields = record->mmap.fields;
    return programs_get(
        &collector->programs, record->mmap.name, fields->build_id, fields->build_id_len);
}

// Keeps names and mappings.
static void follow_tasks(struct collector *collector, const struct perf_record *record)
{
    const struct perf_export_header *header = &record->header;
    struct tasks *tasks = &collector->tasks;
    if (header->type == PERF_EXPORT_COMM) {
        tasks_comm(tasks, header->pid, header->tid, record->comm->name,
            (header->mode & PERF_EXPORT_FLAG_EXEC) != 0);
    } else if (header->type == PERF_EXPORT_MMAP) {
        const struct perf_export_mmap *fields = record->mmap.fields;
        struct task_map map = {fields->start, fields->start + fields->len, fields->offset_bytes,
            collector_program(collector, record)};
        tasks_map(tasks, header->pid, &map);
    } else if (header->type == PERF_EXPORT_FORK) {
        tasks_fork(
            tasks, header->pid, header->tid, record->fork->parent_pid, record->fork->parent_tid);
    } else if (header->type == PERF_EXPORT_EXIT) {
        tasks_exit(tasks, header->tid);
    }
}

static void take_record(void *context, unsigned cpu, const struct perf_record *record)
{
    struct collector *collector = context;
    uint64_t time_ns = guest_clock_convert(&collector->clock, record->header.tsc);
    uint64_t error_ns = guest_clock_error_ns(&collector->clock, record->header.tsc);
    // What was found by a rundown or lay in a flight recorder says nothing of the present error.
    if (!collector->is_flight && error_ns > collector->max_error_ns && error_ns < 1000000000) {
        collector->max_error_ns = error_ns;
    }
    collector->records++;
    follow_tasks(collector, record);
    collector->sink(collector->context, collector, cpu, time_ns, record);
}

int collector_round(struct collector *collector,
    void (*sink)(void *context, struct collector *collector, unsigned cpu, uint64_t time_ns,
        const struct perf_record *record),
    void *context)
{
    assert(guest_clock_is_set(&collector->clock));
    if (time_now_ns() >= collector->next_handshake_ns) {
        guest_clock_handshake(&collector->clock, &collector->attach, HANDSHAKE_PATIENCE_NS);
        collector->next_handshake_ns = time_now_ns() + HANDSHAKE_INTERVAL_NS;
    }
    collector->sink = sink;
    collector->context = context;
    // Asked before the rings are read: then they hold all of the rundown. Samples stay in their
    // rings until mappings are known, but not for so long that these fill up.
    uint32_t lost;
    collector->rundown_done =
        collector->rundown_done || attach_rundown_done(&collector->attach, &lost);
    bool samples =
        collector->rundown_done || time_now_ns() - collector->rundown_ns > HOLD_SAMPLES_NS;
    int64_t count = collector->is_flight
                        ? attach_read_flight(&collector->attach, take_record, collector)
                        : attach_poll(&collector->attach, samples, take_record, collector);
    if (count < 0) {
        return (int)count;
    }
    return has_ended(collector) ? -ESRCH : attach_beat(&collector->attach);
}

// The ELF address of a place in a program.
static struct program *find_program(
    struct collector *collector, bool user, uint32_t pid, uint64_t address, uint64_t *elf_address)
{
    if (!user) {
        *elf_address = address; // the kernel's virtual addresses are never moved
        return collector->kernel_program;
    }
    const struct task_map *map = tasks_lookup(&collector->tasks, pid, address);
    if (map == NULL || map->program == NULL ||
        !program_address(map->program, address - map->start + map->offset_bytes, elf_address)) {
        return NULL;
    }
    return map->program;
}

static bool leaf_caller(struct collector *collector, bool user, uint32_t pid, uint64_t ip,
    const uint64_t *words, uint64_t *caller)
{
    uint64_t address;
    struct program *program = find_program(collector, user, pid, ip, &address);
    return program != NULL && program_leaf_caller(program, address, words, caller) && *caller != 0;
}

void collector_frames(struct collector *collector, const struct perf_record *record,
    uint64_t *kernel, unsigned *kernel_count, uint64_t *user, unsigned *user_count)
{
    const struct perf_export_header *header = &record->header;
    assert(header->type == PERF_EXPORT_SAMPLE);
    bool in_user = (header->mode & PERF_EXPORT_IN_MASK) == PERF_EXPORT_IN_USER;
    uint64_t ip = record->sample.ip, caller;
    *kernel_count = 0;
    *user_count = 0;
    if (!in_user && record->sample.has_kernel_words &&
        leaf_caller(collector, false, 0, ip, record->sample.kernel_words, &caller) &&
        (header->kernel_frames == 0 ||
            caller != perf_decode_kernel_frame(record->sample.kernel_frames[0]))) {
        kernel[(*kernel_count)++] = caller;
    }
    for (unsigned i = 0; i < header->kernel_frames && !in_user; i++) {
        kernel[(*kernel_count)++] = perf_decode_kernel_frame(record->sample.kernel_frames[i]);
    }
    unsigned first = 0;
    uint64_t user_ip = ip;
    if (!in_user && header->user_frames > 0) {
        user_ip = record->sample.user_frames[first++]; // where the program entered the kernel
        user[(*user_count)++] = user_ip;
    }
    if ((in_user || header->user_frames > 0) && record->sample.has_user_words &&
        leaf_caller(collector, true, header->pid, user_ip, record->sample.user_words, &caller) &&
        (first == header->user_frames || caller != record->sample.user_frames[first])) {
        user[(*user_count)++] = caller;
    }
    for (unsigned i = first; i < header->user_frames; i++) {
        user[(*user_count)++] = record->sample.user_frames[i];
    }
    assert(*kernel_count <= COLLECTOR_FRAMES_MAX && *user_count <= COLLECTOR_FRAMES_MAX);
}

const char *collector_symbol(
    struct collector *collector, bool user, uint32_t pid, uint64_t address, const char **dso)
{
    uint64_t elf_address, offset;
    struct program *program = find_program(collector, user, pid, address, &elf_address);
    *dso = user ? "[unknown]" : "[kernel]";
    if (program == NULL) {
        return "[unknown]";
    }
    *dso = program->kernel ? "[kernel]" : program->name;
    const char *name = program_symbol(program, elf_address, &offset);
    return name != NULL ? name : "[unknown]";
}
