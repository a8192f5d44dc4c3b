// SPDX-License-Identifier: MIT
//
// How late a real-time thread wakes while ordinary processes on its CPU fork, fault and call.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 500000u
#define LOADS     3u

// One of the ordinary processes; counts what it got done, so that the load can be seen to be one.
[[noreturn]] static void make_load(volatile uint32_t *done)
{
    int zeroes = open("/dev/zero", O_RDONLY);
    for (;; (*done)++) {
        char *memory = mmap(
            NULL, (size_t)64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            _exit(1);
        }
        ssize_t got = read(zeroes, memory, (size_t)64 * 4096);
        pid_t child = fork();
        if (child == 0) {
            _exit(memory[5]);
        }
        if (got < 0 || child < 0 || waitpid(child, NULL, 0) != child) {
            _exit(1);
        }
        munmap(memory, (size_t)64 * 4096);
    }
}

static void measure(unsigned count)
{
    uint64_t late_ns = 0, due_ns = bench_now_ns();

    for (unsigned i = 0; i < count; i++) {
        due_ns += PERIOD_NS;
        const struct timespec due = {
            .tv_sec = (time_t)(due_ns / 1000000000), .tv_nsec = (long)(due_ns % 1000000000)};
        int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        uint64_t now_ns = bench_now_ns();
        bench_require(error == 0 && now_ns >= due_ns, "sleeping until then");
        late_ns += now_ns - due_ns;
        bench_latency(now_ns - due_ns);
    }
    bench_value((double)late_ns / count);
}

static void run(unsigned count)
{
    volatile uint32_t *done = workers_shared(sizeof(*done) * LOADS);
    pid_t loads[LOADS];

    workers_pin(0);
    for (unsigned i = 0; i < LOADS; i++) {
        loads[i] = workers_fork();
        if (loads[i] == 0) {
            make_load(&done[i]);
        }
    }
    // All of them at work; a short measurement leaves them no time for a whole turn.
    for (unsigned i = 0; i < LOADS; i++) {
        while (done[i] == 0) {
            const struct timespec moment = {.tv_nsec = 1000000};
            nanosleep(&moment, NULL);
        }
    }
    workers_set_policy(SCHED_FIFO, 80);
    measure(count);
    for (unsigned i = 0; i < LOADS; i++) {
        int status;
        kill(loads[i], SIGKILL);
        bench_require(waitpid(loads[i], &status, 0) == loads[i], "load");
        bench_require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "load until the end");
    }
    workers_set_policy(SCHED_OTHER, 0);
    munmap((void *)done, sizeof(*done) * LOADS);
}

BENCHMARK = {
    .name = "realtime-latency",
    .group = "scheduling",
    .what = "How late a real-time thread (SCHED_FIFO) wakes, every 500 us, while three processes "
            "on its CPU fork, fault and copy.",
    .omits = "Load by devices.",
    .unit = "ns",
    .count = 200,
    .latency = true,
    .run = run,
};
