// SPDX-License-Identifier: MIT
//
// A kernel that returns success without doing the work, for the benchmarks to notice.
//
//   liar BENCH [NAME...]     BENCH: out/host/guest/bench, which runs on the host as well; BENCH_DISK
//                            names a file that is the disk of the benchmarks that have one
//
// Each benchmark runs under ptrace. First honestly, twice, with different counts: the system calls
// whose number grows with the count are what it measures. Then once for each of those: from the
// moment on at which the benchmark has warmed up, that call is not made any more, by none of its
// processes, but returns what it returned the last time it was made. The benchmark must not print
// `verified`; to fail, to crash and to hang are all right.
//
// A benchmark without such calls measures the vDSO, or faults. The vDSO is hidden then, so that its
// functions become calls, and those lie, or mmap does.
//
// What a lie cannot be told from the truth by any program is not tried: see `undetectable` and
// `not_meant`.
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS_MAX     512
#define PROCESSES_MAX 4096
#define OUTPUT_MAX    65536
// A benchmark that hangs because of a lie has noticed it.
#define HANG_S 2
// Without lies nothing hangs, but tracing is slow.
#define PATIENCE_S  30
#define SETTLE_NS   50000000 // of guests/bench/main.c: the end of the warming up
#define COUNT_SMALL 40
#define COUNT_LARGE 500
#define NO_LIE      (-1)

struct run {
    int lie; // number of the call that lies, or NO_LIE
    bool hide_vdso;
    unsigned long counts[CALLS_MAX]; // calls after the warming up
    unsigned lies;                   // told
    char output[OUTPUT_MAX];
    size_t len_bytes;
    bool hung;
};

// One traced process or thread.
struct tracee {
    pid_t pid;
    bool inside; // a call has been entered
    bool lying;
    int call;
};

static struct tracee tracees[PROCESSES_MAX];
static size_t tracee_count;
// Everybody that a run has had: a benchmark that a lie has stopped leaves its folder behind, and
// process ids come again.
static pid_t seen[PROCESSES_MAX];
static size_t seen_count;
static bool warmed_up;
static long last_result[CALLS_MAX];

// Returning at once from these is allowed to any kernel, or makes no difference that a program
// could see, or they are the C library's own.
static const int undetectable[] = {SYS_rt_sigprocmask, SYS_exit, SYS_exit_group,
    SYS_set_robust_list, SYS_set_tid_address, SYS_gettid, SYS_sched_getaffinity, SYS_sync,
    SYS_syncfs, SYS_fsync, SYS_fdatasync};

// Calls that are not what the benchmark measures, or that cannot be judged under ptrace.
static const struct {
    const char *name;
    int call;
} not_meant[] = {
    {"malloc", SYS_munmap},  // what the C library gives back is its affair,
    {"malloc", SYS_brk},     // and where it takes memory from,
    {"malloc", SYS_madvise}, // and advice need not be taken
    {"munmap", SYS_madvise},
    {"nanosleep", SYS_clock_nanosleep}, // being traced takes longer than the sleep
    {"readdir", SYS_fcntl},             // musl closes on exec once more what it opened so
    {"realtime-latency", SYS_munmap},   // the load
    {"realtime-latency", SYS_read},     // the load
    {"spawn", SYS_fcntl},               // the C library's pipe for exec's error
    {"spawn", SYS_pipe2}, {"spawn", SYS_read}, {"yield", SYS_sched_yield},
    {"switch", SYS_sched_yield},    // being traced lets the other one run, too
    {"wake-remote", SYS_nanosleep}, // time for the other thread to fall asleep
};

// Without a vDSO or another call for each operation, only these can be what is measured.
static const int hidden[] = {SYS_clock_gettime, SYS_mmap, SYS_mremap, SYS_brk};

static bool contains(const int *calls, size_t count, int call)
{
    for (size_t i = 0; i < count; i++) {
        if (calls[i] == call) {
            return true;
        }
    }
    return false;
}

