// SPDX-License-Identifier: MIT
// Claim: on every processor of the model, perf_event_open(2) gives exactly what the model's
// counters counted, tells of every overflow, also of those in the handler and between an interrupt
// and its counter's going away, takes interrupts that nobody raised, and lets groups take turns.
// Method: runs in the model VMM (vmm.c), which makes the events happen and knows the truth. All
// comparisons are of counts, taken while the counters stand still.
#include "tests/guest/check.h"
#include "tests/pmu_vmm/request.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>

#define EVENTS       4   // are sampled or counted at once; one each code
#define OVERFLOWS    834 // of a storm: ten thousand and more on all processors
#define IN_DRIVER    8
#define RING_PAGES   64
#define USER_PERIOD  500
#define TURNS_EVENTS 12
#define SPIN_MAX     2000000000 // half a minute and more
#define PATIENCE_S   30

static int port; // requests go there
static struct pmu_request *request;

static void ask(uint32_t kind, uint32_t index, uint64_t count)
{
    const uint64_t address = (uintptr_t)request;
    request->kind = kind;
    request->index = index;
    request->count = count;
    CHECK_QUIET(write(port, &address, sizeof(address)) == sizeof(address));
}

// `count` events of codes[index] happen.
static void happen(uint32_t index, uint64_t count)
{
    do {
        ask(PMU_REQUEST_EVENTS, index, count);
        count = request->left;
    } while (count != 0);
}

static uint64_t counted(uint32_t index)
{
    ask(PMU_REQUEST_STATE, 0, 0);
    return request->counted[index];
}

static int event_open(struct perf_event_attr attr, int group)
{
    attr.size = sizeof(attr);
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, group, PERF_FLAG_FD_CLOEXEC);
}

// The event of codes[index], not yet counting if it is no group's member.
static int open_index(uint32_t index, struct perf_event_attr attr, int group)
{
    attr.type = PERF_TYPE_RAW;
    attr.config = request->codes[index];
    if (index < 2) {
        attr.type = PERF_TYPE_HARDWARE;
        attr.config = index == 0 ? PERF_COUNT_HW_INSTRUCTIONS : PERF_COUNT_HW_CPU_CYCLES;
    }
    attr.disabled = group < 0;
    return event_open(attr, group);
}

static uint64_t value_of(int fd)
{
    uint64_t value = 0;
    CHECK_QUIET(read(fd, &value, sizeof(value)) == sizeof(value));
    return value;
}

// ---- rings --------------------------------------------------------------------------------------

struct ring {
    struct perf_event_mmap_page *page;
    const uint8_t *data;
    size_t bytes;
    uint64_t samples, periods; // how many, and their sum
    uint64_t others;           // lost, throttled
    uint64_t outside;          // samples that are not in a program's function, if those are wanted
    uintptr_t from, to, caller_from, caller_to;
};

static void ring_map(struct ring *ring, int fd)
{
    *ring = (struct ring){.bytes = RING_PAGES * 4096};
    ring->page = mmap(NULL, 4096 + ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK_QUIET(ring->page != MAP_FAILED);
    ring->data = (const uint8_t *)ring->page + 4096;
}

static uint64_t word_at(const struct ring *ring, uint64_t at)
{
    uint64_t word;
    memcpy(&word, ring->data + at % ring->bytes, sizeof(word));
    return word;
}

// PERF_SAMPLE_IP, PERIOD, CALLCHAIN.
static void sample_take(struct ring *ring, uint64_t at, uint16_t misc)
{
    const uint64_t ip = word_at(ring, at);
    ring->samples++;
    ring->periods += word_at(ring, at + 8);
    if (ring->to == 0)
        return;
    bool called = false;
    const uint64_t frames = word_at(ring, at + 16);
    for (uint64_t i = 0; i < frames; i++) {
        const uint64_t frame = word_at(ring, at + 24 + i * 8);
        called |= frame >= ring->caller_from && frame < ring->caller_to;
    }
    const bool in_user = (misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER;
    ring->outside += !(in_user && called && ip >= ring->from && ip < ring->to);
}

static void ring_drain(struct ring *ring)
{
    uint64_t head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = ring->page->data_tail;
    while (tail != head) {
        const uint64_t word = word_at(ring, tail);
        struct perf_event_header header;
        memcpy(&header, &word, sizeof(header));
        if (header.type == PERF_RECORD_SAMPLE)
            sample_take(ring, tail + sizeof(header), header.misc);
        else
            ring->others++;
        tail += header.size;
    }
    __atomic_store_n(&ring->page->data_tail, tail, __ATOMIC_RELEASE);
}

// ---- tests --------------------------------------------------------------------------------------

// Counts in the kernel, and none where a program's are wanted only.
static void counts_are_equal(void)
{
    int fds[EVENTS];
    uint64_t before[EVENTS];
    const uint32_t number = request->general < EVENTS ? request->general : EVENTS;
    for (uint32_t i = 0; i < number; i++) {
        fds[i] = open_index(i, (struct perf_event_attr){.exclude_user = i & 1}, -1);
        CHECK_QUIET(fds[i] >= 0);
        before[i] = counted(i);
        OK(ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0));
    }
    ask(PMU_REQUEST_IN_DRIVER, 0, IN_DRIVER);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < number; i++) {
            happen(i, 1000 * round + i);
            (void)value_of(fds[i]);
        }
    }
    ask(PMU_REQUEST_IN_DRIVER, 0, 0);
    for (uint32_t i = 0; i < number; i++) {
        OK(ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0));
        CHECK_EQ(value_of(fds[i]), counted(i) - before[i]);
        CHECK_QUIET(value_of(fds[i]) >= 15000);
        close(fds[i]);
    }
    int user = open_index(1, (struct perf_event_attr){.exclude_kernel = 1}, -1);
    OK(ioctl(user, PERF_EVENT_IOC_ENABLE, 0));
    happen(1, 5000);
    CHECK_EQ(value_of(user), 0);
    close(user);
}

