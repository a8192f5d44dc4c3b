// SPDX-License-Identifier: MIT
//
// Claim: dup, dup2, dup3, fcntl's descriptor and flag operations, close_range, and the sharing of
// descriptions between descriptors and processes.
// Method: lowest free numbers, flags and offsets are checked after each step.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/ioctl.h>

static void duplicates(void)
{
    int file = (int)MUST(open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    CHECK_EQ(file, 3);
    CHECK_EQ(dup(file), 4);
    CHECK_EQ(dup2(file, 10), 10);
    CHECK_EQ(dup(file), 5);
    CHECK_EQ(dup2(file, file), 3);
    CHECK_EQ(fcntl(3, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(4, F_GETFD), 0);
    CHECK_EQ(fcntl(10, F_GETFD), 0);
    CHECK_EQ(dup3(file, 11, O_CLOEXEC), 11);
    CHECK_EQ(fcntl(11, F_GETFD), FD_CLOEXEC);
    ERR(EINVAL, syscall(SYS_dup3, file, file, 0));
    ERR(EINVAL, syscall(SYS_dup3, file, 12, O_APPEND));
    ERR(EBADF, dup(99));
    ERR(EBADF, dup2(99, 5));
    OK(fcntl(5, F_GETFD)); // was not closed by the failure
    ERR(EBADF, dup2(99, 99));
    ERR(EBADF, dup2(3, -1));
    ERR(EBADF, dup2(3, 1 << 28));
    CHECK_EQ(fcntl(file, F_DUPFD, 20), 20);
    CHECK_EQ(fcntl(file, F_DUPFD, 20), 21);
    CHECK_EQ(fcntl(file, F_DUPFD_CLOEXEC, 20), 22);
    CHECK_EQ(fcntl(22, F_GETFD), FD_CLOEXEC);
    ERR(EINVAL, fcntl(file, F_DUPFD, -1));
    // One offset, one set of status flags for all.
    MUST(write(4, "abcdef", 6));
    CHECK_EQ(lseek(10, 0, SEEK_CUR), 6);
    OK(fcntl(20, F_SETFL, O_APPEND | O_NONBLOCK | O_CREAT | O_WRONLY));
    CHECK_EQ(fcntl(3, F_GETFL) & ~0100000, O_RDWR | O_APPEND | O_NONBLOCK); // without O_LARGEFILE
    OK(fcntl(3, F_SETFL, 0));
    int other = (int)MUST(open("file", O_RDWR));
    CHECK_EQ(other, 6);
    CHECK_EQ(lseek(other, 0, SEEK_CUR), 0);
    // Closing frees the lowest number.
    close(4);
    close(5);
    CHECK_EQ(dup(file), 4);
    int on = 1;
    OK(ioctl(other, FIONBIO, &on));
    CHECK_EQ(fcntl(other, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    OK(ioctl(other, FIOCLEX));
    CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
    OK(ioctl(other, FIONCLEX));
    CHECK_EQ(fcntl(other, F_GETFD), 0);
    ERR(EINVAL, fcntl(file, 9999));
    ERR(EBADF, fcntl(99, F_GETFD));
    ERR(ENOTTY, ioctl(file, 0x1234));
    ERR(EBADF, ioctl(99, 0x1234));
}

static void ranges(void)
{
    for (int i = 30; i < 60; i++) {
        MUST(dup2(3, i));
    }
    OK(syscall(SYS_close_range, 40, 45, 0));
    OK(fcntl(39, F_GETFD));
    ERR(EBADF, fcntl(40, F_GETFD));
    ERR(EBADF, fcntl(45, F_GETFD));
    OK(fcntl(46, F_GETFD));
    OK(syscall(SYS_close_range, 50, ~0u, 4 /* CLOEXEC */));
    CHECK_EQ(fcntl(50, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(49, F_GETFD), 0);
    OK(syscall(SYS_close_range, 30, ~0u, 0));
    ERR(EBADF, fcntl(59, F_GETFD));
    ERR(EINVAL, syscall(SYS_close_range, 5, 4, 0));
    ERR(EINVAL, syscall(SYS_close_range, 5, 6, 64));
    // Very large numbers, as far as the limit goes.
    CHECK_EQ(dup2(3, 1000), 1000);
    OK(close(1000));
}

static volatile int caught;

static void on_signal(int number)
{
    caught = number;
}

static void owners(void)
{
    int ends[2];
    struct f_owner_ex owner = {F_OWNER_PID, 0};

    MUST(pipe(ends));
    signal(SIGIO, on_signal);
    CHECK_EQ(fcntl(ends[0], F_GETOWN), 0);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    CHECK(fcntl(ends[0], F_GETOWN) == getpid());
    OK(fcntl(ends[0], F_GETOWN_EX, &owner));
    CHECK(owner.type == F_OWNER_PID && owner.pid == getpid());
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    CHECK_EQ(fcntl(ends[0], F_GETFL) & O_ASYNC, O_ASYNC);
    MUST(write(ends[1], "x", 1));
    CHECK_EQ(caught, SIGIO);
    ERR(ESRCH, fcntl(ends[0], F_SETOWN, 999999));
    CHECK_EQ(fcntl(ends[0], F_GETSIG), 0);
    OK(fcntl(ends[0], F_SETSIG, SIGUSR1));
    CHECK_EQ(fcntl(ends[0], F_GETSIG), SIGUSR1);
    ERR(EINVAL, fcntl(ends[0], F_SETSIG, 100));
}

// A descriptor lives as long as a call uses it, even if another thread closes its number.
static void in_flight(void)
{
    int ends[2];
    char text[8] = "";

    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        _exit(read(ends[0], text, 1) == 1 && text[0] == 'q' ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    close(ends[0]);
    MUST(write(ends[1], "q", 1));
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

int main(void)
{
    scratch();
    syscall(SYS_close_range, 3, ~0u, 0);
    duplicates();
    ranges();
    owners();
    in_flight();
    return check_done();
}