static bool is_meant(const char *name, int call, bool hide)
{
    for (size_t i = 0; i < sizeof(not_meant) / sizeof(not_meant[0]); i++) {
        if (not_meant[i].call == call && strcmp(not_meant[i].name, name) == 0) {
            return false;
        }
    }
    return hide ? contains(hidden, sizeof(hidden) / sizeof(hidden[0]), call)
                : !contains(undetectable, sizeof(undetectable) / sizeof(undetectable[0]), call);
}

static struct tracee *tracee_of(pid_t pid)
{
    for (size_t i = 0; i < tracee_count; i++) {
        if (tracees[i].pid == pid) {
            return &tracees[i];
        }
    }
    if (tracee_count == PROCESSES_MAX) {
        return NULL;
    }
    if (seen_count < PROCESSES_MAX) {
        seen[seen_count++] = pid;
    }
    tracees[tracee_count] = (struct tracee){.pid = pid};
    return &tracees[tracee_count++];
}

static void forget(pid_t pid)
{
    for (size_t i = 0; i < tracee_count; i++) {
        if (tracees[i].pid == pid) {
            tracees[i] = tracees[--tracee_count];
            return;
        }
    }
}

// Takes the vDSO out of the auxiliary vector of a program that has just been started.
static void hide_vdso(pid_t pid, uint64_t stack)
{
    uint64_t place = stack + 8 * (1 + (uint64_t)ptrace(PTRACE_PEEKDATA, pid, stack, 0) + 1);
    while (ptrace(PTRACE_PEEKDATA, pid, place, 0) != 0) {
        place += 8;
    }
    for (place += 8; ptrace(PTRACE_PEEKDATA, pid, place, 0) != AT_NULL; place += 16) {
        if (ptrace(PTRACE_PEEKDATA, pid, place, 0) == AT_SYSINFO_EHDR) {
            ptrace(PTRACE_POKEDATA, pid, place, AT_IGNORE);
        }
    }
}

static bool is_settling(pid_t pid, const struct user_regs_struct *registers)
{
    int call = (int)registers->orig_rax;
    uint64_t address = call == SYS_nanosleep         ? registers->rdi
                       : call == SYS_clock_nanosleep ? registers->rdx
                                                     : 0;
    return address != 0 && ptrace(PTRACE_PEEKDATA, pid, address, 0) == 0 &&
           ptrace(PTRACE_PEEKDATA, pid, address + 8, 0) == SETTLE_NS;
}

// Waiting may end without a reason.
static bool is_wait(const struct user_regs_struct *registers)
{
    int operation = (int)registers->rsi & FUTEX_CMD_MASK;
    return registers->orig_rax == SYS_futex &&
           (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET);
}

// What the benchmark prints must get out, whatever lies.
static bool is_print(const struct user_regs_struct *registers)
{
    return (registers->orig_rax == SYS_write || registers->orig_rax == SYS_writev) &&
           registers->rdi == STDOUT_FILENO;
}

static void enter_call(struct run *run, struct tracee *tracee)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, tracee->pid, 0, &registers) != 0) {
        return;
    }
    int call = (int)registers.orig_rax;
    tracee->inside = true;
    tracee->call = call >= 0 && call < CALLS_MAX ? call : 0;
    if (is_settling(tracee->pid, &registers)) {
        warmed_up = true;
        return;
    }
    if (!warmed_up || is_print(&registers) || is_wait(&registers)) {
        return;
    }
    run->counts[tracee->call]++;
    if (tracee->call == run->lie) {
        tracee->lying = true;
        run->lies++;
        registers.orig_rax = (unsigned long long)-1;
        ptrace(PTRACE_SETREGS, tracee->pid, 0, &registers);
    }
}

