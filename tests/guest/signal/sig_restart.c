// SPDX-License-Identifier: MIT
//
// Claim: a call that sleeps and is interrupted by a handler fails with EINTR, or with SA_RESTART
// goes on if it is one of the restartable ones; time-outs are always EINTR; nanosleep reports the
// rest; a stop and continue without a handler is invisible to all but the few that Linux
// interrupts. Method: for each call: a child waits until this process sleeps, interrupts it, waits
// until it sleeps again or has returned, and lets the call end.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>

enum { TIMED = 1 };

static int full_pipe[2], empty_pipe[2], counter, lock_file, epoll_set;
static uint32_t word;
static pid_t waited_for;

static long do_read(void)
{
    char byte;
    return read(empty_pipe[0], &byte, 1);
}

static long do_write(void)
{
    return write(full_pipe[1], "x", 1);
}

static long do_eventfd(void)
{
    uint64_t value;
    return read(counter, &value, sizeof(value));
}

static long do_wait(void)
{
    return waitpid(waited_for, NULL, 0) == waited_for ? 1 : -1;
}

static long do_waitid(void)
{
    return waitid(P_PID, (id_t)waited_for, NULL, WEXITED) == 0 ? 1 : -1;
}

static long do_flock(void)
{
    return flock(lock_file, LOCK_EX);
}

static long do_fcntl_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(lock_file, F_SETLKW, &lock);
}

static long do_open_fifo(void)
{
    int file = open("fifo", O_RDONLY);
    if (file >= 0) {
        close(file);
        return 1;
    }
    return -1;
}

static long do_futex(void)
{
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long do_futex_timed(void)
{
    struct timespec time = {100, 0};
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time, NULL, 0);
}

static long do_poll(void)
{
    struct pollfd source = {.fd = empty_pipe[0], .events = POLLIN};
    return poll(&source, 1, -1);
}

static long do_select(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(empty_pipe[0], &set);
    return select(empty_pipe[0] + 1, &set, NULL, NULL, NULL);
}

static long do_epoll(void)
{
    struct epoll_event event;
    return epoll_wait(epoll_set, &event, 1, -1);
}

static long do_nanosleep(void)
{
    struct timespec time = {1000, 0}, rest = {0, 0};
    long result = nanosleep(&time, &rest);
    CHECK_QUIET(result == 0 || (rest.tv_sec >= 900 && rest.tv_sec < 1000));
    return result;
}

static long do_clock_nanosleep(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += 1000;
    int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
    errno = error;
    return error != 0 ? -1 : 0;
}

static long do_pause(void)
{
    return pause();
}

static const struct {
    const char *name;
    long (*call)(void);
} calls[] = {
    {"read of a pipe", do_read},
    {"write to a full pipe", do_write},
    {"read of an eventfd", do_eventfd},
    {"wait4", do_wait},
    {"waitid", do_waitid},
    {"flock", do_flock},
    {"fcntl F_SETLKW", do_fcntl_lock},
    {"open of a fifo", do_open_fifo},
    {"futex wait", do_futex},
    {"futex wait with time-out", do_futex_timed},
    {"poll", do_poll},
    {"select", do_select},
    {"epoll_wait", do_epoll},
    {"nanosleep", do_nanosleep},
    {"clock_nanosleep until", do_clock_nanosleep},
    {"pause", do_pause},
};

static volatile int *handled; // in memory that parent and child share

static void on_signal(int number)
{
    (void)number;
    ++*handled;
}

// In a child: makes the call, tells what it gave through a pipe. Everything that ends a call is set
// up before, so that the parent can end it.
static int result_pipe[2];

static void worker(size_t i, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGTERM, SIG_DFL);
    waited_for = fork();
    if (waited_for == 0) {
        signal(SIGUSR1, SIG_DFL);
        pause();
        _exit(0);
    }
    MUST(write(result_pipe[1], &waited_for, sizeof(waited_for)));
    long result = calls[i].call();
    int error = result == -1 ? errno : 0;
    if (*handled == 0 && error == EINTR) {
        error = 9999; // interrupted without a handler
    }
    MUST(write(result_pipe[1], &error, sizeof(error)));
    kill(waited_for, SIGKILL);
    while (waitpid(waited_for, NULL, 0) < 0 && errno == EINTR) {
    }
    _exit(0);
}

static const char *interrupt(size_t i, int flags, bool stop_instead)
{
    int error = 0;
    pid_t partner, child;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    *handled = 0;
    MUST(pipe(result_pipe));
    int other_lock = (int)MUST(open("lock", O_RDWR | O_CREAT, 0600));
    MUST(flock(other_lock, LOCK_EX));
    MUST(fcntl(other_lock, F_SETLK, &lock));
    child = fork();
    if (child == 0) {
        lock_file = open("lock", O_RDWR);
        worker(i, flags);
    }
    MUST(read(result_pipe[0], &partner, sizeof(partner)));
    CHECK_QUIET(wait_until_asleep(child, child));
    if (stop_instead) {
        kill(child, SIGSTOP);
        waitpid(child, NULL, WUNTRACED);
        kill(child, SIGCONT);
    } else {
        kill(child, SIGUSR1);
    }
    // Once the handler has run, the child either comes back with a result or sleeps again.
    for (int i = 0; i < 5000 && !stop_instead && *handled == 0; i++) {
        sleep_ms(2);
    }
    CHECK_QUIET(stop_instead || *handled == 1);
    struct pollfd source = {.fd = result_pipe[0], .events = POLLIN};
    bool back = poll(&source, 1, 100) == 1;
    bool asleep = !back && wait_until_asleep(child, child);
    const char *text = asleep ? "goes on" : "lost";
    if (back || poll(&source, 1, 0) == 1) {
        MUST(read(result_pipe[0], &error, sizeof(error)));
        text = errno_name(error);
    }
    kill(child, SIGKILL);
    kill(partner, SIGKILL);
    waitpid(child, NULL, 0);
    close(other_lock);
    close(result_pipe[0]);
    close(result_pipe[1]);
    return text;
}

int main(void)
{
    scratch();
    handled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(pipe(empty_pipe));
    MUST(pipe(full_pipe));
    fcntl(full_pipe[1], F_SETFL, O_NONBLOCK);
    static char block[4096];
    while (write(full_pipe[1], block, sizeof(block)) > 0) {
    }
    fcntl(full_pipe[1], F_SETFL, 0);
    counter = eventfd(0, 0);
    epoll_set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll_set, EPOLL_CTL_ADD, empty_pipe[0], &event);
    MUST(mkfifo("fifo", 0600));

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        const char *plain = interrupt(i, 0, false);
        const char *restart = interrupt(i, SA_RESTART, false);
        const char *stopped = interrupt(i, 0, true);
        note("%s: %s; with SA_RESTART %s; stopped and continued %s", calls[i].name, plain, restart,
            stopped);
        CHECK_QUIET(strcmp(plain, "EINTR") == 0);
        CHECK_QUIET(strcmp(restart, "EINTR") == 0 || strcmp(restart, "goes on") == 0);
    }

    // Partial results are no errors: a write of two pages to a pipe with room for one.
    char drained[4096];
    MUST(read(full_pipe[0], drained, sizeof(drained)));
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, NULL);
    static char two[8192];
    ualarm(50000, 0);
    CHECK_EQ(write(full_pipe[1], two, sizeof(two)), 4096);
    return check_done();
}
