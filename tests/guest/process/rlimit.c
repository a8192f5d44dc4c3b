// SPDX-License-Identifier: MIT
//
// Claim: resource limits are kept, inherited and enforced: descriptors, file size (SIGXFSZ),
// address space, stack, processes of a user, CPU time (SIGXCPU), data, locked memory, pending
// signals. Method: a child lowers the limit, then runs into it.
#include "tests/guest/check.h"
#include <sys/resource.h>

static void lower(int resource, rlim_t value)
{
    struct rlimit limit = {value, value};
    MUST(setrlimit(resource, &limit));
}

static void descriptors(void)
{
    lower(RLIMIT_NOFILE, 10);
    int count = 0, file = -1, ends[2];
    while ((file = open("/dev/null", O_RDONLY)) >= 0) {
        count = file;
    }
    CHECK_EQ(errno, EMFILE);
    CHECK_EQ(count, 9);
    ERR(EMFILE, dup(0));
    ERR(EBADF, dup2(0, 10));
    ERR(EINVAL, fcntl(0, F_DUPFD, 10));
    ERR(EMFILE, fcntl(0, F_DUPFD, 9));
    close(9);
    ERR(EMFILE, pipe(ends));
    CHECK_EQ(open("/dev/null", O_RDONLY), 9);
    struct rlimit more = {11, 11};
    if (setuid(1000) == 0) {
        ERR(EPERM, setrlimit(RLIMIT_NOFILE, &more));
    }
}

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static void file_size(void)
{
    lower(RLIMIT_FSIZE, 10000);
    signal(SIGXFSZ, on_signal);
    int file = (int)MUST(open("sized", O_RDWR | O_CREAT | O_TRUNC, 0600));
    char block[6000] = "";
    CHECK_EQ(write(file, block, sizeof(block)), 6000);
    CHECK_EQ(write(file, block, sizeof(block)), 4000); // as much as fits
    CHECK_EQ(caught, 0);
    ERR(EFBIG, write(file, block, 1));
    CHECK_EQ(caught, SIGXFSZ);
    caught = 0;
    ERR(EFBIG, ftruncate(file, 10001));
    CHECK_EQ(caught, SIGXFSZ);
    OK(ftruncate(file, 10000));
    CHECK_EQ(pwrite(file, block, 10, 9995), 5);
    int ends[2]; // pipes are not files in this sense
    MUST(pipe(ends));
    CHECK_EQ(write(ends[1], block, sizeof(block)), 6000);
    signal(SIGXFSZ, SIG_DFL);
    (void)!write(file, block, 1);
    lseek(file, 10000, SEEK_SET);
    (void)!write(file, block, 1);
}

