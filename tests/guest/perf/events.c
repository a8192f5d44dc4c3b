// SPDX-License-Identifier: MIT
// Claim: perf_event_open(2) counts and samples software events as documented: time, faults,
// switches, for a task and its children, in groups, with what a program's ring shows of them.
// Method: each event counts something whose number or bounds the test knows. Hardware events may be
// missing, as in most virtual machines.
#include "tests/guest/check.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static int event_open(struct perf_event_attr *attr, pid_t pid, int cpu, int group)
{
    attr->size = sizeof(*attr);
    return (int)syscall(SYS_perf_event_open, attr, pid, cpu, group, PERF_FLAG_FD_CLOEXEC);
}

static int software(uint64_t config, struct perf_event_attr attr)
{
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = config;
    return event_open(&attr, 0, -1, -1);
}

static uint64_t value_of(int fd)
{
    uint64_t value = 0;
    CHECK(read(fd, &value, sizeof(value)) == sizeof(value));
    return value;
}

static volatile uint64_t sink;
// Never inlined and with a frame: they are to be seen in call chains.
#define FRAME __attribute__((noinline, optnone))
FRAME static void spin_ms(long ms)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    int64_t end = now.tv_sec * 1000000000ll + now.tv_nsec + ms * 1000000ll;
    do {
        for (int i = 0; i < 20000; i++)
            sink += (uint64_t)i;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while (now.tv_sec * 1000000000ll + now.tv_nsec < end);
}
FRAME static void caller(long ms)
{
    spin_ms(ms);
    sink++;
}

static void touch_pages(size_t count)
{
    char *memory =
        mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    madvise(memory, count * 4096, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < count; i++)
        memory[i * 4096] = 1;
    munmap(memory, count * 4096);
}

static void counts(void)
{
    int clock = software(PERF_COUNT_SW_TASK_CLOCK, (struct perf_event_attr){0});
    int faults = software(PERF_COUNT_SW_PAGE_FAULTS, (struct perf_event_attr){0});
    int dummy = software(PERF_COUNT_SW_DUMMY, (struct perf_event_attr){0});
    CHECK(clock >= 0 && faults >= 0 && dummy >= 0);
    uint64_t before = value_of(faults);
    touch_pages(100);
    uint64_t after = value_of(faults);
    CHECK(after - before >= 100 && after - before < 150);
    before = value_of(clock);
    spin_ms(50);
    after = value_of(clock);
    CHECK(after - before >= 45000000 && after - before < 10000000000);
    CHECK(value_of(dummy) == 0);
    // Off, nothing is counted; on again, it goes on.
    CHECK(ioctl(faults, PERF_EVENT_IOC_DISABLE, 0) == 0);
    before = value_of(faults);
    touch_pages(20);
    CHECK(value_of(faults) == before);
    CHECK(ioctl(faults, PERF_EVENT_IOC_RESET, 0) == 0);
    CHECK(value_of(faults) == 0);
    CHECK(ioctl(faults, PERF_EVENT_IOC_ENABLE, 0) == 0);
    touch_pages(20);
    CHECK(value_of(faults) >= 20);
    close(clock);
    close(faults);
    close(dummy);
}

static void switches(void)
{
    int fd = software(PERF_COUNT_SW_CONTEXT_SWITCHES, (struct perf_event_attr){0});
    CHECK(fd >= 0);
    uint64_t before = value_of(fd);
    struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0; i < 20; i++)
        nanosleep(&pause, NULL);
    CHECK(value_of(fd) - before >= 15);
    close(fd);
}

