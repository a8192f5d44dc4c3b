// SPDX-License-Identifier: MIT
#include "guests/bench/workers.h"
#include "guests/bench/bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKERS_MAX 1024

struct worker {
    pthread_t thread;
    const struct workers_job *job;
    unsigned index, count;
    void *state;
    pthread_barrier_t *start;
    uint64_t began_ns, ended_ns;
};

// The CPUs of the process, before any of its threads was pinned.
static const cpu_set_t *all_cpus(void)
{
    static cpu_set_t set;
    if (CPU_COUNT(&set) == 0) {
        bench_require(sched_getaffinity(0, sizeof(set), &set) == 0, "sched_getaffinity");
    }
    return &set;
}

unsigned workers_cpus(void)
{
    return (unsigned)CPU_COUNT(all_cpus());
}

void workers_pin(unsigned index)
{
    const cpu_set_t *all = all_cpus();
    int cpu = 0;
    for (unsigned seen = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, all) && seen++ == index) {
            break;
        }
    }
    errno = EINVAL;
    bench_require(cpu < CPU_SETSIZE, "so many CPUs");
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    bench_require(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity");
    bench_require(sched_getcpu() == cpu, "running on that CPU");
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    workers_pin(worker->index % workers_cpus());
    if (worker->job->prepare != NULL) {
        worker->job->prepare(worker->index, worker->count, worker->state);
    }
    pthread_barrier_wait(worker->start);
    worker->began_ns = bench_now_ns();
    worker->job->work(worker->index, worker->count, worker->state);
    worker->ended_ns = bench_now_ns();
    return worker;
}

unsigned workers_run(const struct workers_job *job, unsigned count)
{
    unsigned workers = bench_workers();
    struct worker *all = calloc(workers, sizeof(*all));
    pthread_barrier_t start;
    bench_require(workers <= WORKERS_MAX && all != NULL, "threads");
    bench_require(pthread_barrier_init(&start, NULL, workers + 1) == 0, "barrier");
    (void)workers_cpus();
    unsigned share = count / workers > 0 ? count / workers : 1;
    for (unsigned i = 0; i < workers; i++) {
        all[i] = (struct worker){.job = job,
            .index = i,
            .count = share,
            .state = (char *)job->states + job->state_bytes * i,
            .start = &start};
        errno = pthread_create(&all[i].thread, NULL, worker_main, &all[i]);
        bench_require(errno == 0, "pthread_create");
    }
    pthread_barrier_wait(&start);
    uint64_t began_ns = UINT64_MAX, ended_ns = 0;
    for (unsigned i = 0; i < workers; i++) {
        void *result = NULL;
        errno = pthread_join(all[i].thread, &result);
        bench_require(errno == 0 && result == &all[i], "pthread_join");
        began_ns = all[i].began_ns < began_ns ? all[i].began_ns : began_ns;
        ended_ns = all[i].ended_ns > ended_ns ? all[i].ended_ns : ended_ns;
    }
    bench_require(ended_ns > began_ns, "passing time");
    bench_add(ended_ns - began_ns);
    pthread_barrier_destroy(&start);
    free(all);
    return share;
}

void workers_set_policy(int policy, int priority)
{
    const struct sched_param parameters = {.sched_priority = priority};
    if (syscall(SYS_sched_setscheduler, 0, policy, &parameters) != 0) {
        bench_unsupported("sched_setscheduler");
    }
    bench_require(syscall(SYS_sched_getscheduler, 0) == policy, "sched_setscheduler");
}

pid_t workers_fork(void)
{
    pid_t parent = getpid(), child = fork();
    bench_require(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1); // it was too late
        }
    }
    return child;
}

void *workers_shared(size_t size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_require(memory != MAP_FAILED, "shared memory");
    return memory;
}

void *workers_small_pages(size_t size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench_require(memory != MAP_FAILED, "memory");
    madvise(memory, size_bytes, MADV_NOHUGEPAGE); // a kernel without huge pages may refuse
    return memory;
}

long workers_smaps_kb(const void *address, const char *key)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false;
    long result = -1;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned long first, end;
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2) {
            inside = (uintptr_t)address >= first && (uintptr_t)address < end;
        } else if (inside && strncmp(line, key, strlen(key)) == 0) {
            result = strtol(line + strlen(key), NULL, 10);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return result;
}
