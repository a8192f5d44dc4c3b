// SPDX-License-Identifier: MIT
//
// The program of all micro benchmarks: finds them, describes them, runs one, prints its figures.
//
//   bench --describe                            what there is (README.md)
//   bench NAME [--count N] [--rounds N] [--disk DEVICE]
//                                               runs one; BENCH_DISK names the disk as well
//   bench --time NAME OPERATIONS [--log FILE] COMMAND...
//                                               takes the time of a command, for macro benchmarks
//   bench --judge NAME LOG                      says why a program of a macro benchmark did not run
//   bench --nothing                             ends with code 9: what exec benchmarks start
//
// A round runs in a process of its own, so that one which hangs or crashes takes nothing along, and
// no round inherits descriptors or memory from another.
#include "guests/bench/bench.h"
#include "guests/bench/judge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What the kernel put off while the benchmark was prepared (RCU callbacks, freeing) is done in this
// time.
#define SETTLE_US 50000

// So much more memory may be mapped after a round than after the warming up, for C libraries keep
// some, and so many more descriptors be open; whoever maps and unmaps for each operation and is not
// obeyed exceeds it.
#define LEAK_PAGES       1024
#define LEAK_DESCRIPTORS 450

// Buckets of the histogram: eight for each power of two, so that a bucket is at most 12.5 % wide.
#define BUCKETS_PER_OCTAVE 8
#define OCTAVES            40
#define BUCKETS            (OCTAVES * BUCKETS_PER_OCTAVE)

extern const struct benchmark *const __start_benchmarks[];
extern const struct benchmark *const __stop_benchmarks[];

static const struct benchmark *current;
static uint64_t started_ns, measured_ns;
static uint64_t buckets[BUCKETS];
static double value;
static bool has_value;
static pid_t parent; // of the round's process
// BENCH_PLANT: by how much everything is made slower, for tests of what measures.
static unsigned planted_percent;