static void children_are_counted(void)
{
    struct perf_event_attr attr = {.inherit = 1};
    int fd = software(PERF_COUNT_SW_PAGE_FAULTS, attr);
    int own = software(PERF_COUNT_SW_PAGE_FAULTS, (struct perf_event_attr){0});
    CHECK(fd >= 0 && own >= 0);
    pid_t child = fork();
    if (child == 0) {
        touch_pages(300);
        if (fork() == 0) {
            touch_pages(300);
            _exit(0);
        }
        wait(NULL);
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    uint64_t all = value_of(fd);
    uint64_t mine = value_of(own);
    CHECK(all - mine >= 600);
    CHECK(mine < 300);
    close(fd);
    close(own);
}

static void groups_are_read_together(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_PAGE_FAULTS,
        .disabled = 1,
        .read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED |
                       PERF_FORMAT_TOTAL_TIME_RUNNING};
    int leader = event_open(&attr, 0, -1, -1);
    struct perf_event_attr second = {.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_TASK_CLOCK,
        .read_format = attr.read_format};
    int member = event_open(&second, 0, -1, leader);
    CHECK(leader >= 0 && member >= 0);
    touch_pages(50);
    struct {
        uint64_t count, enabled, running;
        struct {
            uint64_t value, id;
        } each[2];
    } words;
    CHECK(read(leader, &words, 8) == -1 && errno == ENOSPC);
    CHECK(read(leader, &words, sizeof(words)) == sizeof(words));
    CHECK(words.count == 2 && words.each[0].value == 0 && words.each[1].value == 0);
    CHECK(ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP) == 0);
    touch_pages(50);
    CHECK(ioctl(leader, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP) == 0);
    CHECK(read(leader, &words, sizeof(words)) == sizeof(words));
    CHECK(words.each[0].value >= 50 && words.each[0].value < 100);
    CHECK(words.each[1].value > 0 && words.enabled > 0 && words.enabled == words.running);
    uint64_t id = 0;
    CHECK(ioctl(member, PERF_EVENT_IOC_ID, &id) == 0);
    CHECK(id == words.each[1].id && id != words.each[0].id);
    close(member);
    close(leader);
}

// ---- the ring -----------------------------------------------------------------------------------

#define DATA_BYTES (64 * 4096)

struct seen {
    int samples, in_spin, with_caller, comms, mmaps, forks, exits;
    int gone, come, of_others; // switches
};

static void take_sample(const uint8_t *body, struct seen *seen)
{
    const uint64_t *words = (const uint64_t *)body; // IP, TID, CALLCHAIN
    uint64_t ip = words[0];
    uint64_t count = words[2];
    seen->samples++;
    seen->in_spin += ip >= (uintptr_t)spin_ms && ip < (uintptr_t)spin_ms + 1000;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t address = words[3 + i];
        if (address >= (uintptr_t)caller && address < (uintptr_t)caller + 200) {
            seen->with_caller++;
            break;
        }
    }
}

// PERF_RECORD_SWITCH has the identity alone (TID), the other kind whom it was from or to first.
static void take_switch(
    const struct perf_event_header *header, const uint8_t *body, struct seen *seen)
{
    const uint32_t *words = (const uint32_t *)body;
    const uint32_t *own = header->type == PERF_RECORD_SWITCH_CPU_WIDE ? words + 2 : words;
    if (own[1] != (uint32_t)gettid())
        seen->of_others++;
    else if (header->misc & PERF_RECORD_MISC_SWITCH_OUT)
        seen->gone++;
    else
        seen->come++;
}

static void take_all(void *map, struct seen *seen)
{
    struct perf_event_mmap_page *page = map;
    const uint8_t *data = (const uint8_t *)map + 4096;
    static uint8_t record[65536];
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = page->data_tail;
    while (tail < head) {
        struct perf_event_header header;
        memcpy(&header, data + tail % DATA_BYTES, sizeof(header));
        for (size_t i = 0; i < header.size; i++)
            record[i] = data[(tail + i) % DATA_BYTES];
        if (header.type == PERF_RECORD_SAMPLE)
            take_sample(record + sizeof(header), seen);
        if (header.type == PERF_RECORD_SWITCH || header.type == PERF_RECORD_SWITCH_CPU_WIDE)
            take_switch(&header, record + sizeof(header), seen);
        seen->comms += header.type == PERF_RECORD_COMM;
        seen->mmaps += header.type == PERF_RECORD_MMAP2;
        seen->forks += header.type == PERF_RECORD_FORK;
        seen->exits += header.type == PERF_RECORD_EXIT;
        tail += header.size;
    }
    CHECK(tail == head);
    __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
}

