// SPDX-License-Identifier: MIT
//
// Claim: SCHED_DEADLINE is as sched(7) says: what parameters and flags are taken and read back, who
// may use it, admission by bandwidth, no fork, all processors or none; budgets are enforced, a
// yield gives the period up, an overrun is told; the earliest deadline runs first, before FIFO, and
// who holds a lock that a deadline thread waits for runs as urgently.
// Method: set and read back; processes fill the machine; threads that spin are measured in
// processor time, of which no host takes anything away; on one processor order shows who ran when.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>

#define MS 1000000ull

struct parameter {
    int priority;
};

static long set_scheduler(int policy, int priority)
{
    struct parameter parameter = {priority};
    return syscall(SYS_sched_setscheduler, 0, policy, &parameter);
}

static long set_deadline(uint64_t runtime, uint64_t deadline, uint64_t period, uint64_t flags)
{
    struct sched_attr attributes = {.size = sizeof(attributes),
        .sched_policy = SCHED_DEADLINE,
        .sched_flags = flags,
        .sched_runtime = runtime,
        .sched_deadline = deadline,
        .sched_period = period};
    return syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void parameters(void)
{
    struct sched_attr attributes = {.size = sizeof(attributes)};
    struct parameter parameter = {7};
    signal(SIGXCPU, SIG_IGN);

    ERR(EINVAL, set_scheduler(SCHED_DEADLINE, 0));
    ERR(EINVAL, set_deadline(0, 0, 0, 0));
    ERR(EINVAL, set_deadline(1000, 10 * MS, 10 * MS, 0));
    ERR(EINVAL, set_deadline(11 * MS, 10 * MS, 20 * MS, 0));
    ERR(EINVAL, set_deadline(1 * MS, 21 * MS, 20 * MS, 0));
    ERR(EINVAL, set_deadline(1 * MS, 5000 * MS, 5000 * MS, 0));
    ERR(EINVAL, set_deadline(1 * MS, 1ull << 63, 1ull << 63, 0));
    ERR(EINVAL, set_deadline(1 * MS, 20 * MS, 20 * MS, 1 << 20));
    OK(set_deadline(1 * MS, 10 * MS, 20 * MS, SCHED_FLAG_DL_OVERRUN));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_DEADLINE);
    OK(syscall(SYS_sched_getparam, 0, &parameter));
    CHECK_EQ(parameter.priority, 0);
    ERR(EINVAL, syscall(SYS_sched_setparam, 0, &parameter));
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
    CHECK_EQ(attributes.sched_policy, SCHED_DEADLINE);
    CHECK_EQ(attributes.sched_runtime, 1 * MS);
    CHECK_EQ(attributes.sched_deadline, 10 * MS);
    CHECK_EQ(attributes.sched_period, 20 * MS);
    CHECK_EQ(attributes.sched_flags, SCHED_FLAG_DL_OVERRUN);
    CHECK_EQ(attributes.sched_priority, 0);
    OK(set_deadline(2 * MS, 30 * MS, 0, 0)); // the period is the deadline then
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
    CHECK_EQ(attributes.sched_period, 30 * MS);
    CHECK_EQ(attributes.sched_flags, 0);
    attributes.sched_flags = SCHED_FLAG_KEEP_ALL;
    attributes.sched_runtime = 0;
    OK(syscall(SYS_sched_setattr, 0, &attributes, 0));
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
    CHECK_EQ(attributes.sched_runtime, 2 * MS);
    struct timespec interval = {-1, -1};
    OK(syscall(SYS_sched_rr_get_interval, 0, &interval));
    CHECK_EQ(interval.tv_sec, 0);
    CHECK_EQ(interval.tv_nsec, 0);
    CHECK_EQ(syscall(SYS_sched_get_priority_max, SCHED_DEADLINE), 0);
    OK(set_scheduler(SCHED_NORMAL, 0));
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
    CHECK_EQ(attributes.sched_runtime, 0);
    CHECK_EQ(attributes.sched_period, 0);
}

static void privileges(void)
{
    MUST(setuid(1000));
    ERR(EPERM, set_deadline(1 * MS, 10 * MS, 10 * MS, 0));
    ERR(EINVAL, set_deadline(0, 10 * MS, 10 * MS, 0));
}

