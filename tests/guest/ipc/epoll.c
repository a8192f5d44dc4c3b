// SPDX-License-Identifier: MIT
//
// Claim: epoll in level, edge and one-shot mode, with EPOLLEXCLUSIVE, nested sets and their loops,
// changes during waits, closed descriptors, fairness over many ready sources, and every error.
// Method: pipes and eventfds in known states; a second thread or process where a wait is needed.
#include "tests/guest/check.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int set, ends[2];
static struct epoll_event events[128];

static void add(int to, int file, uint32_t flags, uint64_t data)
{
    struct epoll_event event = {.events = flags, .data.u64 = data};
    MUST(epoll_ctl(to, EPOLL_CTL_ADD, file, &event));
}

static int ready(int timeout_ms)
{
    return epoll_wait(set, events, 128, timeout_ms);
}

static void put(int count)
{
    for (int i = 0; i < count; i++) {
        MUST(write(ends[1], "x", 1));
    }
}

static void take(int count)
{
    char bytes[16];
    MUST(read(ends[0], bytes, (size_t)count));
}

static void level(void)
{
    add(set, ends[0], EPOLLIN, 0x1234567890abcdef);
    CHECK_EQ(ready(0), 0);
    put(2);
    CHECK_EQ(ready(-1), 1);
    CHECK(events[0].events == EPOLLIN && events[0].data.u64 == 0x1234567890abcdef);
    CHECK_EQ(ready(0), 1);
    take(1);
    CHECK_EQ(ready(0), 1);
    take(1);
    CHECK_EQ(ready(0), 0);
    uint64_t before = now_ns();
    CHECK_EQ(ready(30), 0);
    CHECK(now_ns() - before >= 30000000);
}