// Periods that end in the handler and in each other's, by the thousand. The first event has none.
static void no_overflow_is_lost(void)
{
    int fds[EVENTS];
    struct ring rings[EVENTS];
    uint64_t periods[EVENTS];
    uint64_t before[EVENTS];
    const uint32_t number = request->general < EVENTS ? request->general : EVENTS;
    ask(PMU_REQUEST_STATE, 0, 0);
    const uint64_t start = request->overflows;
    for (uint32_t i = 0; i < number; i++) {
        periods[i] = i == 0 ? 0 : 20 + 37 * i;
        fds[i] = open_index(i,
            (struct perf_event_attr){.sample_period = periods[i],
                .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_PERIOD | PERF_SAMPLE_CALLCHAIN,
                .exclude_callchain_user = 1},
            -1);
        CHECK_QUIET(fds[i] >= 0);
        ring_map(&rings[i], fds[i]);
        before[i] = counted(i);
    }
    for (uint32_t i = 0; i < number; i++)
        OK(ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0));
    ask(PMU_REQUEST_IN_DRIVER, 0, IN_DRIVER);
    uint64_t overflows = 0;
    for (uint32_t round = 0; overflows < OVERFLOWS && round < 100 * OVERFLOWS; round++) {
        const uint32_t i = (uint32_t)random() % number;
        if (round % 64 == 63) { // a counter goes, its interrupt on its way perhaps, and comes back
            CHECK_QUIET(ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0) == 0);
            CHECK_QUIET(ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0) == 0);
            ring_drain(&rings[i]);
        }
        happen(i, 1 + (uint64_t)random() % 300);
        overflows = request->overflows - start;
    }
    CHECK(overflows >= OVERFLOWS);
    ask(PMU_REQUEST_IN_DRIVER, 0, 0);
    // What is late comes, and what was due when a counter was given is told with the next event.
    for (uint32_t round = 0; round < 8 * number; round++)
        happen(round % number, 1);
    for (uint32_t i = 0; i < number; i++) {
        OK(ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0));
        const uint64_t count = value_of(fds[i]);
        CHECK_EQ(count, counted(i) - before[i]);
        ring_drain(&rings[i]);
        CHECK_EQ(rings[i].others, 0);
        if (periods[i] != 0)
            CHECK_EQ(rings[i].periods, count / periods[i] * periods[i]);
        munmap(rings[i].page, 4096 + rings[i].bytes);
        close(fds[i]);
    }
    ask(PMU_REQUEST_STATE, 0, 0);
    CHECK_EQ(request->dropped, 0);
}

// Two counters overflow at one event, so one more interrupt may come, and does.
static void spurious_interrupts_are_taken(void)
{
    int fds[2];
    struct ring rings[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = open_index(1,
            (struct perf_event_attr){.sample_period = 100,
                .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_PERIOD | PERF_SAMPLE_CALLCHAIN},
            i == 0 ? -1 : fds[0]);
        CHECK_QUIET(fds[i] >= 0);
        ring_map(&rings[i], fds[i]);
    }
    ask(PMU_REQUEST_SPURIOUS, 0, 0);
    const uint64_t before = counted(1);
    OK(ioctl(fds[0], PERF_EVENT_IOC_ENABLE, 0));
    happen(1, 150);
    for (int i = 0; i < 20; i++)
        happen(2, 1); // time passes for those that come late
    OK(ioctl(fds[0], PERF_EVENT_IOC_DISABLE, 0));
    for (int i = 0; i < 2; i++) {
        ring_drain(&rings[i]);
        CHECK_EQ(rings[i].samples, 1);
    }
    CHECK_EQ(value_of(fds[0]) + value_of(fds[1]), counted(1) - before);
    close(fds[1]);
    close(fds[0]);
}

