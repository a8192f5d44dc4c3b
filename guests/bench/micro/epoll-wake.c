// SPDX-License-Identifier: MIT
//
// Two processes, each asleep in epoll_wait on 100 pipes, wake each other.
#include "guests/bench/bench.h"

#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPES 100u

struct side {
    int set;
    int reading[PIPES], writing[PIPES];
};

static void prepare(struct side *side)
{
    side->set = epoll_create1(0);
    bench_require(side->set >= 0, "epoll_create1");
    for (unsigned i = 0; i < PIPES; i++) {
        int ends[2];
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        bench_require(pipe(ends) == 0, "pipe");
        bench_require(epoll_ctl(side->set, EPOLL_CTL_ADD, ends[0], &event) == 0, "epoll_ctl");
        side->reading[i] = ends[0];
        side->writing[i] = ends[1];
    }
}

static void discard(const struct side *side)
{
    for (unsigned i = 0; i < PIPES; i++) {
        close(side->reading[i]);
        close(side->writing[i]);
    }
    close(side->set);
}

// Waits for a byte in pipe `number` of the set. True if that and no other one came.
static bool await(const struct side *side, unsigned number)
{
    struct epoll_event events[4];
    char byte;
    return epoll_wait(side->set, events, 4, -1) == 1 && events[0].data.u32 == number &&
           read(side->reading[number], &byte, 1) == 1;
}

static void run(unsigned count)
{
    struct side mine, theirs;

    prepare(&mine);
    prepare(&theirs);
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < count; i++) {
            if (!await(&theirs, i % PIPES) || write(mine.writing[i % PIPES], "", 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    bench_require(child > 0, "fork");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if (write(theirs.writing[i % PIPES], "", 1) != 1 || !await(&mine, i % PIPES)) {
            bench_fail("round trip");
        }
    }
    bench_stop();
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
    discard(&mine);
    discard(&theirs);
}

BENCHMARK = {
    .name = "epoll-wake",
    .group = "ipc",
    .what = "Two processes asleep in epoll_wait, each on 100 pipes, wake each other: two times "
            "epoll_wait, read and write.",
    .omits = "Wake-ups across CPUs where there is one.",
    .count = 1000,
    .run = run,
};