static void leave_call(struct tracee *tracee)
{
    struct user_regs_struct registers;
    tracee->inside = false;
    if (ptrace(PTRACE_GETREGS, tracee->pid, 0, &registers) != 0) {
        return;
    }
    if (tracee->lying) {
        bool pure = tracee->call == SYS_getppid || tracee->call == SYS_getpid;
        registers.rax = pure ? 0 : (unsigned long long)last_result[tracee->call];
        tracee->lying = false;
        ptrace(PTRACE_SETREGS, tracee->pid, 0, &registers);
    } else if ((long)registers.rax >= 0) {
        last_result[tracee->call] = (long)registers.rax;
    }
}

static void on_stop(struct run *run, pid_t pid, int status)
{
    struct tracee *tracee = tracee_of(pid);
    int signal = WSTOPSIG(status), event = status >> 16, passed = 0;
    if (tracee == NULL) {
        return;
    }
    if (signal == (SIGTRAP | 0x80)) {
        if (tracee->inside) {
            leave_call(tracee);
        } else {
            enter_call(run, tracee);
        }
    } else if (event == PTRACE_EVENT_EXEC) {
        struct user_regs_struct registers;
        if (run->hide_vdso && ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) {
            hide_vdso(pid, registers.rsp);
        }
    } else if (event == 0 && signal != SIGTRAP && signal != SIGSTOP) {
        passed = signal;
    }
    ptrace(PTRACE_SYSCALL, pid, 0, passed);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

// The folders of guests/bench/main.c.
static void remove_folders(void)
{
    for (size_t i = 0; i < seen_count; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/tmp/bench.%d", (int)seen[i]);
        if (access(path, F_OK) == 0) {
            nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        }
    }
    seen_count = 0;
}

// A process that was being forked when its parent was killed is not among the tracees: it shows
// up only now, stopped, and would stay so for ever.
static void kill_all_until_gone(void)
{
    pid_t pid;
    int status;
    for (size_t i = 0; i < tracee_count; i++) {
        kill(tracees[i].pid, SIGKILL);
    }
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status)) {
            kill(pid, SIGKILL);
        }
    }
}

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void take_output(struct run *run, int fd)
{
    ssize_t got;
    while (run->len_bytes < OUTPUT_MAX - 1 &&
           (got = read(fd, run->output + run->len_bytes, OUTPUT_MAX - 1 - run->len_bytes)) > 0) {
        run->len_bytes += (size_t)got;
    }
}

[[noreturn]] static void become_bench(char *const *command, int output)
{
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDERR_FILENO);
    dup2(output, STDOUT_FILENO);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execv(command[0], command);
    _exit(127);
}

// Runs the benchmark to its end, or until it hangs.
static void trace(struct run *run, const char *bench, const char *name, unsigned count)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", count);
    char *command[] = {(char *)bench, (char *)name, "--count", text, NULL};
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        perror("pipe");
        exit(1);
    }
    tracee_count = 0;
    warmed_up = false;
    memset(last_result, 0, sizeof(last_result));
    pid_t child = fork();
    if (child == 0) {
        become_bench(command, ends[1]);
    }
    close(ends[1]);
    waitpid(child, &status, 0);
    tracee_of(child);
    ptrace(PTRACE_SETOPTIONS, child, 0,
        PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
            PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, child, 0, 0);
    double deadline_s = now_s() + (run->lie == NO_LIE ? PATIENCE_S : HANG_S);
    while (tracee_count > 0) {
        pid_t pid = waitpid(-1, &status, __WALL | WNOHANG);
        if (pid < 0 && errno != EINTR) {
            break;
        }
        if (pid > 0 && WIFSTOPPED(status)) {
            on_stop(run, pid, status);
        } else if (pid > 0) {
            forget(pid);
            if (pid == child) {
                break; // its output is complete
            }
        } else {
            struct timespec moment = {.tv_nsec = 50000};
            nanosleep(&moment, NULL);
        }
        take_output(run, ends[0]);
        if (now_s() > deadline_s) {
            run->hung = true;
            break;
        }
    }
    kill_all_until_gone();
    take_output(run, ends[0]);
    run->output[run->len_bytes] = '\0';
    close(ends[0]);
    remove_folders();
}