uint64_t bench_now_ns(void)
{
    struct timespec time = {};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void bench_start(void)
{
    started_ns = bench_now_ns();
}

void bench_stop(void)
{
    uint64_t duration_ns = bench_now_ns() - started_ns;
    uint64_t until_ns = started_ns + duration_ns + duration_ns * planted_percent / 100;
    while (planted_percent > 0 && bench_now_ns() < until_ns) {
    }
    bench_add(bench_now_ns() - started_ns);
}

void bench_add(uint64_t duration_ns)
{
    measured_ns += duration_ns;
}

// Below BUCKETS_PER_OCTAVE each number has its own bucket.
static unsigned bucket_of(uint64_t duration_ns)
{
    if (duration_ns < BUCKETS_PER_OCTAVE) {
        return (unsigned)duration_ns;
    }
    unsigned octave = 60u - (unsigned)__builtin_clzll(duration_ns); // 8..15 is the first
    unsigned step = (unsigned)(duration_ns >> octave) & (BUCKETS_PER_OCTAVE - 1);
    unsigned bucket = (octave + 1) * BUCKETS_PER_OCTAVE + step;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t bucket_low_ns(unsigned bucket)
{
    if (bucket < BUCKETS_PER_OCTAVE) {
        return bucket;
    }
    unsigned octave = bucket / BUCKETS_PER_OCTAVE - 1;
    return (uint64_t)(BUCKETS_PER_OCTAVE + bucket % BUCKETS_PER_OCTAVE) << octave;
}

void bench_latency(uint64_t duration_ns)
{
    buckets[bucket_of(duration_ns)]++;
}

void bench_value(double new_value)
{
    value = new_value;
    has_value = true;
}

unsigned bench_workers(void)
{
    const char *text = getenv("BENCH_WORKERS");
    cpu_set_t set;
    long workers = text != NULL ? strtol(text, NULL, 10) : 0;
    if (workers <= 0 && sched_getaffinity(0, sizeof(set), &set) == 0) {
        workers = CPU_COUNT(&set);
    }
    return workers > 0 ? (unsigned)workers : 1;
}

const char *bench_disk(void)
{
    const char *path = getenv("BENCH_DISK");
    if (path == NULL) {
        errno = ENODEV;
        bench_unsupported("a disk");
    }
    return path;
}

// Ends the round with a line of its own. Children of a benchmark may call it as well.
[[noreturn]] static void end_round(const char *how, const char *what)
{
    dprintf(STDOUT_FILENO, "=bench %s %s %s: %s\n", current->name, how, what, strerror(errno));
    _exit(1);
}

void bench_fail(const char *what)
{
    end_round("failed", what);
}

void bench_require(bool holds, const char *what)
{
    if (!holds) {
        bench_fail(what);
    }
}

void bench_unsupported(const char *what)
{
    end_round("unsupported", what);
}

pid_t bench_parent(void)
{
    return parent;
}

// The lowest number that no descriptor has.
static int free_descriptor(void)
{
    int file = open("/", O_RDONLY | O_DIRECTORY);
    bench_require(file >= 0 && close(file) == 0, "open of the root");
    return file;
}

static unsigned long mapped_pages(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    bench_require(file != NULL && fscanf(file, "%lu", &pages) == 1, "/proc/self/statm");
    fclose(file);
    return pages;
}

static void print_latencies(void)
{
    bool any = false;
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (buckets[i] != 0) {
            if (!any) {
                printf("=bench %s latency", current->name);
            }
            any = true;
            printf(
                " %llu:%llu", (unsigned long long)bucket_low_ns(i), (unsigned long long)buckets[i]);
        }
    }
    if (any) {
        putchar('\n');
    }
}

static void print_round(unsigned count)
{
    if (has_value) {
        printf("=bench %s value %.9g\n", current->name, value);
    } else if (current->unit == NULL) {
        printf("=bench %s round %u %llu\n", current->name, count, (unsigned long long)measured_ns);
    }
    print_latencies();
    printf("=bench %s verified\n", current->name);
    fflush(stdout);
}

static void run_once(unsigned count)
{
    measured_ns = 0;
    has_value = false;
    memset(buckets, 0, sizeof(buckets));
    current->run(count);
}

// Removes what is in `path`, and the folder itself.
static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char name[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (unlink(name) != 0) {
            remove_folder(name);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    rmdir(path);
}

static void enter_work_folder(char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "/tmp/bench.%d", (int)getpid());
    if (mkdir(path, 0755) != 0 || chdir(path) != 0) {
        bench_fail("mkdir in /tmp");
    }
}

// The first round's process warms up for itself; the ones after it inherit warm caches of the
// kernel but also new memory, so each does.
static int run_round(unsigned count)
{
    fflush(stdout);
    parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        char folder[64];
        enter_work_folder(folder, sizeof(folder));
        run_once(count / 10 + 1);
        int descriptor = free_descriptor();
        unsigned long pages = mapped_pages();
        usleep(SETTLE_US);
        run_once(count);
        errno = 0;
        bench_require(has_value || measured_ns > 0, "passing of time");
        bench_require(free_descriptor() < descriptor + LEAK_DESCRIPTORS, "closing of descriptors");
        bench_require(mapped_pages() < pages + LEAK_PAGES, "unmapping of memory");
        print_round(count);
        if (chdir("/") == 0) {
            remove_folder(folder);
        }
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        bench_fail("a process for the round");
    }
    if (WIFSIGNALED(status)) {
        printf("=bench %s failed signal %d\n", current->name, WTERMSIG(status));
        return 1;
    }
    return WEXITSTATUS(status);
}

static void describe_text(const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        printf("%s %s\n", key, text);
    }
}

static void describe_number(const char *key, unsigned number)
{
    if (number != 0) {
        printf("%s %u\n", key, number);
    }
}