static void samples_are_taken(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_CPU_CLOCK,
        .sample_period = 1000000,
        .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN,
        .exclude_kernel = 1,
        .mmap = 1,
        .mmap2 = 1,
        .comm = 1,
        .task = 1,
        .wakeup_events = 1};
    int fd = event_open(&attr, 0, -1, -1);
    CHECK(fd >= 0);
    void *map = mmap(NULL, 4096 + DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    caller(300);
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    CHECK(poll(&waiting, 1, 5000) == 1 && (waiting.revents & POLLIN));
    CHECK(prctl(PR_SET_NAME, "renamed") == 0);
    void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE,
        open("/proc/self/exe", O_RDONLY | O_CLOEXEC), 0);
    CHECK(code != MAP_FAILED);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    CHECK(waitpid(child, NULL, 0) == child);
    struct seen seen = {0};
    take_all(map, &seen);
    CHECK(seen.samples >= 30);
    CHECK(seen.in_spin * 2 >= seen.samples);
    CHECK(seen.with_caller * 10 >= seen.samples * 9);
    CHECK(seen.comms == 1);
    CHECK(seen.mmaps >= 1);
    CHECK(seen.forks == 1);
    munmap(map, 4096 + DATA_BYTES);
    close(fd);
}

static void faults_are_sampled(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_PAGE_FAULTS,
        .sample_period = 10,
        .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN,
        .exclude_kernel = 1};
    int fd = event_open(&attr, 0, -1, -1);
    CHECK(fd >= 0);
    void *map = mmap(NULL, 4096 + DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    touch_pages(200);
    struct seen seen = {0};
    take_all(map, &seen);
    CHECK(seen.samples >= 19 && seen.samples <= 30);
    munmap(map, 4096 + DATA_BYTES);
    close(fd);
}