static void change(uint32_t flags)
{
    struct epoll_event event = {.events = flags};
    MUST(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
}

static void edge(void)
{
    change(EPOLLIN | EPOLLET);
    CHECK_EQ(ready(0), 0);
    put(1);
    CHECK_EQ(ready(0), 1);
    CHECK_EQ(ready(0), 0); // told once
    put(1);
    CHECK_EQ(ready(0), 1); // new data: told again
    take(1);
    CHECK_EQ(ready(0), 0); // reading a part is no news
    change(EPOLLIN | EPOLLET);
    CHECK_EQ(ready(0), 1); // arming anew reports what is there
    CHECK_EQ(ready(0), 0);
    take(1);
}

static void one_shot(void)
{
    change(EPOLLIN | EPOLLONESHOT);
    put(1);
    CHECK_EQ(ready(0), 1);
    CHECK_EQ(ready(0), 0);
    put(1);
    CHECK_EQ(ready(0), 0); // disarmed
    change(EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(ready(0), 1);
    take(2);
    change(EPOLLIN);
}

static void hang_up(void)
{
    int closing[2];
    MUST(pipe(closing));
    add(set, closing[0], 0, 5); // EPOLLHUP and EPOLLERR come unasked
    close(closing[1]);
    CHECK_EQ(ready(0), 1);
    CHECK_EQ(events[0].events, EPOLLHUP);
    close(closing[0]);
    CHECK_EQ(ready(0), 0); // closing takes it out
    // A duplicate keeps it in.
    MUST(pipe(closing));
    add(set, closing[0], EPOLLIN, 6);
    int copy = dup(closing[0]);
    close(closing[0]);
    MUST(write(closing[1], "x", 1));
    CHECK_EQ(ready(0), 1);
    ERR(EBADF, epoll_ctl(set, EPOLL_CTL_DEL, closing[0], NULL));
    close(copy);
    CHECK_EQ(ready(0), 0);
    close(closing[1]);
    MUST(pipe(closing));
    add(set, closing[1], EPOLLOUT, 7);
    CHECK_EQ(ready(0), 1);
    CHECK_EQ(events[0].events, EPOLLOUT);
    close(closing[0]);
    CHECK_EQ(ready(0), 1);
    CHECK_EQ(events[0].events, EPOLLOUT | EPOLLERR);
    OK(epoll_ctl(set, EPOLL_CTL_DEL, closing[1], NULL));
    CHECK_EQ(ready(0), 0);
    close(closing[1]);
}

static void nested(void)
{
    int outer = (int)MUST(epoll_create1(0));
    struct epoll_event event;

    add(outer, set, EPOLLIN, 50);
    CHECK_EQ(epoll_wait(outer, &event, 1, 0), 0);
    put(1);
    CHECK_EQ(epoll_wait(outer, &event, 1, 0), 1);
    CHECK_EQ(event.data.u64, 50);
    struct pollfd source = {.fd = outer, .events = POLLIN};
    CHECK_EQ(poll(&source, 1, 0), 1);
    take(1);
    CHECK_EQ(epoll_wait(outer, &event, 1, 0), 0);
    event.events = EPOLLIN;
    ERR(ELOOP, epoll_ctl(set, EPOLL_CTL_ADD, outer, &event));
    ERR(EINVAL, epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
    int chain[6];
    chain[0] = outer;
    int made = 0;
    for (int i = 1; i < 6; i++) {
        chain[i] = (int)MUST(epoll_create1(0));
        if (epoll_ctl(chain[i], EPOLL_CTL_ADD, chain[i - 1], &event) < 0) {
            break;
        }
        made++;
    }
    CHECK_EQ(made, 3);
    CHECK_EQ(errno, ELOOP); // at most five deep
    for (int i = 0; i < 6; i++) {
        close(chain[i]);
    }
}

static volatile int woken[4];

static void *wait_in_thread(void *argument)
{
    struct epoll_event event;
    int index = *(int *)argument, own = (int)MUST(epoll_create1(0));
    add(own, ends[0], EPOLLIN | EPOLLEXCLUSIVE, 1);
    *(volatile int *)argument = 100 + (int)syscall(SYS_gettid);
    if (epoll_wait(own, &event, 1, 10000) == 1) {
        woken[index] = 1;
    }
    return NULL;
}

// With EPOLLEXCLUSIVE one event wakes at least one and not all of the waiting sets.
static void exclusive(void)
{
    pthread_t threads[4];
    volatile int indices[4];
    for (int i = 0; i < 4; i++) {
        indices[i] = i;
        pthread_create(&threads[i], NULL, wait_in_thread, (void *)&indices[i]);
        while (indices[i] < 100) {
            sleep_ms(1);
        }
        CHECK_QUIET(wait_until_asleep(getpid(), indices[i] - 100));
    }
    put(1);
    sleep_ms(50);
    int count = woken[0] + woken[1] + woken[2] + woken[3];
    CHECK(count >= 1 && count < 4);
    put(3);
    for (int i = 0; i < 4; i++) {
        put(1);
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(woken[0] + woken[1] + woken[2] + woken[3], 4);
    take(8);
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT};
    int other = eventfd(0, 0);
    ERR(EINVAL, epoll_ctl(set, EPOLL_CTL_ADD, other, &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    OK(epoll_ctl(set, EPOLL_CTL_ADD, other, &event));
    ERR(EINVAL, epoll_ctl(set, EPOLL_CTL_MOD, other, &event));
    OK(epoll_ctl(set, EPOLL_CTL_DEL, other, NULL));
    close(other);
}

// With more ready sources than places, waits take turns.
static void fairness(void)
{
    int sources[100], own = (int)MUST(epoll_create1(0));
    bool seen[100] = {false};
    for (int i = 0; i < 100; i++) {
        sources[i] = (int)MUST(eventfd(1, 0));
        add(own, sources[i], EPOLLIN, (uint64_t)i);
    }
    int distinct = 0;
    for (int round = 0; round < 10; round++) {
        int got = epoll_wait(own, events, 10, 0);
        CHECK_QUIET(got == 10);
        for (int i = 0; i < got; i++) {
            distinct += !seen[events[i].data.u64];
            seen[events[i].data.u64] = true;
        }
    }
    CHECK_EQ(distinct, 100);
    for (int i = 0; i < 100; i++) {
        close(sources[i]);
    }
    CHECK_EQ(epoll_wait(own, events, 10, 0), 0);
    close(own);
}

static void *change_later(void *argument)
{
    pid_t waiter = *(pid_t *)argument;
    wait_until_asleep(getpid(), waiter);
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 31};
    epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &event); // ready at once
    return NULL;
}

static void change_during_wait(void)
{
    pthread_t thread;
    pid_t self = (pid_t)syscall(SYS_gettid);
    pthread_create(&thread, NULL, change_later, &self);
    CHECK_EQ(ready(10000), 1);
    CHECK_EQ(events[0].data.u64, 31);
    pthread_join(thread, NULL);
    OK(epoll_ctl(set, EPOLL_CTL_DEL, ends[1], NULL));
}

static void errors(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));

    ERR(EEXIST, epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
    ERR(EPERM, epoll_ctl(set, EPOLL_CTL_ADD, file, &event)); // files are always ready
    ERR(ENOENT, epoll_ctl(set, EPOLL_CTL_MOD, ends[1], &event));
    ERR(ENOENT, epoll_ctl(set, EPOLL_CTL_DEL, ends[1], &event));
    ERR(EBADF, epoll_ctl(set, EPOLL_CTL_ADD, 999, &event));
    ERR(EBADF, epoll_ctl(999, EPOLL_CTL_ADD, ends[1], &event));
    ERR(EINVAL, epoll_ctl(ends[0], EPOLL_CTL_ADD, ends[1], &event));
    ERR(EINVAL, epoll_ctl(set, 9, ends[1], &event));
    ERR(EFAULT, epoll_ctl(set, EPOLL_CTL_ADD, ends[1], (void *)8));
    ERR(EINVAL, epoll_wait(set, events, 0, 0));
    ERR(EINVAL, epoll_wait(set, events, -1, 0));
    ERR(EINVAL, epoll_wait(ends[0], events, 1, 0));
    ERR(EBADF, epoll_wait(999, events, 1, 0));
    ERR(EINVAL, epoll_create1(1));
    ERR(EINVAL, syscall(SYS_epoll_create, 0));
    put(1);
    ERR(EFAULT, epoll_wait(set, (void *)8, 1, 0));
    CHECK_EQ(ready(0), 1); // nothing was lost
    take(1);
    ERR(EINVAL, read(set, events, 10));
    CHECK_EQ(fcntl(set, F_GETFD), FD_CLOEXEC);
    struct timespec time = {0, 1000000};
    CHECK_EQ(syscall(SYS_epoll_pwait2, set, events, 1, &time, NULL, 8), 0);
    time.tv_nsec = 1000000000;
    ERR(EINVAL, syscall(SYS_epoll_pwait2, set, events, 1, &time, NULL, 8));
}

int main(void)
{
    scratch();
    set = (int)OK(epoll_create1(EPOLL_CLOEXEC));
    MUST(pipe(ends));
    level();
    edge();
    one_shot();
    hang_up();
    nested();
    exclusive();
    fairness();
    change_during_wait();
    errors();
    return check_done();
}
