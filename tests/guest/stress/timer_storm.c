// SPDX-License-Identifier: MIT
//
// Claim: thousands of timers of every kind, armed, moved and cancelled from many threads, fire when
// they must, never early, and none is forgotten.
// Method: sleepers check the clock; timerfds, POSIX timers and poll time-outs with random times
// each count what they expect; the watchdog names who waits for ever.
#include "tests/guest/stress/stress.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/timerfd.h>

static _Atomic int early, lost;

static void check_time(uint64_t start, uint64_t ns)
{
    uint64_t passed = now_ns() - start;
    early += passed < ns;
    lost += passed > ns + 20000000000u; // twenty seconds late is never
}

static void *sleeper(void *argument)
{
    uint64_t state = stress_seed + (uintptr_t)argument * 999;
    struct stress_progress *progress = stress_watch("sleeping thread");
    while (stress_goes_on()) {
        uint64_t ns = stress_random(&state, 3000000);
        uint64_t start = now_ns();
        struct timespec time = {0, (long)ns};
        uint32_t word = 0;
        switch (stress_random(&state, 4)) {
        case 0:
            nanosleep(&time, NULL);
            break;
        case 1: {
            uint64_t until = start + ns;
            time = (struct timespec){(time_t)(until / 1000000000), (long)(until % 1000000000)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
            break;
        }
        case 2:
            ppoll(NULL, 0, &time, NULL);
            break;
        default:
            syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time, NULL, 0);
        }
        check_time(start, ns);
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

// Many timerfds at once, each re-armed before or after it fires.
static void *descriptors(void *argument)
{
    enum { COUNT = 100 };
    uint64_t state = stress_seed + (uintptr_t)argument * 777, due[COUNT] = {0};
    struct pollfd sources[COUNT];
    struct stress_progress *progress = stress_watch("timerfd thread");

    for (int i = 0; i < COUNT; i++) {
        sources[i] = (struct pollfd){
            .fd = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), .events = POLLIN};
    }
    while (stress_goes_on()) {
        for (int k = 0; k < 20; k++) {
            unsigned i = stress_random(&state, COUNT);
            uint64_t ns = 1 + stress_random(&state, 5000000);
            struct itimerspec spec = {{0, 0}, {0, (long)ns}};
            due[i] = now_ns() + ns;
            MUST(timerfd_settime(sources[i].fd, 0, &spec, NULL));
        }
        poll(sources, COUNT, 3);
        for (int i = 0; i < COUNT; i++) {
            uint64_t count;
            if (read(sources[i].fd, &count, 8) == 8) {
                early += now_ns() < due[i] || due[i] == 0 || count != 1;
                due[i] = 0;
            } else if (due[i] != 0) {
                lost += now_ns() > due[i] + 20000000000u;
            }
        }
        progress->count++;
    }
    // Everything that is armed still fires.
    for (int i = 0; i < COUNT; i++) {
        if (due[i] != 0) {
            lost += poll(&sources[i], 1, 20000) != 1;
        }
        close(sources[i].fd);
    }
    stress_done(progress);
    return NULL;
}

static void *posix_timers(void *argument)
{
    enum { COUNT = 20 };
    uint64_t state = stress_seed + (uintptr_t)argument * 555;
    struct stress_progress *progress = stress_watch("POSIX timer thread");
    sigset_t set;
    int ids[COUNT];
    struct {
        union sigval value;
        int signal, notify, thread;
        char rest[48];
    } event = {
        .signal = SIGRTMIN + 3, .notify = SIGEV_THREAD_ID, .thread = (int)syscall(SYS_gettid)};

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    for (int i = 0; i < COUNT; i++) {
        event.value.sival_int = i;
        MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &ids[i]));
    }
    while (stress_goes_on()) {
        // Arm some, cancel some of those, and take exactly the rest.
        bool armed[COUNT] = {false};
        int expected = 0;
        for (int i = 0; i < COUNT; i++) {
            struct itimerspec spec = {{0, 0}, {0, 1 + (long)stress_random(&state, 4000000)}};
            if (stress_random(&state, 2) == 0) {
                MUST(syscall(SYS_timer_settime, ids[i], 0, &spec, NULL));
                armed[i] = true;
                if (stress_random(&state, 4) == 0) {
                    spec.it_value.tv_nsec = 500000000; // moved far away, then to now
                    MUST(syscall(SYS_timer_settime, ids[i], 0, &spec, NULL));
                    spec.it_value.tv_nsec = 1;
                    MUST(syscall(SYS_timer_settime, ids[i], 0, &spec, NULL));
                }
            }
        }
        for (int i = 0; i < COUNT; i++) {
            expected += armed[i];
        }
        struct timespec patience = {20, 0};
        siginfo_t info;
        bool seen[COUNT] = {false};
        for (int got = 0; got < expected;) {
            if (sigtimedwait(&set, &info, &patience) < 0) {
                lost++;
                break;
            }
            int i = info.si_value.sival_int;
            if (i < 0 || i >= COUNT || !armed[i]) {
                early++;
                break;
            }
            got += !seen[i]; // a moved one may have fired before it was moved
            seen[i] = true;
        }
        // One that fired before it was moved may fire once more: not into the next round.
        struct itimerspec never = {0};
        for (int i = 0; i < COUNT; i++) {
            MUST(syscall(SYS_timer_settime, ids[i], 0, &never, NULL));
        }
        struct timespec none = {0, 0};
        while (sigtimedwait(&set, &info, &none) > 0) {
        }
        progress->count++;
    }
    for (int i = 0; i < COUNT; i++) {
        syscall(SYS_timer_delete, ids[i]);
    }
    stress_done(progress);
    return NULL;
}

int main(int argc, char **argv)
{
    enum { SLEEPERS = 12, OTHERS = 2 };
    pthread_t threads[SLEEPERS + 2 * OTHERS];
    int count = 0;
    sigset_t set;

    stress_start(argc, argv);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, NULL);
    stress_start_watchdog();
    for (uintptr_t i = 0; i < SLEEPERS; i++) {
        MUST(pthread_create(&threads[count++], NULL, sleeper, (void *)i) == 0 ? 0 : -1);
    }
    for (uintptr_t i = 0; i < OTHERS; i++) {
        MUST(pthread_create(&threads[count++], NULL, descriptors, (void *)i) == 0 ? 0 : -1);
        MUST(pthread_create(&threads[count++], NULL, posix_timers, (void *)i) == 0 ? 0 : -1);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(early, 0);
    CHECK_EQ(lost, 0);
    return check_done();
}
