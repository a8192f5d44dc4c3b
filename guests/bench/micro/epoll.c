// SPDX-License-Identifier: MIT
//
// One epoll_wait over 100 eventfds of which one is ready.
#include "guests/bench/bench.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void run(unsigned count)
{
    int set = epoll_create1(0), sources[100];
    unsigned right = 0;

    bench_require(set >= 0, "epoll_create1");
    for (unsigned i = 0; i < 100; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        sources[i] = eventfd(i == 57, EFD_NONBLOCK);
        bench_require(
            sources[i] >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, sources[i], &event) == 0, "epoll_ctl");
    }
    struct epoll_event events[8];
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        right += epoll_wait(set, events, 8, -1) == 1 && events[0].data.u32 == 57;
    }
    bench_stop();
    bench_require(right == count, "epoll_wait");
    for (unsigned i = 0; i < 100; i++) {
        close(sources[i]);
    }
    close(set);
}

BENCHMARK = {
    .name = "epoll",
    .group = "ipc",
    .what = "epoll_wait with 1 of 100 descriptors ready.",
    .omits = "Waiting.",
    .count = 5000,
    .run = run,
};