static void groups_count_together(void)
{
    struct {
        uint64_t number, enabled_ns, running_ns, values[2];
    } group;
    const uint64_t format =
        PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    int leader = open_index(0, (struct perf_event_attr){.read_format = format}, -1);
    int member = open_index(1, (struct perf_event_attr){.read_format = format}, leader);
    CHECK(leader >= 0 && member >= 0);
    const uint64_t before[] = {counted(0), counted(1)};
    OK(ioctl(leader, PERF_EVENT_IOC_ENABLE, 0));
    happen(0, 700);
    happen(1, 900);
    OK(ioctl(leader, PERF_EVENT_IOC_DISABLE, 0));
    CHECK(read(leader, &group, sizeof(group)) == sizeof(group));
    CHECK_EQ(group.number, 2);
    CHECK_EQ(group.values[0], counted(0) - before[0]);
    CHECK_EQ(group.values[1], counted(1) - before[1]);
    CHECK_EQ(group.values[0], 700);
    CHECK_EQ(group.values[1], 900);
    CHECK(group.running_ns == group.enabled_ns && group.running_ns != 0);
    close(member);
    close(leader);
}

static bool is_before(time_t end_s)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec < end_s;
}

static time_t patience_end(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + PATIENCE_S;
}

// More events than counters that can count them; several for each code.
static void turns_are_taken(void)
{
    struct {
        uint64_t count, enabled_ns, running_ns;
    } value[TURNS_EVENTS];
    int fds[TURNS_EVENTS];
    uint64_t before[PMU_MODEL_CODES], sums[PMU_MODEL_CODES] = {0};
    const uint32_t number = request->general + 3;
    CHECK_QUIET(number <= TURNS_EVENTS);
    ask(PMU_REQUEST_STATE, 0, 0);
    memcpy(before, request->counted, sizeof(before));
    for (uint32_t i = 0; i < number; i++) {
        fds[i] = open_index(2 + i % 6,
            (struct perf_event_attr){
                .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING},
            -1);
        CHECK_QUIET(fds[i] >= 0);
    }
    for (uint32_t i = 0; i < number; i++)
        OK(ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0));
    ask(PMU_REQUEST_ANYWHERE, 0, 100);
    const time_t end_s = patience_end();
    bool all = false;
    while (!all && is_before(end_s)) {
        all = true;
        for (uint32_t i = 0; i < number; i++) {
            CHECK_QUIET(read(fds[i], &value[i], sizeof(value[i])) == sizeof(value[i]));
            all &= value[i].count != 0;
        }
    }
    CHECK(all);
    ask(PMU_REQUEST_ANYWHERE, 0, 0);
    // What was enabled first is disabled last: its time contains that of all, and the last one's is
    // in all, so that counters were wanted by more than there are.
    for (uint32_t i = number; i-- != 0;)
        OK(ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0));
    uint64_t running_ns = 0;
    for (uint32_t i = 0; i < number; i++) {
        CHECK_QUIET(read(fds[i], &value[i], sizeof(value[i])) == sizeof(value[i]));
        sums[2 + i % 6] += value[i].count;
        running_ns += value[i].running_ns;
        CHECK_QUIET(value[i].running_ns <= value[i].enabled_ns);
        close(fds[i]);
    }
    CHECK(running_ns <= request->general * value[0].enabled_ns);
    CHECK(running_ns >= request->general * value[number - 1].enabled_ns);
    ask(PMU_REQUEST_STATE, 0, 0);
    for (uint32_t i = 2; i < PMU_MODEL_CODES; i++)
        CHECK_EQ(sums[i], request->counted[i] - before[i]);
}

// Functions with a place in memory that a test knows.
#define PLACED(name) __attribute__((noinline, optnone, section(name), used))

PLACED("spinning") static void spin(const struct ring *ring, uint64_t bytes)
{
    for (uint32_t i = 0; i < SPIN_MAX; i++) {
        if (__atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE) >= bytes)
            break;
    }
}
PLACED("calling") static void call_spin(const struct ring *ring, uint64_t bytes)
{
    spin(ring, bytes);
}
extern const char __start_spinning[], __stop_spinning[], __start_calling[], __stop_calling[];