static void mistakes_are_refused(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE};
    CHECK(event_open(&attr, -1, -1, -1) == -1 && errno == EINVAL);
    CHECK(event_open(&attr, 0, -1, 0) == -1 && errno == EBADF);
    CHECK(event_open(&attr, 0x3fffffff, -1, -1) == -1 && errno == ESRCH);
    attr.config = 1000;
    CHECK(event_open(&attr, 0, -1, -1) == -1 && errno == ENOENT);
    attr = (struct perf_event_attr){.type = PERF_TYPE_SOFTWARE, .__reserved_1 = 1};
    CHECK(event_open(&attr, 0, -1, -1) == -1 && errno == EINVAL);
    attr = (struct perf_event_attr){.type = PERF_TYPE_SOFTWARE, .read_format = 1 << 20};
    CHECK(event_open(&attr, 0, -1, -1) == -1 && errno == EINVAL);
    struct {
        struct perf_event_attr attr;
        uint64_t more;
    } bigger = {.attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(bigger)}, .more = 1};
    CHECK(syscall(SYS_perf_event_open, &bigger, 0, -1, -1, 0) == -1 && errno == E2BIG);
    CHECK(bigger.attr.size >= PERF_ATTR_SIZE_VER7 && bigger.attr.size <= sizeof(bigger.attr));
    CHECK(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0) == -1 && errno == EFAULT);
    attr = (struct perf_event_attr){.type = PERF_TYPE_SOFTWARE};
    int fd = event_open(&attr, 0, -1, -1);
    CHECK(fd >= 0);
    CHECK(mmap(NULL, 3 * 4096 + 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(mmap(NULL, 2 * 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(ioctl(fd, PERF_EVENT_IOC_PERIOD, &(uint64_t){0}) == -1 && errno == EINVAL);
    close(fd);
}

// Counters of the processor count where there are any.
static void hardware_counts_or_is_missing(void)
{
    static const struct perf_event_attr events[] = {
        {.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS},
        {.type = PERF_TYPE_RAW, .config = 0xc0},
        {.type = PERF_TYPE_HW_CACHE, .config = PERF_COUNT_HW_CACHE_BPU},
    };
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        struct perf_event_attr attr = events[i];
        int fd = event_open(&attr, 0, -1, -1);
        if (fd == -1) {
            CHECK(errno == ENOENT);
            continue;
        }
        spin_ms(1);
        uint64_t count = value_of(fd);
        CHECK(count > 10000);
        spin_ms(1);
        CHECK(value_of(fd) > count);
        close(fd);
    }
}

// The task's own switches, and all of its CPU.
static void switches_are_recorded(pid_t pid, int cpu)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_DUMMY,
        .sample_type = PERF_SAMPLE_TID,
        .sample_id_all = 1,
        .context_switch = 1};
    int fd = event_open(&attr, pid, cpu, -1);
    CHECK(fd >= 0);
    void *map = mmap(NULL, 4096 + DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    for (int i = 0; i < 20; i++)
        usleep(1000);
    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
    struct seen seen = {0};
    take_all(map, &seen);
    // On a loaded host the time of a sleep may be over before the task has gone to sleep.
    CHECK(seen.gone >= 15 && seen.come == seen.gone);
    CHECK(cpu >= 0 ? seen.of_others >= 15 : seen.of_others == 0);
    munmap(map, 4096 + DATA_BYTES);
    close(fd);
}

static void switches_of_a_cpu_are_recorded(void)
{
    cpu_set_t before, first;
    CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    CHECK(sched_setaffinity(0, sizeof(first), &first) == 0);
    switches_are_recorded(-1, 0);
    CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
}

#define RATE_FILE "/proc/sys/kernel/perf_event_max_sample_rate"

static void rate_set(long rate)
{
    FILE *file = fopen(RATE_FILE, "w");
    CHECK(file != NULL);
    fprintf(file, "%ld\n", rate);
    CHECK(fclose(file) == 0);
}

static long rate_get(void)
{
    long rate = 0;
    FILE *file = fopen(RATE_FILE, "r");
    CHECK(file != NULL);
    CHECK(fscanf(file, "%ld", &rate) == 1);
    fclose(file);
    return rate;
}

static void rate_is_limited(void)
{
    struct perf_event_attr attr = {
        .config = PERF_COUNT_SW_CPU_CLOCK, .freq = 1, .sample_freq = 1001, .disabled = 1};
    const long before = rate_get();
    rate_set(1000);
    CHECK(rate_get() == 1000);
    CHECK(software(attr.config, attr) == -1 && errno == EINVAL);
    attr.sample_freq = 1000;
    int fd = software(attr.config, attr);
    CHECK(fd >= 0);
    close(fd);
    // A period is not refused; it gets no more samples either.
    attr = (struct perf_event_attr){.sample_period = 20000,
        .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN};
    fd = software(PERF_COUNT_SW_CPU_CLOCK, attr);
    CHECK(fd >= 0);
    void *map = mmap(NULL, 4096 + DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    spin_ms(100);
    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
    struct seen seen = {0};
    take_all(map, &seen);
    CHECK(seen.samples >= 10 && seen.samples <= 1000); // not 5,000
    munmap(map, 4096 + DATA_BYTES);
    close(fd);
    rate_set(before);
    FILE *file = fopen(RATE_FILE, "w");
    CHECK(file != NULL);
    setvbuf(file, NULL, _IONBF, 0);
    CHECK(fprintf(file, "0\n") < 0 && errno == EINVAL);
    fclose(file);
}

int main(void)
{
    counts();
    switches();
    children_are_counted();
    groups_are_read_together();
    samples_are_taken();
    faults_are_sampled();
    hardware_counts_or_is_missing();
    rate_is_limited();
    switches_are_recorded(0, -1);
    switches_of_a_cpu_are_recorded();
    mistakes_are_refused();
    return check_done();
}
