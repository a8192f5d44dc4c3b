// SPDX-License-Identifier: MIT
//
// Claim: a program that passes wild numbers, pointers, lengths and descriptors to every system call
// harms nobody but itself.
// Method: children with limits, no privileges and a time limit make random calls from a seed that
// is printed on failure; the parent checks after each that it can still fork, write files and tell
// the time. Not called: what would rightly stop the machine or the test runner (reboot, and signals
// to everybody).
#include "tests/guest/stress/stress.h"
#include <grp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

enum { CALLS_A_CHILD = 400, LAST_CALL = 460 };

static char *area; // a page that may be used, one that is read-only, one that is not there
static int files[16];
static int file_count;

static uint64_t argument(uint64_t *state)
{
    static const uint64_t odd[] = {0, 1, 2, 3, 7, 8, 63, 64, 4095, 4096, 4097, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000, 0x7ffffffff000,
        0x7fffffffffffffff, 0x8000000000000000, 0xffff800000000000, 0xffffffff80000000,
        0xffffffffffffffff, 0xfffffffffffff000, 0xffffffffffffff9c};
    switch (stress_random(state, 8)) {
    case 0:
        return odd[stress_random(state, ARRAY_SIZE(odd))];
    case 1:
        return (uint64_t)(uintptr_t)area + stress_random(state, 3 * 4096);
    case 2:
        return (uint64_t)(uintptr_t)area + stress_random(state, 512) * 8;
    case 3:
        return (uint64_t)(uintptr_t)area + 4096 - stress_random(state, 64);
    case 4:
        return (uint64_t)files[stress_random(state, (unsigned)file_count)];
    case 5:
        return stress_random(state, 16);
    case 6:
        return 1ull << stress_random(state, 64);
    default:
        return ((uint64_t)stress_random(state, UINT32_MAX) << 32) |
               stress_random(state, UINT32_MAX);
    }
}

static bool is_excluded(unsigned number)
{
    switch (number) {
    case SYS_reboot:
    case SYS_kexec_load:
    case 320:      // kexec_file_load
    case SYS_kill: // with -1 it would reach everybody of the same user
    case SYS_vhangup:
    case SYS_exit:
    case SYS_exit_group:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_clone: // children of wild clones would be nobody's
    case SYS_clone3:
    case SYS_fork:
    case SYS_vfork:
    case SYS_execve: // would end the child early
    case SYS_execveat:
    case SYS_rt_sigreturn:
    case SYS_setsid:
    case SYS_setpgid:
        return true;
    default:
        return false;
    }
}

// Something plausible to point at: paths, vectors, small numbers, pointers.
static void fill_area(uint64_t *state)
{
    for (int i = 0; i < 512; i++) {
        uint64_t *words = (uint64_t *)(uintptr_t)area;
        words[i] = stress_random(state, 3) == 0 ? argument(state) : stress_random(state, 64);
    }
    static const char *const paths[] = {"file", "directory", "/proc/self/stat", "/dev/null", "..",
        "", "/", "link", "fifo", "/dev/tty", "directory/x", "/proc/self/fd/0", "missing"};
    for (int i = 0; i < 16; i++) {
        strcpy(
            area + stress_random(state, 60) * 64, paths[stress_random(state, ARRAY_SIZE(paths))]);
    }
}

static void open_things(void)
{
    int ends[2];
    file_count = 0;
    files[file_count++] = open("file", O_RDWR | O_CREAT, 0644);
    files[file_count++] = open(".", O_RDONLY | O_DIRECTORY);
    if (pipe2(ends, O_NONBLOCK) == 0) {
        files[file_count++] = ends[0];
        files[file_count++] = ends[1];
    }
    files[file_count++] = eventfd(1, EFD_NONBLOCK);
    files[file_count++] = epoll_create1(0);
    files[file_count++] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    files[file_count++] = open("/dev/zero", O_RDWR);
    files[file_count++] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    files[file_count++] = open("/proc/self/maps", O_RDONLY);
    files[file_count++] = memfd_create("m", 0);
    files[file_count++] = open("file", O_PATH);
    files[file_count++] = -1;
    files[file_count++] = 999;
}

static void limit(int resource, rlim_t value)
{
    struct rlimit limits = {value, value};
    setrlimit(resource, &limits);
}

