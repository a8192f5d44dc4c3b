// SPDX-License-Identifier: MIT
//
// Claim: without any one of the hypervisor's features (a boot option NAME=off, or pv=native) the
// kernel does the same by other means: clocks, timers, interrupts to other CPUs, shootdowns, locks
// and idle CPUs work, and /proc/lodger/pv says that the feature is off.
// Timers are not armed over and over again for one deadline.
// Method: asks /proc/lodger/pv what the boot options of /proc/cmdline have done; then a little of
// everything that a feature changes, on all CPUs, each part checked by what it computes.
//   features [ROUNDS]   of the part with threads (200)
#include "tests/guest/check.h"
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS 4
#define SLEEPS  20
// Of the timer, while this program sleeps: its own, and what the kernel has to do besides on a busy
// host. A timer that goes by another clock than the one that is waited for fires hundreds of times.
#define ARMS_PER_SLEEP 100

// ---- what is said ----

// Boot option and feature, as docs/options.md and docs/hypervisors.md have them.
static const struct {
    const char *option, *feature;
} features[] = {
    {"kvm_clock=off", "kvm-clock"},
    {"kvm_wall_clock=off", "kvm-wall-clock"},
    {"kvm_pairing=off", "kvm-clock-pairing"},
    {"kvm_eoi=off", "kvm-eoi"},
    {"kvm_ipi=off", "kvm-ipi"},
    {"kvm_steal=off", "kvm-steal-time"},
    {"kvm_tlb=off", "kvm-tlb-flush"},
    {"kvm_unhalt=off", "kvm-unhalt"},
    {"kvm_yield=off", "kvm-yield"},
    {"kvm_poll=off", "kvm-halt-poll"},
    {"kvm_async_pf=off", "kvm-async-pf"},
    {"tsc_deadline=off", "tsc-deadline"},
    {"xen_2level=off", "events-2-level"},
    {"xen_clock=off", "clock"},
    {"xen_cpu_start=off", "cpu-start"},
    {"xen_domain_vector=off", "domain-vector"},
    {"xen_fifo=off", "events-fifo"},
    {"xen_ipi=off", "ipi"},
    {"xen_locks=off", "locks"},
    {"xen_multicall=off", "multicall"},
    {"xen_run_state=off", "run-state"},
    {"xen_timer=off", "timer"},
    {"xen_tlb_flush=off", "tlb-flush"},
    {"xen_vcpu_info=off", "vcpu-info"},
    {"xen_vcpu_vector=off", "vcpu-vector"},
    {"xen_wall_clock=off", "wall-clock"},
};

// A Xen domain has no real-time clock: without Xen's date there is none.
static bool has_date;

static void said(void)
{
    static char line[4096], text[16384], want[128];
    snprintf(line, sizeof(line), "%s", get_file("/proc/cmdline"));
    snprintf(text, sizeof(text), "%s", get_file("/proc/lodger/pv"));
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (strstr(line, features[i].option) != NULL) {
            snprintf(want, sizeof(want), "feature %s off: switched off by boot option\n",
                features[i].feature);
            check_true(strstr(text, want) != NULL, features[i].feature, __LINE__);
        }
    }
    has_date = strstr(text, "XenVMM") == NULL || strstr(text, "feature wall-clock on") != NULL;
    if (strstr(line, "pv=native") != NULL) {
        CHECK(strncmp(text, "backend native\n", 15) == 0);
    }
}

// ---- what works ----

static unsigned rounds = 200;

// A counter of /proc/lodger/pv.
static uint64_t pv_count(const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "count %s ", name);
    const char *line = strstr(get_file("/proc/lodger/pv"), key);
    return line != NULL ? strtoull(line + strlen(key), NULL, 10) : 0;
}

static void clocks(void)
{
    uint64_t last = now_ns();
    for (int i = 0; i < 2000; i++) {
        uint64_t now = now_ns();
        CHECK_QUIET(now >= last);
        last = now;
    }
    uint64_t arms = pv_count("timer_arms");
    CHECK(arms > 0);
    for (int i = 0; i < SLEEPS; i++) {
        uint64_t start = now_ns();
        sleep_ms(2);
        CHECK_QUIET(now_ns() - start >= 2000000);
    }
    CHECK(pv_count("timer_arms") - arms < SLEEPS * ARMS_PER_SLEEP);
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    CHECK(!has_date || now.tv_sec > 1600000000); // some date from the host, whoever tells it
}

static pthread_barrier_t start;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static unsigned counted, turn; // under mutex
static atomic_ulong clock_highest;

static void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
    CHECK_QUIET(sched_setaffinity(0, sizeof(set), &set) == 0);
}

// Time never goes back from one CPU to another.
static void look_at_clock(void)
{
    unsigned long seen = atomic_load(&clock_highest);
    unsigned long now = now_ns();
    CHECK_QUIET(now >= seen);
    while (now > seen && !atomic_compare_exchange_weak(&clock_highest, &seen, now)) {
    }
}

static void *work(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    pin(self);
    pthread_barrier_wait(&start);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned char *area =
            mmap(NULL, 32768, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(area == MAP_FAILED ? -1 : 0);
        memset(area, (int)(round + self), 32768);
        CHECK_QUIET(mprotect(area, 8192, PROT_READ) == 0);
        CHECK_QUIET(area[0] == (unsigned char)(round + self));
        CHECK_QUIET(area[32767] == (unsigned char)(round + self));
        CHECK_QUIET(munmap(area, 32768) == 0);
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
        look_at_clock();
        pthread_mutex_lock(&mutex);
        counted++;
        pthread_mutex_unlock(&mutex);
    }
    // In turns: each wakes the next, on another CPU.
    for (unsigned round = 0; round < rounds / 2; round++) {
        pthread_mutex_lock(&mutex);
        while (turn % THREADS != self) {
            pthread_cond_wait(&condition, &mutex);
        }
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[THREADS];
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    pthread_barrier_init(&start, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) {
        MUST(pthread_create(&thread[i], NULL, work, (void *)i) == 0 ? 0 : -1);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_QUIET(pthread_join(thread[i], NULL) == 0);
    }
    CHECK_EQ(counted, THREADS * rounds);
    CHECK_EQ(turn, THREADS * (rounds / 2));
}

static void children(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = (pid_t)MUST(fork());
        if (child == 0) {
            pin((unsigned)i);
            _exit(i);
        }
        int status = -1;
        CHECK_QUIET(waitpid(child, &status, 0) == child);
        CHECK_QUIET(WIFEXITED(status) && WEXITSTATUS(status) == i);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    }
    said();
    clocks();
    threads();
    children();
    return check_done();
}
