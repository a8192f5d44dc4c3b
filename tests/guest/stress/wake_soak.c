// SPDX-License-Identifier: MIT
//
// Claim: no wake-up is ever lost: by futex, pipe, eventfd, signal, condition variable, semaphore,
// epoll, poll, and child's end, between threads and between processes, whoever sleeps or runs when.
// Method: pairs and rings pass a token thousands of times; partners compute or sleep for random
// moments in between, so that every interleaving comes up; the watchdog names the pair that stands
// still.
#include "tests/guest/stress/stress.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct pair {
    _Atomic uint32_t turn; // of the futex pair
    _Atomic uint32_t stop;
    int there[2], back[2]; // pipes, or eventfds in [0]
    sem_t semaphores[2];
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    uint32_t condition_turn;
    pid_t partner;
    struct stress_progress *progress;
};

// A delay of none, a few, or many instructions, seldom a sleep.
static void dawdle(uint64_t *state)
{
    unsigned kind = stress_random(state, 100);
    if (kind < 40) {
        return;
    }
    if (kind < 99) {
        unsigned count = stress_random(state, kind < 80 ? 300 : 20000);
        for (volatile unsigned i = 0; i < count; i++) {
        }
        return;
    }
    struct timespec time = {0, stress_random(state, 200000)};
    nanosleep(&time, NULL);
}

static void futex_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    for (;;) {
        uint32_t seen;
        while ((seen = pair->turn) != mine && pair->stop == 0) {
            syscall(SYS_futex, &pair->turn, FUTEX_WAIT, seen, NULL, NULL, 0);
        }
        if (pair->stop != 0) {
            return;
        }
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            if (!stress_goes_on()) {
                pair->stop = 1;
            }
        }
        pair->turn = !mine;
        syscall(SYS_futex, &pair->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
        if (pair->stop != 0) {
            return;
        }
    }
}

static void pipe_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    char byte = 0;
    int from = mine == 0 ? pair->back[0] : pair->there[0];
    int to = mine == 0 ? pair->there[1] : pair->back[1];
    if (mine == 0) {
        MUST(write(to, &byte, 1));
    }
    while (read(from, &byte, 1) == 1 && byte != 1) {
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            byte = stress_goes_on() ? 0 : 1;
        }
        MUST(write(to, &byte, 1));
        if (byte == 1) {
            return;
        }
    }
}

static void eventfd_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    int from = mine == 0 ? pair->back[0] : pair->there[0];
    int to = mine == 0 ? pair->there[0] : pair->back[0];
    uint64_t value = 1;
    if (mine == 0) {
        MUST(write(to, &value, 8));
    }
    while (read(from, &value, 8) == 8 && value == 1) {
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            value = stress_goes_on() ? 1 : 2;
        }
        MUST(write(to, &value, 8));
        if (value == 2) {
            return;
        }
    }
}

static void poll_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    int from = mine == 0 ? pair->back[0] : pair->there[0];
    int to = mine == 0 ? pair->there[1] : pair->back[1];
    int set = (int)MUST(epoll_create1(0)), other = (int)MUST(eventfd(0, 0));
    struct epoll_event event = {.events = EPOLLIN | (stress_seed % 2 == 0 ? EPOLLET : 0)};
    char byte = 0;

    fcntl(from, F_SETFL, O_NONBLOCK);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, from, &event));
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, other, &event));
    if (mine == 0) {
        MUST(write(to, &byte, 1));
    }
    for (;;) {
        if (stress_random(state, 2) == 0) {
            struct pollfd sources[2] = {
                {.fd = other, .events = POLLIN}, {.fd = from, .events = POLLIN}};
            poll(sources, 2, -1);
        } else {
            epoll_wait(set, &event, 1, stress_random(state, 10) == 0 ? 1 : -1);
        }
        if (read(from, &byte, 1) != 1) {
            continue;
        }
        if (byte == 1) {
            break;
        }
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            byte = stress_goes_on() ? 0 : 1;
        }
        MUST(write(to, &byte, 1));
        if (byte == 1) {
            break;
        }
    }
    close(set);
    close(other);
}

static void semaphore_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    for (;;) {
        while (sem_wait(&pair->semaphores[mine]) != 0) {
        }
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            pair->stop = !stress_goes_on();
        }
        bool stop = pair->stop != 0;
        sem_post(&pair->semaphores[!mine]);
        if (stop) {
            return;
        }
    }
}

