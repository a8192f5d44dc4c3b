// SPDX-License-Identifier: MIT
//
// Micro benchmarks of what a kernel does for its programs.
//
//   bench --list            names, one a line
//   bench NAME [COUNT]      runs one benchmark and prints `NAME iterations ns_total ns_per_op`
//   bench all               runs each with its own default count
//
// Time is CLOCK_MONOTONIC. Under QEMU's `-icount shift=0,sleep=off` one nanosecond of it is one
// guest instruction, so the same program gives exact instruction counts per operation, on any
// kernel. Each benchmark runs a tenth of its count unmeasured first (first use of memory, caches of
// the kernel), and verifies that the operation really took place; if it did not, nothing is printed
// but an error, and the code is 1.
//
// What one operation is stands beside each function. Loop overhead is a few instructions and is not
// subtracted.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

// What the kernel put off while the benchmark was prepared (RCU callbacks, freeing) is done in this
// time.
#define SETTLE_US 50000

static char self_path[] = "/proc/self/exe";
static char work_directory[64];
static unsigned long long measured_ns;

[[noreturn]] static void fail(const char *what)
{
    fprintf(stderr, "bench: %s did not happen as it should (%s)\n", what, strerror(errno));
    exit(1);
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fail(what);
    }
}

static unsigned long long now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (unsigned long long)time.tv_sec * 1000000000u + (unsigned long long)time.tv_nsec;
}

// Marks the measured part of a benchmark: everything between the two.
static void start(void)
{
    measured_ns = now_ns();
}

static void stop(void)
{
    measured_ns = now_ns() - measured_ns;
}

// One getppid: the SYSCALL instruction itself, without libc's wrapper.
static void bench_null(unsigned count)
{
    long sum = 0, expected = getppid();

    start();
    for (unsigned i = 0; i < count; i++) {
        long result = SYS_getppid;
        __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
        sum += result;
    }
    stop();
    require(sum == expected * (long)count, "getppid");
}

// One clock_gettime(CLOCK_MONOTONIC) as libc does it, that is through the vDSO.
static void bench_clock(unsigned count)
{
    struct timespec first, last = {0};

    clock_gettime(CLOCK_MONOTONIC, &first);
    start();
    for (unsigned i = 0; i < count; i++) {
        clock_gettime(CLOCK_MONOTONIC, &last);
    }
    stop();
    require(last.tv_sec > first.tv_sec || last.tv_nsec > first.tv_nsec, "passing time");
}

// One byte to another process through a pipe, and one byte back through a second pipe.
static void bench_pipe(unsigned count)
{
    int there[2], back[2];
    char byte = 0;

    require(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        close(back[0]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    start();
    for (unsigned i = 0; i < count; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
            fail("round trip");
        }
    }
    stop();
    require(byte == (char)count, "increment by the other process");
    close(there[1]);
    close(back[0]);
    int status;
    require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
}

static uint32_t turn;

static void futex_pass_turn(uint32_t to)
{
    __atomic_store_n(&turn, to, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_await_turn(uint32_t mine)
{
    uint32_t seen;

    while ((seen = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) != mine) {
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
}

static void *futex_partner(void *argument)
{
    unsigned count = *(unsigned *)argument;

    for (unsigned i = 0; i < count; i++) {
        futex_await_turn(1);
        futex_pass_turn(0);
    }
    return argument;
}

// The turn goes to another thread by store and FUTEX_WAKE, and comes back in the same way.
static void bench_futex(unsigned count)
{
    pthread_t partner;

    turn = 0;
    require(pthread_create(&partner, NULL, futex_partner, &count) == 0, "thread");
    start();
    for (unsigned i = 0; i < count; i++) {
        futex_pass_turn(1);
        futex_await_turn(0);
    }
    stop();
    void *result;
    require(pthread_join(partner, &result) == 0 && result == &count, "partner's work");
}

// One fork, the child's _exit, and the wait for it.
static void bench_fork(unsigned count)
{
    start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            _exit(5);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 5) {
            fail("fork, exit and wait");
        }
    }
    stop();
}

// One fork, execve of this static program (which ends at once with code 9), and the wait for it.
static void bench_exec(unsigned count)
{
    char *arguments[] = {"bench", "--nothing", NULL};
    char *environment[] = {NULL};

    start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            execve(self_path, arguments, environment);
            _exit(1);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 9) {
            fail("fork, exec and wait");
        }
    }
    stop();
}

// The first write to a fresh anonymous page of 4 KiB. Mapping and unmapping are not measured.
static void bench_fault(unsigned count)
{
    enum { BATCH = 512 };
    unsigned long long sum_ns = 0;

    for (unsigned done = 0; done < count;) {
        unsigned batch = count - done < BATCH ? count - done : BATCH;
        size_t length = (size_t)BATCH * 4096;
        char *memory =
            mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED, "mmap");
        madvise(memory, length, MADV_NOHUGEPAGE);
        start();
        for (unsigned i = 0; i < batch; i++) {
            ((volatile char *)memory)[(size_t)i * 4096] = 1;
        }
        stop();
        sum_ns += measured_ns;
        for (unsigned i = 0; i < batch; i++) {
            char *page = memory + (size_t)i * 4096;
            require(page[0] == 1 && page[1] == 0 && page[4095] == 0, "zeroing");
            page[4095] = 7;
        }
        munmap(memory, length);
        done += batch;
    }
    measured_ns = sum_ns;
}

