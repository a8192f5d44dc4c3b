// SPDX-License-Identifier: MIT
//
// Does operations, one kind after the other, while the host counts what they cost it
// (tools/lodger/lab_exits.c). An ordinary Linux program, the first one of its guest.
//
// Around each kind it prints
//
//   =exits begin NAME
//   =exits end NAME OPERATIONS NANOSECONDS
//
// on the console and waits for a line from the host, which has taken its counters then. The kind
// "nothing" shows what that exchange itself costs.
//
//   exits [--overcommit] [NAME...]   these kinds, or all: of those that want a CPU of the host for
//                                    each vCPU, or (--overcommit) one for all of them
//   exits --list                     what there is: a name a line, and "overcommit" where that is
//                                    wanted
//   exits --storm N                  without such a host: N storms (storm.c), each one's time,
//                                    and the kernel's counters
#include "guests/exits/exits.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PAGE_BYTES   4096
#define WAIT_NS      3000000

struct operation {
    const char *name;
    unsigned count;
    unsigned spinners; // threads that run in user mode on CPUs 1 to N meanwhile
    void (*run)(unsigned count);
};

static char *pages; // one for each of the operations that unmap or protect

void exits_fail(const char *message)
{
    printf("=exits failed %s\n", message);
    fflush(stdout);
    reboot(RB_POWER_OFF);
    _exit(1);
}

void exits_pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        exits_fail("sched_setaffinity");
    }
}

uint64_t exits_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

// ---- threads that are in the way ----

static atomic_bool spinners_stop;
static atomic_uint spinners_running;

static void *spin(void *argument)
{
    exits_pin((unsigned)(uintptr_t)argument);
    atomic_fetch_add(&spinners_running, 1);
    while (!atomic_load_explicit(&spinners_stop, memory_order_relaxed)) {
        // They have the pages in their TLBs, so an unmapping has to tell them.
        (void)*(volatile char *)pages;
    }
    return NULL;
}

static void start_spinners(pthread_t *threads, unsigned count)
{
    atomic_store(&spinners_stop, false);
    atomic_store(&spinners_running, 0);
    for (unsigned i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, spin, (void *)(uintptr_t)(i + 1)) != 0) {
            exits_fail("pthread_create");
        }
    }
    while (atomic_load(&spinners_running) < count) {
        sleep_ns(1000000);
    }
}

static void stop_spinners(pthread_t *threads, unsigned count)
{
    atomic_store(&spinners_stop, true);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

// ---- operations ----

static void run_nothing(unsigned count)
{
}

static void run_idle(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        sleep_ns(1000000000);
    }
}

static void run_timer(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        sleep_ns(WAIT_NS);
    }
}

static void run_barrier(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
            exits_fail("membarrier");
        }
    }
}

// Each round makes a page writable, touches it and takes the right away again: one shootdown.
static void run_shootdown(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (mprotect(pages, PAGE_BYTES, PROT_READ | PROT_WRITE) != 0) {
            exits_fail("mprotect");
        }
        *(volatile char *)pages = (char)i;
        if (mprotect(pages, PAGE_BYTES, PROT_READ) != 0) {
            exits_fail("mprotect");
        }
    }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned lock_count;
static unsigned lock_total;
static pthread_barrier_t lock_start;

static void *contend(void *argument)
{
    exits_pin((unsigned)(uintptr_t)argument);
    bool done = false;
    pthread_barrier_wait(&lock_start);
    while (!done) {
        pthread_mutex_lock(&lock);
        done = lock_total >= lock_count;
        lock_total += !done;
        // Held for a while, so that the others find it taken.
        for (volatile int i = 0; i < 200; i++) {
        }
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void run_lock(unsigned count)
{
    pthread_t threads[4];
    lock_count = count;
    lock_total = 0;
    pthread_barrier_init(&lock_start, NULL, COUNT(threads));
    for (unsigned i = 0; i < COUNT(threads); i++) {
        if (pthread_create(&threads[i], NULL, contend, (void *)(uintptr_t)i) != 0) {
            exits_fail("pthread_create");
        }
    }
    for (unsigned i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
}

static int there[2], back[2];

static void *answer(void *argument)
{
    unsigned count = *(unsigned *)argument;
    char byte;
    exits_pin(0);
    for (unsigned i = 0; i < count; i++) {
        if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1) {
            exits_fail("pipe");
        }
    }
    return NULL;
}

// An operation is one switch: there and back are two.
static void run_switch(unsigned count)
{
    pthread_t thread;
    unsigned rounds = count / 2;
    char byte = 0;
    if (pipe(there) != 0 || pipe(back) != 0 ||
        pthread_create(&thread, NULL, answer, &rounds) != 0) {
        exits_fail("pipe");
    }
    for (unsigned i = 0; i < rounds; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
            exits_fail("pipe");
        }
    }
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

static void run_clock(unsigned count)
{
    uint64_t last_ns = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t now_ns = exits_now_ns();
        if (now_ns < last_ns) {
            exits_fail("the clock went backwards");
        }
        last_ns = now_ns;
    }
}

static void run_storm(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        exits_storm();
    }
}

