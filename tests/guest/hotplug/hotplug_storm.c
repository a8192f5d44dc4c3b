// SPDX-License-Identifier: MIT
//
// Claim: CPUs can go off and come back at any moment of other work: nothing is lost, nothing hangs.
// Method: threads and processes exchange wake-ups, map and unmap, sleep, fork and move between the
// CPUs, each with a count that the watchdog looks at, while one thread takes CPUs off and brings
// them back in random order.
#include "tests/guest/hotplug/hotplug.h"
#include "tests/guest/stress/stress.h"
#include <linux/membarrier.h>
#include <stdatomic.h>

static long cpus;

// Two threads and a byte in a pipe each way.
struct pair {
    int there[2], back[2];
    struct stress_progress *progress;
};

static void *echo(void *argument)
{
    struct pair *pair = argument;
    char byte;
    while (read(pair->there[0], &byte, 1) == 1) {
        CHECK_QUIET(write(pair->back[1], &byte, 1) == 1);
    }
    return NULL;
}

static void *ping(void *argument)
{
    struct pair *pair = argument;
    pthread_t thread;
    char sent = 0, got;
    MUST(pthread_create(&thread, NULL, echo, pair) == 0 ? 0 : -1);
    while (stress_goes_on()) {
        sent++;
        CHECK_QUIET(write(pair->there[1], &sent, 1) == 1);
        CHECK_QUIET(read(pair->back[0], &got, 1) == 1 && got == sent);
        pair->progress->count++;
    }
    close(pair->there[1]);
    pthread_join(thread, NULL);
    stress_done(pair->progress);
    return NULL;
}

// Mappings of one process: shootdowns to whoever runs its threads.
static void *mapper(void *argument)
{
    struct stress_progress *progress = argument;
    while (stress_goes_on()) {
        unsigned char *area =
            mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(area == MAP_FAILED ? -1 : 0);
        memset(area, (int)progress->count, 65536);
        CHECK_QUIET(mprotect(area, 32768, PROT_READ) == 0);
        CHECK_QUIET(area[100] == (unsigned char)progress->count);
        CHECK_QUIET(munmap(area, 65536) == 0);
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

// Binds itself to a CPU that may be gone the next moment, and sleeps there.
static void *wanderer(void *argument)
{
    struct stress_progress *progress = argument;
    uint64_t state = (uint64_t)(uintptr_t)progress * stress_seed;
    while (stress_goes_on()) {
        unsigned mask = 1 + stress_random(&state, (1u << cpus) - 1);
        int result = hotplug_pin(mask);
        CHECK_QUIET(result == 0 || errno == EINVAL);
        uint64_t start = now_ns();
        struct timespec time = {0, stress_random(&state, 3000000)};
        nanosleep(&time, NULL);
        CHECK_QUIET(now_ns() - start >= (uint64_t)time.tv_nsec);
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

static void *forker(void *argument)
{
    struct stress_progress *progress = argument;
    while (stress_goes_on()) {
        pid_t child = (pid_t)MUST(fork());
        if (child == 0) {
            _exit((int)(progress->count % 100));
        }
        int status = -1;
        CHECK_QUIET(waitpid(child, &status, 0) == child);
        CHECK_QUIET(WIFEXITED(status) && WEXITSTATUS(status) == (int)(progress->count % 100));
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

static void start(void *(*body)(void *), void *argument, pthread_t *thread)
{
    MUST(pthread_create(thread, NULL, body, argument) == 0 ? 0 : -1);
}

static void storm(struct stress_progress *progress)
{
    uint64_t state = stress_seed;
    while (stress_goes_on()) {
        unsigned cpu = 1 + stress_random(&state, (unsigned)cpus - 1);
        CHECK_QUIET(hotplug_write(cpu, stress_random(&state, 2) ? "1" : "0") == 1);
        if (stress_random(&state, 4) == 0) {
            sleep_ms(stress_random(&state, 10));
        }
        progress->count++;
    }
    stress_done(progress);
    for (unsigned cpu = 1; cpu < (unsigned)cpus; cpu++) {
        CHECK_QUIET(hotplug_write(cpu, "1") == 1);
    }
}

int main(int argc, char **argv)
{
    static struct pair pairs[3];
    pthread_t threads[9];
    unsigned count = 0;
    stress_start(argc, argv);
    cpus = sysconf(_SC_NPROCESSORS_ONLN);
    MUST(cpus > 1 ? 0 : -1);
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    stress_start_watchdog();
    for (unsigned i = 0; i < 3; i++) {
        MUST(pipe2(pairs[i].there, O_CLOEXEC));
        MUST(pipe2(pairs[i].back, O_CLOEXEC));
        pairs[i].progress = stress_watch("a pair");
        start(ping, &pairs[i], &threads[count++]);
    }
    start(mapper, stress_watch("mappings"), &threads[count++]);
    start(mapper, stress_watch("more mappings"), &threads[count++]);
    start(wanderer, stress_watch("a wanderer"), &threads[count++]);
    start(wanderer, stress_watch("another wanderer"), &threads[count++]);
    start(forker, stress_watch("children"), &threads[count++]);
    storm(stress_watch("CPUs"));
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) == cpus);
    return check_done();
}
