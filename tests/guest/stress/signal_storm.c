// SPDX-License-Identifier: MIT
//
// Claim: signals from everywhere to everybody, with handlers, masks, queues, alternate stacks,
// restarts and threads, are delivered as often as they must be, and disturb neither registers nor
// calls. Method: realtime signals carry numbers whose sum must come out right; workers compute and
// do pipe input and output meanwhile, and check their own results; timers add to it.
#include "tests/guest/stress/stress.h"
#include <sys/time.h>

enum { WORKERS = 3, SENDERS = 3 };

struct shared {
    _Atomic uint64_t sent[WORKERS], received[WORKERS], sum_sent[WORKERS], sum_received[WORKERS];
    _Atomic int ready, stop;
};

static struct shared *shared;
static int self_index;
static _Atomic int wrong;

static void on_queued(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    shared->received[self_index]++;
    shared->sum_received[self_index] += (uint64_t)info->si_value.sival_int;
}

static void on_plain(int number)
{
    // Some floating-point work and a system call inside the handler.
    volatile double x = number;
    for (int i = 0; i < 10; i++) {
        x = x * 1.5 + 1;
    }
    wrong += !(x > 0);
    int saved = errno;
    syscall(SYS_getppid);
    errno = saved;
}

static void *compute(void *argument)
{
    struct stress_progress *progress = stress_watch("signal storm computing thread");
    while (!shared->stop) {
        double sum = 0;
        uint64_t mixed = 1;
        for (int i = 1; i < 20000; i++) {
            sum += 1.0 / i;
            mixed = mixed * 6364136223846793005u + (uint64_t)i;
        }
        wrong += (long)(sum * 1000000) != 10480678;
        wrong += mixed != *(uint64_t *)argument;
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

static void *copy(void *argument)
{
    // Bytes through a pipe, with reads and writes interrupted and restarted.
    int *ends = argument;
    struct stress_progress *progress = stress_watch("signal storm copying thread");
    unsigned char out[700], in[700];
    unsigned char next = 0;
    while (!shared->stop) {
        for (size_t i = 0; i < sizeof(out); i++) {
            out[i] = next++;
        }
        size_t done = 0;
        while (done < sizeof(out)) {
            ssize_t put = write(ends[1], out + done, sizeof(out) - done);
            wrong += put < 0 && errno != EINTR;
            done += put > 0 ? (size_t)put : 0;
        }
        done = 0;
        while (done < sizeof(in)) {
            ssize_t got = read(ends[0], in + done, sizeof(in) - done);
            wrong += got < 0 && errno != EINTR;
            done += got > 0 ? (size_t)got : 0;
        }
        wrong += memcmp(out, in, sizeof(in)) != 0;
        struct timespec time = {0, 100000};
        nanosleep(&time, NULL);
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

static void worker(int index)
{
    static char alternative[65536];
    stack_t stack = {.ss_sp = alternative, .ss_size = sizeof(alternative)};
    struct sigaction queued = {.sa_sigaction = on_queued,
        .sa_flags = SA_SIGINFO | (index % 2 == 0 ? SA_RESTART : 0) | SA_ONSTACK};
    struct sigaction plain = {.sa_handler = on_plain, .sa_flags = index == 1 ? SA_NODEFER : 0};
    struct itimerval timer = {{0, 3000}, {0, 3000}};
    uint64_t mixed = 1;
    int ends[2];
    pthread_t threads[3];

    self_index = index;
    for (int i = 1; i < 20000; i++) {
        mixed = mixed * 6364136223846793005u + (uint64_t)i;
    }
    MUST(pipe(ends));
    sigaltstack(&stack, NULL);
    sigaction(SIGRTMIN, &queued, NULL);
    sigaction(SIGRTMIN + 1, &queued, NULL);
    sigaction(SIGUSR1, &plain, NULL);
    sigaction(SIGUSR2, &plain, NULL);
    sigaction(SIGALRM, &plain, NULL);
    sigaction(SIGCHLD, &plain, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    pthread_create(&threads[0], NULL, compute, &mixed);
    pthread_create(&threads[1], NULL, copy, ends);
    pthread_create(&threads[2], NULL, compute, &mixed);
    shared->ready++;
    sigset_t some, old;
    sigemptyset(&some);
    sigaddset(&some, SIGRTMIN);
    sigaddset(&some, SIGUSR1);
    while (!shared->stop) {
        // The first thread blocks and unblocks, waits, and makes children.
        sigprocmask(SIG_BLOCK, &some, &old);
        struct timespec time = {0, 500000};
        nanosleep(&time, NULL);
        sigprocmask(SIG_SETMASK, &old, NULL);
        pthread_kill(threads[0], SIGUSR2);
        pid_t child = fork();
        if (child == 0) {
            _exit(0);
        }
        while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    timer = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    // Everything that was queued has been delivered once nothing is pending.
    sigset_t pending;
    for (int i = 0; i < 1000; i++) {
        sigpending(&pending);
        if (!sigismember(&pending, SIGRTMIN) && !sigismember(&pending, SIGRTMIN + 1)) {
            break;
        }
        sleep_ms(1);
    }
    bool right = shared->sent[index] == shared->received[index] &&
                 shared->sum_sent[index] == shared->sum_received[index];
    if (!right || wrong != 0) {
        note("FAIL: worker %d: sent %llu, received %llu, %d wrong results", index,
            (unsigned long long)shared->sent[index], (unsigned long long)shared->received[index],
            (int)wrong);
        _exit(1);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    pid_t workers[WORKERS], senders[SENDERS];

    stress_start(argc, argv);
    stress_start_watchdog();
    shared = stress_shared(sizeof(*shared));
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            worker(i);
        }
    }
    while (shared->ready < WORKERS) {
        sleep_ms(1);
    }
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = fork();
        if (senders[i] == 0) {
            uint64_t state = stress_seed * 13u + (unsigned)i;
            struct stress_progress *progress = stress_watch("signal storm sender");
            while (stress_goes_on()) {
                int to = (int)stress_random(&state, WORKERS);
                union sigval value = {.sival_int = (int)stress_random(&state, 1000)};
                switch (stress_random(&state, 4)) {
                case 0:
                    kill(workers[to], SIGUSR1);
                    break;
                case 1:
                    kill(workers[to], stress_random(&state, 2) ? SIGUSR2 : SIGCONT);
                    break;
                default:
                    if (sigqueue(workers[to], SIGRTMIN + (int)stress_random(&state, 2), value) ==
                        0) {
                        shared->sent[to]++;
                        shared->sum_sent[to] += (uint64_t)value.sival_int;
                    } else if (errno == EAGAIN) {
                        sleep_ms(5);
                    }
                }
                progress->count++;
                if (stress_random(&state, 20) == 0) {
                    sleep_ms(1);
                }
            }
            stress_done(progress);
            _exit(0);
        }
    }
    int bad = 0, status;
    for (int i = 0; i < SENDERS; i++) {
        waitpid(senders[i], &status, 0);
        bad += status != 0;
    }
    shared->stop = 1;
    for (int i = 0; i < WORKERS; i++) {
        waitpid(workers[i], &status, 0);
        bad += status != 0;
    }
    CHECK_EQ(bad, 0);
    return check_done();
}