// Events at any moment, of which those in the program count: it does nothing but spin.
static void samples_are_where_it_happened(void)
{
    struct ring ring;
    int fd = open_index(1,
        (struct perf_event_attr){.sample_period = USER_PERIOD,
            .exclude_kernel = 1,
            .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_PERIOD | PERF_SAMPLE_CALLCHAIN},
        -1);
    CHECK(fd >= 0);
    ring_map(&ring, fd);
    ring.from = (uintptr_t)__start_spinning;
    ring.to = (uintptr_t)__stop_spinning;
    ring.caller_from = (uintptr_t)__start_calling;
    ring.caller_to = (uintptr_t)__stop_calling;
    const uint64_t before = counted(1);
    const uint64_t user_nmis = request->user_nmis;
    ask(PMU_REQUEST_ANYWHERE, 0, 1000);
    OK(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
    call_spin(&ring, 1200);
    OK(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
    ask(PMU_REQUEST_ANYWHERE, 0, 0);
    const uint64_t count = value_of(fd);
    CHECK_EQ(count, counted(1) - before);
    CHECK(request->user_nmis > user_nmis);
    ring_drain(&ring);
    CHECK(ring.samples >= 10);
    CHECK_EQ(ring.others, 0);
    CHECK_QUIET(ring.outside <= 2); // on its way into spin(), and out of it
    // An interrupt that reaches the CPU when it has just entered the kernel makes no sample.
    CHECK_QUIET(ring.periods <= count && count < ring.periods + 4 * USER_PERIOD);
    close(fd);
}

// Waits until the kernel has noticed what its collector wants.
static bool collects(int32_t wanted)
{
    const time_t end_s = patience_end();
    do {
        const struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
        ask(PMU_REQUEST_STATE, 0, 0);
    } while (request->collects == -EAGAIN && is_before(end_s));
    return request->collects == wanted;
}

// `lodger perf record -e cycles`: samples of all CPUs for the host, without a program of the guest.
static void host_gets_samples(void)
{
    const uint64_t period = 200;
    const uint64_t before = counted(1);
    ask(PMU_REQUEST_COLLECT, 1, period);
    CHECK(collects(1));
    happen(1, 20 * period);
    CHECK(request->samples >= 15);
    CHECK_EQ(request->user_samples, 0);
    ask(PMU_REQUEST_ANYWHERE, 0, 1000);
    const time_t end_s = patience_end();
    do {
        for (volatile int i = 0; i < 1000000; i++)
            continue;
        ask(PMU_REQUEST_STATE, 0, 0);
    } while (request->user_samples < 5 && is_before(end_s));
    CHECK(request->user_samples >= 5);
    ask(PMU_REQUEST_ANYWHERE, 0, 0);
    ask(PMU_REQUEST_COLLECT, 1, 0);
    CHECK(collects(0));
    const uint64_t count = counted(1) - before;
    CHECK_QUIET(request->periods <= count && count < request->periods + 2 * period);
    CHECK_EQ(request->collector_wrong, 0);
    // No more of them.
    const uint64_t samples = request->samples;
    happen(1, 20 * period);
    CHECK_EQ(counted(1) - before, count);
    CHECK_EQ(request->samples, samples);
}

int main(void)
{
    request = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    port = dup(STDERR_FILENO);
    if (request == MAP_FAILED || port < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
        return 1;
    memset(request, 0, sizeof(*request));
    ask(PMU_REQUEST_STATE, 0, 0);
    const bool amd = strncmp(request->name, "AMD", 3) == 0;
    memcpy(request->codes,
        (const uint64_t[PMU_MODEL_CODES]){
            0x00c0, amd ? 0x0076 : 0x003c, 0x01b1, 0x02b1, 0x04b1, 0x08b1, 0x10b1, 0x20b1},
        sizeof(request->codes));
    // The driver looks for counters now, also where there are none.
    close(event_open((struct perf_event_attr){.type = PERF_TYPE_HARDWARE, .disabled = 1}, -1));
    ask(PMU_REQUEST_CODES, 0, 0);
    counts_are_equal();
    no_overflow_is_lost();
    spurious_interrupts_are_taken();
    groups_count_together();
    turns_are_taken();
    samples_are_where_it_happened();
    host_gets_samples();
    ask(PMU_REQUEST_STATE, 0, 0);
    CHECK_EQ(request->wrong, 0);
    return check_done();
}