// Processes that want 30 % of a processor each: those of 95 % of all processors get it.
static void admission(void)
{
    int cpus = get_nprocs();
    int fits = cpus * 95 / 30;
    int accepted = 0;
    pid_t children[256];
    int ends[2], answers[2];
    // What was given back before is free again only when its period is over.
    usleep(100 * 1000);
    MUST(pipe(ends));
    MUST(pipe(answers));
    for (int i = 0; i < fits + 1; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char answer = set_deadline(3 * MS, 10 * MS, 10 * MS, 0) == 0 ? 'y'
                          : errno == EBUSY                               ? 'n'
                                                                         : '?';
            MUST(write(answers[1], &answer, 1));
            close(ends[1]);
            read(ends[0], &answer, 1);
            _exit(0);
        }
        char answer;
        MUST(read(answers[0], &answer, 1));
        CHECK(answer == (i < fits ? 'y' : 'n'));
        accepted += answer == 'y';
    }
    CHECK(accepted == fits);
    close(ends[1]);
    for (int i = 0; i < fits + 1; i++)
        MUST(waitpid(children[i], NULL, 0));
    // What they had is free again, if not at once.
    long result = -1;
    for (int i = 0; i < 5000 && result != 0; i++) {
        result = set_deadline(28 * MS, 30 * MS, 30 * MS, 0);
        sleep_ms(1);
    }
    OK(result);
}

static void no_fork(void)
{
    OK(set_deadline(5 * MS, 50 * MS, 50 * MS, 0));
    ERR(EAGAIN, fork());
    OK(set_deadline(5 * MS, 50 * MS, 50 * MS, SCHED_FLAG_RESET_ON_FORK));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_DEADLINE | SCHED_RESET_ON_FORK);
    pid_t child = fork();
    if (child == 0)
        _exit(syscall(SYS_sched_getscheduler, 0) == SCHED_NORMAL ? 0 : 1);
    int status;
    MUST(waitpid(child, &status, 0));
    CHECK_STR(status_text(status), "exit 0");
}

static void all_processors(void)
{
    uint64_t one[16] = {1}, all[16];
    memset(all, 0xff, sizeof(all));
    if (get_nprocs() == 1)
        return;
    MUST(syscall(SYS_sched_setaffinity, 0, sizeof(one), one));
    CHECK(set_deadline(1 * MS, 10 * MS, 10 * MS, 0) == -1 && errno == EPERM);
    MUST(syscall(SYS_sched_setaffinity, 0, sizeof(all), all));
    MUST(set_deadline(1 * MS, 10 * MS, 10 * MS, 0));
    CHECK(syscall(SYS_sched_setaffinity, 0, sizeof(one), one) == -1 && errno == EBUSY);
    MUST(syscall(SYS_sched_setaffinity, 0, sizeof(all), all));
}

// Spins: gets its budget in each period, and not more. A host that takes the processor away at the
// end of a budget makes it longer than it should be; those that follow are shorter for that, so the
// sum is right some time later.
static void budgets(void)
{
    OK(set_deadline(4 * MS, 40 * MS, 40 * MS, 0));
    uint64_t start = now_ns(), began = cpu_ns(), passed, ran;
    do {
        passed = now_ns() - start;
        ran = cpu_ns() - began;
    } while (passed < 400 * MS || (ran > (passed / (40 * MS) + 2) * 4 * MS && passed < 20000 * MS));
    CHECK(ran >= 4 * MS);
    CHECK(ran <= (passed / (40 * MS) + 2) * 4 * MS);
}

static void yields(void)
{
    OK(set_deadline(4 * MS, 40 * MS, 40 * MS, 0));
    OK(syscall(SYS_sched_yield)); // to the beginning of a period
    uint64_t start = now_ns();
    for (int i = 0; i < 4; i++)
        syscall(SYS_sched_yield);
    CHECK(now_ns() - start >= 3 * 40 * MS);
}

static volatile sig_atomic_t overruns;

static void on_overrun(int signal)
{
    (void)signal;
    overruns = overruns + 1;
}

static void overrun(void)
{
    signal(SIGXCPU, on_overrun);
    OK(set_deadline(2 * MS, 30 * MS, 30 * MS, SCHED_FLAG_DL_OVERRUN));
    while (overruns < 3) {
    }
    CHECK(overruns >= 3);
}