// One open (O_RDONLY) and close of a file on tmpfs.
static void bench_open(unsigned count)
{
    int file = open("file", O_CREAT | O_RDWR, 0644);
    require(file >= 0 && write(file, "x", 1) == 1, "creation");
    close(file);
    start();
    for (unsigned i = 0; i < count; i++) {
        int opened = open("file", O_RDONLY);
        if (opened != file || close(opened) != 0) {
            fail("open and close");
        }
    }
    stop();
    file = open("file", O_RDONLY);
    char byte = 0;
    require(read(file, &byte, 1) == 1 && byte == 'x', "read");
    close(file);
}

// One stat of a path with four components below the root, all on tmpfs or the root file system.
static void bench_stat(unsigned count)
{
    struct stat about;

    mkdir("/tmp/bench.stat", 0755);
    mkdir("/tmp/bench.stat/three", 0755);
    int file = open("/tmp/bench.stat/three/four", O_CREAT | O_RDWR | O_TRUNC, 0644);
    require(file >= 0 && write(file, "12345", 5) == 5, "creation");
    close(file);
    off_t sum = 0;
    start();
    for (unsigned i = 0; i < count; i++) {
        about.st_size = 0;
        stat("/tmp/bench.stat/three/four", &about);
        sum += about.st_size;
    }
    stop();
    require(sum == 5 * (off_t)count, "stat");
    unlink("/tmp/bench.stat/three/four");
    rmdir("/tmp/bench.stat/three");
    rmdir("/tmp/bench.stat");
}

// One epoll_wait over 100 eventfds of which one is ready.
static void bench_epoll(unsigned count)
{
    int set = epoll_create1(0), sources[100];
    unsigned right = 0;

    require(set >= 0, "epoll_create1");
    for (unsigned i = 0; i < 100; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        sources[i] = eventfd(i == 57, EFD_NONBLOCK);
        require(
            sources[i] >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, sources[i], &event) == 0, "epoll_ctl");
    }
    struct epoll_event events[8];
    start();
    for (unsigned i = 0; i < count; i++) {
        right += epoll_wait(set, events, 8, -1) == 1 && events[0].data.u32 == 57;
    }
    stop();
    require(right == count, "epoll_wait");
    for (unsigned i = 0; i < 100; i++) {
        close(sources[i]);
    }
    close(set);
}

// One open with O_CREAT, its close, and the unlink, in a directory that holds 1000 other files.
static void bench_create(unsigned count)
{
    char name[32];

    require(mkdir("many", 0755) == 0, "mkdir");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "many/file%u", i);
        int file = open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
        require(file >= 0, "creation");
        close(file);
    }
    start();
    for (unsigned i = 0; i < count; i++) {
        int file = open("many/one-more", O_CREAT | O_EXCL | O_RDWR, 0644);
        if (file < 0 || close(file) != 0 || unlink("many/one-more") != 0) {
            fail("create and unlink");
        }
    }
    stop();
    struct stat about;
    require(stat("many/one-more", &about) < 0 && errno == ENOENT, "unlink");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "many/file%u", i);
        require(unlink(name) == 0, "unlink");
    }
    rmdir("many");
}

static volatile unsigned delivered;

static void on_signal(int number)
{
    delivered += (unsigned)(number == SIGUSR1);
}

// One signal that the thread sends to itself: tgkill, handler, sigreturn.
static void bench_signal(unsigned count)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    long process = getpid(), thread = syscall(SYS_gettid);

    delivered = 0;
    require(sigaction(SIGUSR1, &action, &old) == 0, "sigaction");
    start();
    for (unsigned i = 0; i < count; i++) {
        syscall(SYS_tgkill, process, thread, SIGUSR1);
    }
    stop();
    require(delivered == count, "delivery");
    sigaction(SIGUSR1, &old, NULL);
}

static const struct benchmark {
    const char *name;
    void (*run)(unsigned count);
    unsigned count;
} benchmarks[] = {
    {"null", bench_null, 20000},
    {"clock", bench_clock, 20000},
    {"pipe", bench_pipe, 2000},
    {"futex", bench_futex, 2000},
    {"fork", bench_fork, 200},
    {"exec", bench_exec, 200},
    {"fault", bench_fault, 4096},
    {"open", bench_open, 5000},
    {"stat", bench_stat, 5000},
    {"epoll", bench_epoll, 5000},
    {"create", bench_create, 2000},
    {"signal", bench_signal, 5000},
};

static void run(const struct benchmark *benchmark, unsigned count)
{
    benchmark->run(count / 10 + 1);
    usleep(SETTLE_US);
    benchmark->run(count);
    printf("%s %u %llu %llu\n", benchmark->name, count, measured_ns, measured_ns / count);
    fflush(stdout);
}

static void enter_work_directory(void)
{
    snprintf(work_directory, sizeof(work_directory), "/tmp/bench.%d", (int)getpid());
    require(mkdir(work_directory, 0755) == 0 && chdir(work_directory) == 0, "mkdir in /tmp");
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0) {
        return 9;
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < ARRAY_SIZE(benchmarks); i++) {
            puts(benchmarks[i].name);
        }
        return 0;
    }
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (argc < 2 || argc > 3 || count < 0 || count > 100000000 || (argc == 3 && count == 0)) {
        fprintf(stderr, "usage: bench --list | all | NAME [COUNT]\n");
        return 2;
    }
    enter_work_directory();
    bool all = strcmp(argv[1], "all") == 0, found = false;
    for (size_t i = 0; i < ARRAY_SIZE(benchmarks); i++) {
        if (all || strcmp(argv[1], benchmarks[i].name) == 0) {
            run(&benchmarks[i], count != 0 ? (unsigned)count : benchmarks[i].count);
            found = true;
        }
    }
    unlink("file");
    require(chdir("/") == 0 && rmdir(work_directory) == 0, "clean-up");
    if (!found) {
        fprintf(stderr, "bench: there is no benchmark %s; see bench --list\n", argv[1]);
        return 2;
    }
    return 0;
}