static void condition_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    for (;;) {
        pthread_mutex_lock(&pair->mutex);
        while (pair->condition_turn != mine) {
            pthread_cond_wait(&pair->condition, &pair->mutex);
        }
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            pair->stop = !stress_goes_on();
        }
        bool stop = pair->stop != 0;
        pair->condition_turn = !mine;
        pthread_cond_broadcast(&pair->condition);
        pthread_mutex_unlock(&pair->mutex);
        if (stop) {
            return;
        }
    }
}

// Signals are taken with sigwaitinfo; between processes only.
static void signal_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    sigset_t set;
    siginfo_t info;
    union sigval value = {.sival_int = 0};
    pid_t other = mine == 0 ? pair->partner : getppid();

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    if (mine == 0) {
        MUST(sigqueue(other, SIGRTMIN + 5, value));
    }
    for (;;) {
        if (sigwaitinfo(&set, &info) < 0 || info.si_pid != other) {
            continue;
        }
        if (info.si_value.sival_int == 1) {
            return;
        }
        dawdle(state);
        if (mine == 0) {
            pair->progress->count++;
            value.sival_int = !stress_goes_on();
        }
        MUST(sigqueue(other, SIGRTMIN + 5, value));
        if (value.sival_int == 1) {
            return;
        }
    }
}

// A child's end wakes its parent; no partner at all is needed.
static void wait_side(struct pair *pair, uint32_t mine, uint64_t *state)
{
    while (mine == 0 && stress_goes_on()) {
        pid_t child = fork();
        if (child == 0) {
            dawdle(state);
            _exit(0);
        }
        dawdle(state);
        MUST(waitpid(child, NULL, 0));
        pair->progress->count++;
    }
}

static const struct way {
    const char *name;
    void (*side)(struct pair *pair, uint32_t mine, uint64_t *state);
    bool threads_too;
} ways[] = {
    {"futex", futex_side, true},
    {"pipe", pipe_side, true},
    {"eventfd", eventfd_side, true},
    {"poll and epoll", poll_side, true},
    {"semaphore", semaphore_side, true},
    {"condition", condition_side, true},
    {"signal", signal_side, false},
    {"child's end", wait_side, false},
};

static struct pair *make_pair(const struct way *way, const char *between)
{
    struct pair *pair = stress_shared(sizeof(*pair));
    pthread_mutexattr_t mutex_attributes;
    pthread_condattr_t condition_attributes;
    char what[64];

    snprintf(what, sizeof(what), "%s between %s", way->name, between);
    pair->progress = stress_watch(what);
    if (way->side == eventfd_side) {
        pair->there[0] = (int)MUST(eventfd(0, 0));
        pair->back[0] = (int)MUST(eventfd(0, 0));
    } else {
        MUST(pipe(pair->there));
        MUST(pipe(pair->back));
    }
    sem_init(&pair->semaphores[0], 1, 1);
    sem_init(&pair->semaphores[1], 1, 0);
    pthread_mutexattr_init(&mutex_attributes);
    pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&pair->mutex, &mutex_attributes);
    pthread_condattr_init(&condition_attributes);
    pthread_condattr_setpshared(&condition_attributes, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&pair->condition, &condition_attributes);
    return pair;
}

struct thread_argument {
    const struct way *way;
    struct pair *pair;
};

static void *partner_thread(void *argument)
{
    struct thread_argument *own = argument;
    uint64_t state = stress_seed + (uintptr_t)own->pair;
    own->way->side(own->pair, 1, &state);
    return NULL;
}

int main(int argc, char **argv)
{
    stress_start(argc, argv);
    stress_start_watchdog();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        for (int threads = 0; threads <= (int)ways[i].threads_too; threads++) {
            struct pair *pair = make_pair(&ways[i], threads ? "threads" : "processes");
            if (fork() != 0) {
                continue;
            }
            uint64_t state = stress_seed * 31u + i;
            if (threads) {
                pthread_t thread;
                struct thread_argument argument = {&ways[i], pair};
                MUST(pthread_create(&thread, NULL, partner_thread, &argument) == 0 ? 0 : -1);
                ways[i].side(pair, 0, &state);
                pthread_join(thread, NULL);
            } else {
                pid_t partner = fork();
                if (partner == 0) {
                    ways[i].side(pair, 1, &state);
                    _exit(0);
                }
                pair->partner = partner; // shared: the partner must not write its 0 there
                ways[i].side(pair, 0, &state);
                waitpid(partner, NULL, 0);
            }
            bool enough = pair->progress->count > 20;
            stress_done(pair->progress);
            _exit(enough ? 0 : 1);
        }
    }
    CHECK_EQ(stress_reap(), 0);
    return check_done();
}
