// SPDX-License-Identifier: MIT
//
// Claim: a program that passes wild numbers, pointers, lengths and descriptors to every system call
// harms nobody but itself.
// Method: children with limits, no privileges and a time limit make random calls from a seed that
// is printed on failure, every other one from three threads at once; the parent checks after each
// that it can still fork, write files and tell the time. Not called: what would rightly stop the
// machine or the test runner, or hide the children from it. What only root may do to the whole
// system (mounts, clocks, names, other processes) is left to the children without privileges.
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

// Calls that are never made.
static bool is_excluded(unsigned number)
{
    switch (number) {
    case SYS_reboot:
    case SYS_kexec_load:
    case 320: // kexec_file_load
    case SYS_vhangup:
    case SYS_exit:
    case SYS_exit_group:
    case SYS_pause: // nothing but a wait for the alarm
    case SYS_rt_sigsuspend:
        return true;
    default:
        return false;
    }
}

// Calls which root's children do not make, as they would rightly change the whole system.
static bool is_for_users_only(unsigned number)
{
    static const unsigned numbers[] = {SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo,
        SYS_rt_tgsigqueueinfo, 424 /* pidfd_send_signal */, SYS_prctl, SYS_mount, SYS_umount2,
        SYS_chroot, SYS_pivot_root, SYS_sethostname, SYS_setdomainname, SYS_settimeofday,
        SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_unlink, SYS_unlinkat, SYS_rename,
        SYS_renameat, SYS_renameat2, SYS_rmdir, SYS_iopl, SYS_ioperm, SYS_syslog, SYS_swapon,
        SYS_init_module, SYS_acct, SYS_setpriority, SYS_sched_setscheduler, SYS_sched_setparam,
        SYS_sched_setattr, SYS_prlimit64, SYS_setrlimit, SYS_fork, SYS_vfork, SYS_clone, SYS_clone3,
        SYS_setsid, SYS_setpgid, SYS_process_vm_writev, 428 /* open_tree */, 429 /* move_mount */,
        430 /* fsopen */, SYS_truncate, SYS_chmod, SYS_fchmodat, SYS_chown, SYS_lchown,
        SYS_fchownat};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (numbers[i] == number) {
            return true;
        }
    }
    return false;
}

static bool makes_children(unsigned number)
{
    return number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3;
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

struct worker {
    uint64_t state;
    bool as_root;
};

static void *make_calls(void *argument_of_thread)
{
    struct worker *worker = argument_of_thread;
    uint64_t *state = &worker->state;

    for (int i = 0; i < CALLS_A_CHILD; i++) {
        unsigned number = stress_random(state, LAST_CALL);
        if (stress_random(state, 50) == 0) {
            number = stress_random(state, UINT32_MAX);
        }
        if (i % 20 == 0) {
            fill_area(state);
        }
        uint64_t a[6];
        for (int k = 0; k < 6; k++) {
            a[k] = argument(state);
        }
        if (is_excluded(number) || (worker->as_root && is_for_users_only(number))) {
            continue;
        }
        syscall(SYS_alarm, 2); // for those that sleep
        long result = syscall((long)number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result == 0 && makes_children(number)) {
            syscall(SYS_exit, 0);
        }
    }
    return NULL;
}

static void fuzz(uint64_t seed, bool as_root)
{
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
    pthread_t threads[2];
    struct worker workers[3];
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct worker){.state = seed * 3 + (unsigned)i, .as_root = as_root};
    }
    if (seed % 2 == 0) {
        pthread_create(&threads[0], NULL, make_calls, &workers[1]);
        pthread_create(&threads[1], NULL, make_calls, &workers[2]);
    }
    make_calls(&workers[0]);
    _exit(0);
}

static void on_alarm(int number)
{
    (void)number;
}

// What the children without privileges have left behind, perhaps in other sessions.
static void kill_users(void)
{
    pid_t killer = fork();
    if (killer == 0) {
        if (setresuid(1000, 1000, 1000) == 0) {
            kill(-1, SIGKILL);
        }
        _exit(0);
    }
    waitpid(killer, NULL, 0);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
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
        kill_users();
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