static void describe(const struct benchmark *benchmark)
{
    describe_text("benchmark", benchmark->name);
    describe_text("kind", "micro");
    describe_text("group", benchmark->group);
    describe_text("what", benchmark->what);
    describe_text("omits", benchmark->omits);
    describe_text("unit", benchmark->unit);
    describe_text("better", benchmark->more_is_better ? "more" : NULL);
    describe_number("count", benchmark->count);
    describe_number("cpus", benchmark->cpus);
    describe_text("memory", benchmark->memory);
    describe_text("disk", benchmark->disk);
    describe_text("counts", benchmark->no_counts ? "no" : NULL);
    describe_text("latency", benchmark->latency ? "yes" : NULL);
    describe_text("scales", benchmark->scales ? "yes" : NULL);
    describe_number("timeout", benchmark->timeout_s);
    putchar('\n');
}

static const struct benchmark *find(const char *name)
{
    for (const struct benchmark *const *entry = __start_benchmarks; entry < __stop_benchmarks;
        entry++) {
        if (strcmp((*entry)->name, name) == 0) {
            return *entry;
        }
    }
    return NULL;
}

// The command did not do it: its output, where there is a log, tells why.
static int end_time(const char *name, const char *log, int code, const char *format, ...)
{
    if (log != NULL) {
        judge(name, log);
        return code;
    }
    va_list arguments;
    va_start(arguments, format);
    printf("=bench %s failed ", name);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    return code;
}

static int time_command(const char *name, const char *operations, char **command)
{
    const char *log = NULL;
    if (strcmp(command[0], "--log") == 0 && command[1] != NULL && command[2] != NULL) {
        log = command[1];
        command += 2;
    }
    uint64_t start_ns = bench_now_ns();
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        fprintf(stderr, "bench: cannot run %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return end_time(name, NULL, 1, "%s: %s", command[0], strerror(errno));
    }
    uint64_t duration_ns = bench_now_ns() - start_ns;
    if (WIFSIGNALED(status)) {
        int signal = WTERMSIG(status);
        return end_time(name, log, 128 + signal, "%s: signal %d", command[0], signal);
    }
    if (WEXITSTATUS(status) != 0) {
        int code = WEXITSTATUS(status);
        return end_time(name, log, code, "%s: exit code %d", command[0], code);
    }
    printf("=bench %s round %s %llu\n", name, operations, (unsigned long long)duration_ns);
    return 0;
}

static int usage(void)
{
    fputs("usage: bench --describe | NAME [--count N] [--rounds N] [--disk DEVICE] |"
          " --time NAME OPERATIONS [--log FILE] COMMAND... | --judge NAME LOG\n",
        stderr);
    return 2;
}

static int run_named(int argc, char **argv)
{
    current = find(argv[1]);
    if (current == NULL) {
        fprintf(stderr, "bench: there is no benchmark %s; see bench --describe\n", argv[1]);
        return 2;
    }
    long count = current->count, rounds = 1;
    const char *planted = getenv("BENCH_PLANT");
    planted_percent = planted != NULL ? (unsigned)strtoul(planted, NULL, 10) : 0;
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--disk") == 0 && i + 1 < argc) {
            setenv("BENCH_DISK", argv[i + 1], 1);
            continue;
        }
        bool is_count = strcmp(argv[i], "--count") == 0;
        long number = i + 1 < argc ? strtol(argv[i + 1], NULL, 10) : 0;
        if (number <= 0 || number > 100000000 || (!is_count && strcmp(argv[i], "--rounds") != 0)) {
            return usage();
        }
        *(is_count ? &count : &rounds) = number;
    }
    int code = 0;
    for (long round = 0; round < rounds && code == 0; round++) {
        code = run_round((unsigned)count);
    }
    return code;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--nothing") == 0) {
        return 9;
    }
    if (argc == 2 && strcmp(argv[1], "--describe") == 0) {
        for (const struct benchmark *const *entry = __start_benchmarks; entry < __stop_benchmarks;
            entry++) {
            describe(*entry);
        }
        return 0;
    }
    if (argc > 4 && strcmp(argv[1], "--time") == 0) {
        return time_command(argv[2], argv[3], argv + 4);
    }
    if (argc == 4 && strcmp(argv[1], "--judge") == 0) {
        return judge(argv[2], argv[3]);
    }
    return argc > 1 && argv[1][0] != '-' ? run_named(argc, argv) : usage();
}
