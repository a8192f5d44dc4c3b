// SPDX-License-Identifier: MIT
//
// Claim: poll, ppoll, select and pselect report the right events for pipes, files, terminals'
// masters and closed descriptors, wait for time-outs and wake-ups, update their arguments as on
// Linux, and refuse bad ones.
// Method: known states; wake-ups come from a child when this process sleeps.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>

static int ends[2], file, directory;

static pid_t write_when_asleep(int to)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        _exit(wait_until_asleep(parent, parent) && write(to, "x", 1) == 1 ? 0 : 1);
    }
    return child;
}

static void reap(pid_t child)
{
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_QUIET(status == 0);
}

static void polls(void)
{
    struct pollfd sources[5] = {
        {.fd = ends[0], .events = POLLIN},
        {.fd = ends[1], .events = POLLOUT | POLLIN},
        {.fd = file, .events = POLLIN | POLLOUT | POLLPRI},
        {.fd = 999, .events = POLLIN},
        {.fd = -1, .events = POLLIN, .revents = 55},
    };
    char byte;

    CHECK_EQ(poll(sources, 5, 1000), 3);
    for (int i = 0; i < 5; i++) {
        note("  source %d: events %#x", i, sources[i].revents);
    }
    CHECK_EQ(poll(sources, 1, 0), 0);
    uint64_t before = now_ns();
    CHECK_EQ(poll(sources, 1, 30), 0);
    CHECK(now_ns() - before >= 30000000);
    pid_t child = write_when_asleep(ends[1]);
    CHECK_EQ(poll(sources, 1, -1), 1);
    CHECK_EQ(sources[0].revents, POLLIN);
    reap(child);
    sources[0].events = POLLIN | POLLRDNORM;
    CHECK_EQ(poll(sources, 1, -1), 1);
    CHECK_EQ(sources[0].revents, POLLIN | POLLRDNORM);
    MUST(read(ends[0], &byte, 1));
    sources[0].events = 0;
    CHECK_EQ(poll(sources, 1, 0), 0);
    before = now_ns();
    CHECK_EQ(poll(NULL, 0, 20), 0);
    CHECK(now_ns() - before >= 20000000);
    ERR(EFAULT, poll((void *)8, 1, 0));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    ERR(EINVAL, poll(sources, limit.rlim_cur + 1, 0));
    // The same descriptor twice counts twice.
    struct pollfd twice[2] = {
        {.fd = ends[1], .events = POLLOUT}, {.fd = ends[1], .events = POLLOUT}};
    CHECK_EQ(poll(twice, 2, 0), 2);
    // A thousand sources, the last one ready.
    static struct pollfd many[1000];
    for (int i = 0; i < 1000; i++) {
        many[i] = (struct pollfd){.fd = ends[0], .events = POLLIN};
    }
    many[999] = twice[0];
    CHECK_EQ(poll(many, 1000, -1), 1);
    CHECK_EQ(many[999].revents, POLLOUT);
}

static void ppolls(void)
{
    struct pollfd source = {.fd = ends[0], .events = POLLIN};
    struct timespec time = {0, 20000000};

    CHECK_EQ(ppoll(&source, 1, &time, NULL), 0);
    CHECK_EQ(syscall(SYS_ppoll, &source, 1, &time, NULL, 8), 0);
    CHECK(time.tv_sec == 0 && time.tv_nsec == 0); // the raw call writes back what is left
    time = (struct timespec){0, 1000000000};
    ERR(EINVAL, syscall(SYS_ppoll, &source, 1, &time, NULL, 8));
    time = (struct timespec){-1, 0};
    ERR(EINVAL, syscall(SYS_ppoll, &source, 1, &time, NULL, 8));
    sigset_t set;
    sigemptyset(&set);
    ERR(EINVAL, syscall(SYS_ppoll, &source, 1, NULL, &set, 16));
    ERR(EFAULT, syscall(SYS_ppoll, &source, 1, 8, NULL, 8));
}

