// SPDX-License-Identifier: MIT
//
// Claim: pipes and FIFOs: capacity, PIPE_BUF atomicity, ends of file, SIGPIPE and EPIPE,
// O_NONBLOCK, F_SETPIPE_SZ, FIONREAD, packet mode, poll states, opening rules of FIFOs.
// Method: exact counts for each; two writers with long records for atomicity.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/ioctl.h>

static int ends[2];

static size_t fill(int file, size_t piece)
{
    static char block[65536];
    size_t total = 0;
    ssize_t got;
    while ((got = write(file, block, piece)) > 0) {
        total += (size_t)got;
    }
    CHECK_QUIET(errno == EAGAIN);
    return total;
}

static int events_of(int file)
{
    struct pollfd source = {.fd = file, .events = POLLIN | POLLOUT};
    poll(&source, 1, 0);
    return source.revents;
}

static void basics(void)
{
    char text[16] = "";
    int bytes = -1;

    OK(pipe(ends));
    CHECK_EQ(fcntl(ends[0], F_GETFL), O_RDONLY);
    CHECK_EQ(fcntl(ends[1], F_GETFL), O_WRONLY);
    CHECK_EQ(events_of(ends[0]), 0);
    CHECK_EQ(events_of(ends[1]), POLLOUT);
    CHECK_EQ(write(ends[1], "hello", 5), 5);
    CHECK_EQ(write(ends[1], " world", 6), 6);
    OK(ioctl(ends[0], FIONREAD, &bytes));
    CHECK_EQ(bytes, 11);
    CHECK_EQ(events_of(ends[0]), POLLIN);
    CHECK_EQ(read(ends[0], text, 3), 3);
    CHECK_EQ(read(ends[0], text, sizeof(text)), 8);
    CHECK(memcmp(text, "lo world", 8) == 0);
    CHECK_EQ(write(ends[1], "", 0), 0);
    ERR(EBADF, write(ends[0], "x", 1));
    ERR(EBADF, read(ends[1], text, 1));
    ERR(ESPIPE, lseek(ends[0], 0, SEEK_CUR));
    ERR(ESPIPE, pread(ends[0], text, 1, 0));
    ERR(EINVAL, ftruncate(ends[1], 0));
    ERR(EFAULT, write(ends[1], (void *)8, 1));
    MUST(write(ends[1], "abc", 3));
    ERR(EFAULT, read(ends[0], (void *)8, 3));
    CHECK_EQ(read(ends[0], text, 1), 1); // still there
    struct stat about;
    OK(fstat(ends[0], &about));
    CHECK(S_ISFIFO(about.st_mode) && about.st_size == 0);
    close(ends[1]);
    CHECK_EQ(events_of(ends[0]), POLLIN | POLLHUP);
    CHECK_EQ(read(ends[0], text, sizeof(text)), 2);
    CHECK_EQ(read(ends[0], text, sizeof(text)), 0);
    CHECK_EQ(events_of(ends[0]), POLLHUP);
    close(ends[0]);
    ERR(EFAULT, syscall(SYS_pipe2, 8, 0));
    ERR(EINVAL, syscall(SYS_pipe2, ends, O_APPEND));
    OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(ends[1], F_GETFL), O_WRONLY | O_NONBLOCK);
    ERR(EAGAIN, read(ends[0], text, 1));
    close(ends[0]);
    close(ends[1]);
}

static void capacity(void)
{
    static char block[65536];

    OK(pipe2(ends, O_NONBLOCK));
    CHECK_EQ(fcntl(ends[0], F_GETPIPE_SZ), 65536);
    CHECK_EQ(fill(ends[1], 65536), 65536);
    CHECK_EQ(events_of(ends[1]), 0);
    CHECK_EQ(read(ends[0], block, 100), 100);
    ERR(EAGAIN, write(ends[1], block, 1)); // a whole page must be free
    CHECK_EQ(read(ends[0], block, 3996), 3996);
    CHECK_EQ(events_of(ends[1]), POLLOUT);
    ERR(EAGAIN, write(ends[1], block, 4096 + 0) == 4096 ? write(ends[1], block, 4096) : -2);
    CHECK_EQ(read(ends[0], block, 65536), 65536);
    CHECK_EQ(fill(ends[1], 1), 65536); // small writes are merged
    CHECK_EQ(read(ends[0], block, 65536), 65536);
    OK(fcntl(ends[0], F_SETPIPE_SZ, 8192));
    CHECK_EQ(fill(ends[1], 4096), 8192);
    OK(fcntl(ends[0], F_SETPIPE_SZ, 100000)); // rounded up to a power of two of pages
    CHECK_EQ(fcntl(ends[1], F_GETPIPE_SZ), 131072);
    CHECK_EQ(fill(ends[1], 4096), 131072 - 8192);
    ERR(EBUSY, fcntl(ends[0], F_SETPIPE_SZ, 4096));
    CHECK_EQ(read(ends[0], block, 65536), 65536);
    CHECK_EQ(fcntl(ends[0], F_SETPIPE_SZ, 1048576), 1048576);
    ERR(EBADF, fcntl(0, F_GETPIPE_SZ));
    // Not as root, more than the limit is refused.
    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EPERM, fcntl(ends[0], F_SETPIPE_SZ, 2097152));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
    close(ends[0]);
    close(ends[1]);
    // A large write is cut when it must not wait; one within PIPE_BUF is all or nothing.
    OK(pipe2(ends, O_NONBLOCK));
    fill(ends[1], 4096);
    read(ends[0], block, 4096 + 2048);
    CHECK_EQ(write(ends[1], block, 8192), 4096);
    ERR(EAGAIN, write(ends[1], block, 4096));
    close(ends[0]);
    close(ends[1]);
}