static void fuzz(uint64_t seed, bool as_root)
{
    uint64_t state = seed;
    int null = open("/dev/null", O_RDWR);

    // What it prints (dmesg, write to 1) must not be seen.
    for (int i = 0; i < 3; i++) {
        dup2(null, i);
    }
    setpgid(0, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 1 << 20);
    limit(RLIMIT_AS, 256 << 20);
    limit(RLIMIT_CPU, 5);
    area = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + 4096, 4096, PROT_READ);
    open_things();
    if (!as_root) {
        if (setgroups(0, NULL) != 0 || setresgid(1000, 1000, 1000) != 0 ||
            setresuid(1000, 1000, 1000) != 0) {
            _exit(9);
        }
        limit(RLIMIT_NPROC, 50);
    }
    for (int i = 0; i < CALLS_A_CHILD; i++) {
        unsigned number = stress_random(&state, LAST_CALL);
        if (stress_random(&state, 50) == 0) {
            number = stress_random(&state, UINT32_MAX);
        }
        if (i % 20 == 0) {
            fill_area(&state);
        }
        uint64_t a[6];
        for (int k = 0; k < 6; k++) {
            a[k] = argument(&state);
        }
        if (is_excluded(number) ||
            (number == SYS_tgkill || number == SYS_tkill || number == SYS_rt_sigqueueinfo ||
                number == SYS_prctl) ||
            (as_root && (number == SYS_mount || number == SYS_umount2 || number == SYS_chroot ||
                            number == SYS_sethostname || number == SYS_settimeofday ||
                            number == SYS_clock_settime || number == SYS_pivot_root ||
                            number == SYS_unlink || number == SYS_rename || number == SYS_rmdir ||
                            number == SYS_iopl || number == SYS_ioperm || number == SYS_syslog ||
                            number == SYS_setdomainname || number == SYS_swapon ||
                            number == SYS_init_module || number == SYS_setpriority ||
                            number == SYS_sched_setscheduler || number == SYS_sched_setattr ||
                            number == SYS_prlimit64 || number == SYS_adjtimex ||
                            number == SYS_clock_adjtime || number == SYS_acct))) {
            continue;
        }
        alarm(2); // for those that sleep; a handler-less SIGALRM would end the child, so:
        syscall((long)number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    _exit(0);
}

static void on_alarm(int number)
{
    (void)number;
}

int main(int argc, char **argv)
{
    stress_start(argc, argv);
    uint64_t seed = stress_seed;
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    MUST(chmod(".", 0777));
    MUST(mkdir("directory", 0777));
    MUST(symlink("file", "link"));
    MUST(mkfifo("fifo", 0666));
    put_file("file", "contents", 0666);
    MUST(chmod("file", 0666));
    put_file("witness", "untouched", 0644);

    while (stress_goes_on() && check_failures == 0) {
        pid_t child = fork();
        if (child == 0) {
            fuzz(seed, seed % 4 == 3);
        }
        setpgid(child, child);
        // It ends by itself, by a signal, or by our patience.
        int status = 0;
        uint64_t patience_ns = now_ns() + 4000000000u;
        while (waitpid(child, &status, WNOHANG) == 0) {
            if (now_ns() > patience_ns) {
                kill(-child, SIGKILL);
                kill(child, SIGKILL);
                waitpid(child, &status, 0);
                break;
            }
            usleep(2000);
        }
        kill(-child, SIGKILL);
        // All is well here?
        bool right = strcmp(get_file("witness"), "untouched") == 0;
        int ends[2];
        char byte = 0;
        right &= pipe(ends) == 0 && write(ends[1], "x", 1) == 1 && read(ends[0], &byte, 1) == 1;
        close(ends[0]);
        close(ends[1]);
        right &= now_ns() > 0 && byte == 'x';
        pid_t probe = fork();
        if (probe == 0) {
            _exit(42);
        }
        right &= waitpid(probe, &status, 0) == probe && WEXITSTATUS(status) == 42;
        if (!right) {
            note("FAIL: something is wrong after seed %llu", (unsigned long long)seed);
            check_failures++;
        }
        seed++;
    }
    CHECK_EQ(check_failures, 0);
    return check_done();
}