static bool is_verified(const struct run *run, const char *name)
{
    char mark[128];
    snprintf(mark, sizeof(mark), "=bench %s verified", name);
    return strstr(run->output, mark) != NULL;
}

static struct run *new_run(int lie, bool hide)
{
    struct run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        exit(1);
    }
    run->lie = lie;
    run->hide_vdso = hide;
    return run;
}

struct verdicts {
    unsigned benches, lies, missed, skipped;
};

static void try_lie(
    struct verdicts *verdicts, const char *bench, const char *name, int call, bool hide)
{
    struct run *run = new_run(call, hide);
    trace(run, bench, name, COUNT_LARGE);
    verdicts->lies++;
    if (run->lies > 0 && is_verified(run, name)) {
        verdicts->missed++;
        printf("%s did not notice that call %d (%u times) was not made\n", name, call, run->lies);
    }
    free(run);
}

// Tries all calls that become more by `least` for each operation. Returns how many.
static unsigned try_calls(struct verdicts *verdicts, const char *bench, const char *name,
    const struct run *small, const struct run *large, double least, bool hide)
{
    unsigned tried = 0;
    for (int call = 0; call < CALLS_MAX; call++) {
        if (large->counts[call] == 0) {
            continue;
        }
        double growth = ((double)large->counts[call] - (double)small->counts[call]) /
                        (COUNT_LARGE - COUNT_SMALL);
        if (growth > least && is_meant(name, call, hide)) {
            try_lie(verdicts, bench, name, call, hide);
            tried++;
        }
    }
    return tried;
}

// Which calls a benchmark measures, looked for in turns: by how many for each operation they must
// become more.
static const struct {
    double least;
    bool hide_vdso;
} ways[] = {
    {0.5, false},
    {0.02, false}, // one call for many operations
    {-1, true},
};

static void try_bench(struct verdicts *verdicts, const char *bench, const char *name)
{
    unsigned tried = 0;
    verdicts->benches++;
    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]) && tried == 0; way++) {
        bool hide = ways[way].hide_vdso;
        struct run *small = new_run(NO_LIE, hide), *large = new_run(NO_LIE, hide);
        trace(small, bench, name, COUNT_SMALL);
        trace(large, bench, name, COUNT_LARGE);
        if (!is_verified(small, name) || !is_verified(large, name)) {
            // Its needs (a disk, CPUs, permissions) are not met on this host.
            printf("%s does not run here: %s\n", name,
                large->hung ? "it takes too long" : large->output);
            verdicts->skipped++;
            tried = 1;
        } else {
            tried = try_calls(verdicts, bench, name, small, large, ways[way].least, hide);
        }
        free(small);
        free(large);
    }
    if (tried == 0) {
        printf("%s makes no system calls that could lie\n", name);
        verdicts->skipped++;
    }
    fflush(stdout);
}

static void try_all(struct verdicts *verdicts, const char *bench)
{
    char *command, line[512], name[128];
    if (asprintf(&command, "%s --describe", bench) < 0) {
        exit(1);
    }
    FILE *list = popen(command, "r");
    char *names[1024];
    size_t count = 0;
    while (list != NULL && fgets(line, sizeof(line), list) != NULL) {
        if (sscanf(line, "benchmark %127s", name) == 1 && count < 1024) {
            names[count++] = strdup(name);
        }
    }
    if (list != NULL) {
        pclose(list);
    }
    for (size_t i = 0; i < count; i++) {
        try_bench(verdicts, bench, names[i]);
    }
    free(command);
}

int main(int argc, char **argv)
{
    struct verdicts verdicts = {};
    if (argc < 2) {
        fputs("usage: liar BENCH [NAME...]\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        try_bench(&verdicts, argv[1], argv[i]);
    }
    if (argc == 2) {
        try_all(&verdicts, argv[1]);
    }
    printf("%u benchmarks, %u lies, %u not noticed, %u not tried\n", verdicts.benches,
        verdicts.lies, verdicts.missed, verdicts.skipped);
    return verdicts.missed > 0 || verdicts.lies == 0;
}