static void selects(void)
{
    fd_set in, out, except;
    struct timeval time = {5, 0}; // raw calls: libc would hide what is left of the time
    char byte;

    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(ends[0], &in);
    FD_SET(ends[1], &out);
    FD_SET(file, &in);
    FD_SET(file, &out);
    FD_SET(ends[0], &except);
    CHECK_EQ(syscall(SYS_select, 64, &in, &out, &except, &time), 3);
    CHECK(!FD_ISSET(ends[0], &in) && FD_ISSET(file, &in));
    CHECK(FD_ISSET(ends[1], &out) && FD_ISSET(file, &out));
    CHECK(!FD_ISSET(ends[0], &except));
    CHECK(time.tv_sec == 4 || time.tv_sec == 5); // Linux writes back what is left

    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    time = (struct timeval){0, 30000};
    uint64_t before = now_ns();
    CHECK_EQ(syscall(SYS_select, ends[0] + 1, &in, NULL, NULL, &time), 0);
    CHECK(now_ns() - before >= 30000000);
    CHECK(!FD_ISSET(ends[0], &in));
    CHECK(time.tv_sec == 0 && time.tv_usec == 0);
    FD_SET(ends[0], &in);
    pid_t child = write_when_asleep(ends[1]);
    CHECK_EQ(select(ends[0] + 1, &in, NULL, NULL, NULL), 1);
    CHECK(FD_ISSET(ends[0], &in));
    reap(child);
    MUST(read(ends[0], &byte, 1));

    FD_ZERO(&in);
    FD_SET(40, &in);
    ERR(EBADF, select(41, &in, NULL, NULL, NULL));
    CHECK_EQ(select(30, &in, NULL, NULL, &time), 0); // not looked at
    ERR(EINVAL, select(-1, &in, NULL, NULL, NULL));
    time = (struct timeval){-1, 0};
    ERR(EINVAL, syscall(SYS_select, 0, NULL, NULL, NULL, &time));
    ERR(EFAULT, select(10, (void *)8, NULL, NULL, NULL));
    // At the end of a file a pipe is readable, without a reader writable and in no exception.
    int closing[2];
    MUST(pipe(closing));
    close(closing[1]);
    FD_ZERO(&in);
    FD_SET(closing[0], &in);
    CHECK_EQ(select(closing[0] + 1, &in, NULL, NULL, NULL), 1);
    close(closing[0]);
    struct timespec short_time = {0, 1000000};
    CHECK_EQ(pselect(0, NULL, NULL, NULL, &short_time, NULL), 0);
}

// Waiting for several at once: whichever comes wakes, and the waiter leaves no trace at the others.
static void several(void)
{
    int sources[8];
    uint64_t one = 1;
    for (int i = 0; i < 8; i++) {
        sources[i] = (int)MUST(eventfd(0, EFD_NONBLOCK));
    }
    for (int round = 0; round < 40; round++) {
        struct pollfd all[8];
        for (int i = 0; i < 8; i++) {
            all[i] = (struct pollfd){.fd = sources[i], .events = POLLIN};
        }
        pid_t parent = getpid(), child = fork();
        if (child == 0) {
            if (round % 4 == 0) {
                wait_until_asleep(parent, parent);
            }
            MUST(write(sources[round % 8], &one, 8));
            _exit(0);
        }
        CHECK_QUIET(poll(all, 8, 10000) == 1);
        CHECK_QUIET(all[round % 8].revents == POLLIN);
        uint64_t value;
        CHECK_QUIET(read(sources[round % 8], &value, 8) == 8 && value == 1);
        reap(child);
    }
    note("forty rounds over eight sources");
}

int main(void)
{
    scratch();
    MUST(pipe(ends));
    file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    directory = (int)MUST(open(".", O_RDONLY));
    polls();
    ppolls();
    selects();
    several();
    return check_done();
}