static volatile int caught;

static void on_signal(int number)
{
    caught = number;
}

static void die_of_sigpipe(void)
{
    signal(SIGPIPE, SIG_DFL);
    (void)!write(ends[1], "x", 1);
}

static void no_reader(void)
{
    OK(pipe(ends));
    signal(SIGPIPE, on_signal);
    close(ends[0]);
    CHECK_EQ(events_of(ends[1]), POLLOUT | POLLERR);
    ERR(EPIPE, write(ends[1], "x", 1));
    CHECK_EQ(caught, SIGPIPE);
    signal(SIGPIPE, SIG_IGN);
    ERR(EPIPE, write(ends[1], "x", 1));
    CHILD(die_of_sigpipe, "killed by SIGPIPE");
    close(ends[1]);

    // A writer that sleeps in a full pipe is woken by the reader's leaving.
    OK(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        static char block[100000];
        close(ends[0]);
        ssize_t got = write(ends[1], block, sizeof(block));
        _exit(got == 65536 ? 0 : 1);
    }
    close(ends[1]);
    CHECK(wait_until_asleep(child, child));
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

// Records of PIPE_BUF bytes by two writers never mix.
static void atomicity(void)
{
    enum { RECORDS = 300 };
    OK(pipe(ends));
    for (int writer = 0; writer < 3; writer++) {
        if (fork() == 0) {
            char record[PIPE_BUF];
            memset(record, 'a' + writer, sizeof(record));
            for (int i = 0; i < RECORDS; i++) {
                MUST(write(ends[1], record, sizeof(record)) == PIPE_BUF ? 0 : -1);
            }
            _exit(0);
        }
    }
    close(ends[1]);
    char record[PIPE_BUF];
    int counts[3] = {0};
    bool mixed = false;
    size_t have = 0;
    ssize_t got;
    while ((got = read(ends[0], record + have, sizeof(record) - have)) > 0) {
        have += (size_t)got;
        if (have == sizeof(record)) {
            for (size_t i = 1; i < sizeof(record); i++) {
                mixed |= record[i] != record[0];
            }
            counts[record[0] - 'a']++;
            have = 0;
        }
    }
    CHECK(!mixed);
    CHECK(counts[0] == RECORDS && counts[1] == RECORDS && counts[2] == RECORDS);
    CHECK_EQ(have, 0);
    while (wait(NULL) > 0) {
    }
    close(ends[0]);
}

static void packets(void)
{
    char text[32];
    OK(pipe2(ends, O_DIRECT));
    MUST(write(ends[1], "first", 5));
    MUST(write(ends[1], "second", 6));
    CHECK_EQ(read(ends[0], text, sizeof(text)), 5);
    CHECK_EQ(read(ends[0], text, 3), 3); // the rest of the packet is lost
    MUST(write(ends[1], "third", 5));
    CHECK_EQ(read(ends[0], text, sizeof(text)), 5);
    close(ends[0]);
    close(ends[1]);
}

static void fifos(void)
{
    char text[16];
    OK(mkfifo("fifo", 0600));
    ERR(EEXIST, mkfifo("fifo", 0600));
    ERR(ENXIO, open("fifo", O_WRONLY | O_NONBLOCK));
    int reader = (int)OK(open("fifo", O_RDONLY | O_NONBLOCK));
    CHECK_EQ(events_of(reader), 0);
    CHECK_EQ(read(reader, text, 1), 0); // no writer: end of file
    int writer = (int)OK(open("fifo", O_WRONLY | O_NONBLOCK));
    ERR(EAGAIN, read(reader, text, 1));
    CHECK_EQ(write(writer, "abc", 3), 3);
    close(writer);
    CHECK_EQ(events_of(reader), POLLIN | POLLHUP);
    CHECK_EQ(read(reader, text, sizeof(text)), 3);
    CHECK_EQ(read(reader, text, sizeof(text)), 0);
    close(reader);
    int both = (int)OK(open("fifo", O_RDWR)); // never waits on Linux
    CHECK_EQ(write(both, "x", 1), 1);
    CHECK_EQ(read(both, text, 1), 1);
    close(both);
    // Blocking opens meet.
    pid_t child = fork();
    if (child == 0) {
        int file = open("fifo", O_WRONLY);
        _exit(write(file, "met", 3) == 3 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    reader = (int)OK(open("fifo", O_RDONLY));
    CHECK_EQ(read(reader, text, sizeof(text)), 3);
    waitpid(child, NULL, 0);
    close(reader);
    OK(unlink("fifo"));
    // Reopening a pipe through /proc gives the other end.
    OK(pipe(ends));
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    writer = open(path, O_WRONLY);
    CHECK(writer >= 0);
    CHECK_EQ(write(writer, "via proc", 8), 8);
    CHECK_EQ(read(ends[0], text, sizeof(text)), 8);
}

int main(void)
{
    scratch();
    basics();
    capacity();
    no_reader();
    atomicity();
    packets();
    fifos();
    return check_done();
}