static void address_space(void)
{
    lower(RLIMIT_AS, 64 << 20);
    void *map = mmap(NULL, 32 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    ERR(ENOMEM, (intptr_t)mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ERR(ENOMEM, (intptr_t)mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ERR(ENOMEM, (intptr_t)mremap(map, 32 << 20, 80 << 20, MREMAP_MAYMOVE));
    OK(munmap(map, 32 << 20));
    map = mmap(NULL, 48 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
}

static void data_segment(void)
{
    char *here = (char *)syscall(SYS_brk, 0);
    CHECK((char *)syscall(SYS_brk, here + (1 << 20)) == here + (1 << 20));
    lower(RLIMIT_DATA, 2 << 20);
    char *top = here + (16 << 20);
    CHECK((char *)syscall(SYS_brk, top) == here + (1 << 20)); // refused: the old end
    ERR(ENOMEM,
        (intptr_t)mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

__attribute__((noinline)) static int consume_stack(int kilobytes)
{
    volatile char frame[1024];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = (char)kilobytes;
    }
    return kilobytes <= 0 ? frame[0] : consume_stack(kilobytes - 1) + frame[5];
}

static void stack_fits(void)
{
    lower(RLIMIT_STACK, 4 << 20);
    consume_stack(3000);
    note("3000 KiB of stack fit into 4 MiB");
}

static void stack_overflows(void)
{
    lower(RLIMIT_STACK, 1 << 20);
    consume_stack(3000);
    note("not reached");
}

static void processes(void)
{
    MUST(setuid(4321));
    lower(RLIMIT_NPROC, 4);
    int made = 0;
    pid_t child;
    pid_t children[16];
    while (made < 16 && (child = fork()) >= 0) {
        if (child == 0) {
            pause();
            _exit(0);
        }
        children[made++] = child;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(made, 3);
    for (int i = 0; i < made; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    child = (pid_t)OK(fork());
    if (child == 0) {
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void cpu_time(void)
{
    struct rlimit limit = {1, 2};
    MUST(setrlimit(RLIMIT_CPU, &limit));
    signal(SIGXCPU, on_signal);
    while (caught == 0) {
    }
    CHECK_EQ(caught, SIGXCPU);
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    CHECK(used.tv_sec * 10 + used.tv_nsec / 100000000 >= 9);
    for (;;) { // until the hard limit
    }
}

static void locked_memory(void)
{
    void *map = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lower(RLIMIT_MEMLOCK, 65536);
    OK(mlock(map, 1 << 20)); // root may
    OK(munlock(map, 1 << 20));
    MUST(setuid(1000));
    OK(mlock(map, 65536));
    ERR(ENOMEM, mlock((char *)map + 65536, 4096));
    OK(munlock(map, 65536));
    lower(RLIMIT_MEMLOCK, 0);
    ERR(EPERM, mlock(map, 4096));
}

static void pending_signals(void)
{
    sigset_t set;
    sigfillset(&set);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    MUST(setuid(4322));
    lower(RLIMIT_SIGPENDING, 3);
    int queued = 0;
    union sigval value = {.sival_int = 1};
    while (queued < 10 && sigqueue(getpid(), SIGRTMIN, value) == 0) {
        queued++;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(queued, 3);
    OK(kill(getpid(), SIGUSR1)); // ordinary signals still arrive
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) == 1);
}

static void inherited(void)
{
    lower(RLIMIT_NOFILE, 33);
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "ulimit -n; ulimit -H -n", (char *)NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

static void interface(void)
{
    struct rlimit limit, old;

    OK(getrlimit(RLIMIT_CORE, &limit));
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max != RLIM_INFINITY) {
        limit.rlim_cur++;
        ERR(EINVAL, setrlimit(RLIMIT_CORE, &limit));
    }
    struct rlimit wrong = {2, 1};
    ERR(EINVAL, setrlimit(RLIMIT_CORE, &wrong));
    ERR(EINVAL, getrlimit(16, &limit));
    ERR(EINVAL, getrlimit(-1, &limit));
    ERR(EFAULT, syscall(SYS_getrlimit, RLIMIT_CORE, (void *)8));
    ERR(EFAULT, syscall(SYS_prlimit64, 0, RLIMIT_CORE, (void *)8, NULL));
    ERR(ESRCH, syscall(SYS_prlimit64, 999999, RLIMIT_CORE, NULL, &limit));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    limit = (struct rlimit){20, 30};
    OK(syscall(SYS_prlimit64, child, RLIMIT_NOFILE, &limit, &old));
    OK(syscall(SYS_prlimit64, child, RLIMIT_NOFILE, NULL, &limit));
    CHECK(limit.rlim_cur == 20 && limit.rlim_max == 30);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    OK(getrlimit(RLIMIT_NOFILE, &limit));
    CHECK(limit.rlim_cur == old.rlim_cur && limit.rlim_max == old.rlim_max);
    for (int i = 0; i < 16; i++) {
        CHECK_QUIET(getrlimit(i, &limit) == 0);
        CHECK_QUIET(limit.rlim_cur <= limit.rlim_max);
    }
    getrlimit(RLIMIT_STACK, &limit);
    CHECK_EQ(limit.rlim_cur, 8 << 20);
    CHECK(limit.rlim_max == RLIM_INFINITY);
}

int main(void)
{
    scratch();
    chmod(".", 0777);
    interface();
    CHILD(descriptors, "exit 0");
    CHILD(file_size, "killed by SIGXFSZ");
    CHILD(address_space, "exit 0");
    CHILD(data_segment, "exit 0");
    CHILD(stack_fits, "exit 0");
    CHILD(stack_overflows, "killed by SIGSEGV");
    CHILD(processes, "exit 0");
    CHILD(cpu_time, "killed by SIGKILL");
    CHILD(locked_memory, "exit 0");
    CHILD(pending_signals, "exit 0");
    CHILD(inherited, "exit 0");
    return check_done();
}