// ---- order, on one processor -------------------------------------------------------------------

struct shared {
    _Atomic unsigned gate, ready, order, lock, held;
    _Atomic uint64_t spun;
    unsigned ran[4];
};

static struct shared *shared_new(void)
{
    struct shared *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared == MAP_FAILED ? -1 : 0);
    return shared;
}

static int futex(_Atomic unsigned *word, int operation, unsigned value)
{
    return (int)syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void earliest_first(void)
{
    static const unsigned deadlines_ms[4] = {3000, 1000, 2000, 0}; // the last one is FIFO
    struct shared *shared = shared_new();
    pid_t children[4];
    if (get_nprocs() != 1)
        return;
    OK(set_scheduler(SCHED_FIFO, 50));
    for (unsigned i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            if (deadlines_ms[i] != 0)
                MUST(set_deadline(50 * MS, deadlines_ms[i] * MS, deadlines_ms[i] * MS, 0));
            else
                MUST(set_scheduler(SCHED_FIFO, 99));
            shared->ready++;
            futex(&shared->gate, FUTEX_WAIT, 0);
            shared->ran[shared->order++] = i;
            _exit(0);
        }
        while (shared->ready != i + 1 || !wait_until_asleep(children[i], children[i]))
            sleep_ms(1);
    }
    sleep_ms(3100); // budgets of the past are void
    shared->gate = 1;
    CHECK_EQ(futex(&shared->gate, FUTEX_WAKE, 4), 4);
    for (int i = 0; i < 4; i++)
        MUST(waitpid(children[i], NULL, 0));
    CHECK_EQ(shared->ran[0], 1);
    CHECK_EQ(shared->ran[1], 2);
    CHECK_EQ(shared->ran[2], 0);
    CHECK_EQ(shared->ran[3], 3);
}

// A process of the lowest class holds a lock, one of FIFO spins, a deadline process wants the lock.
static void inherits(void)
{
    struct shared *shared = shared_new();
    if (get_nprocs() != 1)
        return;
    pid_t low = fork();
    if (low == 0) {
        MUST(futex(&shared->lock, FUTEX_LOCK_PI, 0));
        shared->held = 1;
        while (shared->ready == 0) // runs while the deadline process waits only
            ;
        for (volatile int i = 0; i < 100000; i++) {
        }
        MUST(futex(&shared->lock, FUTEX_UNLOCK_PI, 0));
        _exit(0);
    }
    MUST(set_scheduler(SCHED_FIFO, 60));
    while (shared->held == 0)
        sleep_ms(1);
    pid_t high = fork();
    if (high == 0) {
        MUST(set_deadline(500 * MS, 1000 * MS, 1000 * MS, 0));
        futex(&shared->gate, FUTEX_WAIT, 0);
        uint64_t before = shared->spun;
        shared->ready = 1;
        MUST(futex(&shared->lock, FUTEX_LOCK_PI, 0));
        uint64_t after = shared->spun;
        MUST(futex(&shared->lock, FUTEX_UNLOCK_PI, 0));
        shared->order = 1; // the spinning one ends
        _exit(before == after ? 0 : 1);
    }
    pid_t middle = fork();
    if (middle == 0) {
        MUST(set_scheduler(SCHED_FIFO, 50));
        while (shared->order == 0)
            shared->spun++;
        _exit(0);
    }
    while (!wait_until_asleep(high, high))
        sleep_ms(1);
    shared->gate = 1;
    CHECK_EQ(futex(&shared->gate, FUTEX_WAKE, 1), 1);
    int status;
    MUST(waitpid(high, &status, 0));
    CHECK_STR(status_text(status), "exit 0");
    MUST(waitpid(middle, NULL, 0));
    MUST(waitpid(low, NULL, 0));
}

int main(void)
{
    scratch();
    CHILD(parameters, "exit 0");
    CHILD(privileges, "exit 0");
    CHILD(admission, "exit 0");
    CHILD(no_fork, "exit 0");
    CHILD(all_processors, "exit 0");
    CHILD(budgets, "exit 0");
    CHILD(yields, "exit 0");
    CHILD(overrun, "exit 0");
    CHILD(earliest_first, "exit 0");
    CHILD(inherits, "exit 0");
    return check_done();
}