static const struct operation operations[] = {
    {"nothing", 1, 0, run_nothing},
    {"idle", 3, 0, run_idle},
    {"timer", 200, 0, run_timer},
    {"ipi-1", 500, 1, run_barrier},
    {"ipi-3", 500, 3, run_barrier},
    {"shootdown-3", 500, 3, run_shootdown},
    {"lock", 20000, 0, run_lock},
    {"switch", 4000, 0, run_switch},
    {"clock", 20000, 0, run_clock},
};

// With all vCPUs on one CPU of the host.
static const struct operation overcommitted[] = {
    {"nothing", 1, 0, run_nothing},
    {"shootdown-3-preempted", 100, 3, run_shootdown},
    {"storm", 1, 0, run_storm},
};

// ---- the exchange with the host ----

static void tell(const char *format, const char *name, unsigned count, uint64_t ns)
{
    char answer[16];
    printf(format, name, count, (unsigned long long)ns);
    fflush(stdout);
    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        exits_fail("the host does not answer");
    }
}

static void run(const struct operation *operation)
{
    pthread_t threads[3];
    pages = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        exits_fail("mmap");
    }
    *(volatile char *)pages = 1;
    start_spinners(threads, operation->spinners);
    tell("=exits begin %s\n", operation->name, 0, 0);
    uint64_t start_ns = exits_now_ns();
    operation->run(operation->count);
    uint64_t ns = exits_now_ns() - start_ns;
    tell("=exits end %s %u %llu\n", operation->name, operation->count, ns);
    stop_spinners(threads, operation->spinners);
    munmap(pages, PAGE_BYTES);
}

static void print_list(void)
{
    for (size_t i = 0; i < COUNT(operations); i++) {
        printf("%s\n", operations[i].name);
    }
    for (size_t i = 0; i < COUNT(overcommitted); i++) {
        printf("%s overcommit\n", overcommitted[i].name);
    }
}

// The first kind is what the others are measured against.
static bool is_wanted(size_t index, const char *name, int count, char **names)
{
    bool wanted = index == 0 || count == 0;
    for (int i = 0; i < count && !wanted; i++) {
        wanted = strcmp(names[i], name) == 0;
    }
    return wanted;
}

// Prints the file's lines that begin with the word, if there is such a file.
static void print_lines(const char *path, const char *word)
{
    char line[256];
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, word, strlen(word)) == 0) {
            fputs(line, stdout);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

// By itself: how long each storm took, and what the kernel counted, if it is ours.
static int storms(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        printf("storm %.1f ms\n", (double)exits_storm() / 1e6);
        fflush(stdout);
    }
    print_lines("/proc/lodger/pv", "count");
    static const char *const parts[] = {
        "lock.", "sched.", "idle.", "irq.", "tlb.", "rcu.", "timer."};
    for (size_t i = 0; i < COUNT(parts); i++) {
        print_lines("/proc/lodger/counters", parts[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        print_list();
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "--storm") == 0) {
        return storms((unsigned)atoi(argv[2]));
    }
    bool overcommit = argc > 1 && strcmp(argv[1], "--overcommit") == 0;
    const struct operation *list = overcommit ? overcommitted : operations;
    size_t count = overcommit ? COUNT(overcommitted) : COUNT(operations);
    int named = 1 + overcommit;
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    exits_pin(0);
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(i, list[i].name, argc - named, argv + named)) {
            run(&list[i]);
        }
    }
    // The host ends the machine now. Ending by itself, it could do so before the line is out.
    tell("=exits done\n", "", 0, 0);
    return 0;
}
