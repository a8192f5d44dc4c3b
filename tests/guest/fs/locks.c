// SPDX-License-Identifier: MIT
//
// Claim: POSIX record locks (splitting, merging, upgrading, waiting, deadlock, release on any
// close), open-file-description locks, and flock, each with its own rules of ownership.
// Method: a child holds locks on command; F_GETLK shows what others see.
#include "tests/guest/check.h"
#include <pthread.h>
#include <sys/file.h>

static int file;

static int set(int at, int command, int type, off_t start, off_t length)
{
    struct flock lock = {
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(at, command, &lock);
}

// What a stranger would run into, byte by byte: r, w or '-'.
static void show(const char *what)
{
    char text[24] = "";
    int status;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 20; i++) {
            struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1};
            CHECK_QUIET(fcntl(file, F_GETLK, &lock) == 0);
            text[i] = lock.l_type == F_UNLCK ? '-' : lock.l_type == F_RDLCK ? 'r' : 'w';
        }
        note("  %s: %s", what, text);
        _exit(check_failures);
    }
    waitpid(child, &status, 0);
    CHECK_QUIET(status == 0);
}

static void records(void)
{
    OK(set(file, F_SETLK, F_WRLCK, 0, 10));
    show("write 0..9");
    OK(set(file, F_SETLK, F_UNLCK, 4, 2));
    show("hole at 4, 5");
    OK(set(file, F_SETLK, F_RDLCK, 7, 8));
    show("read from 7 to 14");
    OK(set(file, F_SETLK, F_WRLCK, 3, 8));
    show("write from 3 to 10");
    OK(set(file, F_SETLK, F_RDLCK, 0, 0));
    show("read everything");
    OK(set(file, F_SETLK, F_UNLCK, 5, 0));
    show("nothing from 5");
    OK(set(file, F_SETLK, F_WRLCK, 12, -4));
    show("write 8 to 11 by a negative length");
    ERR(EINVAL, set(file, F_SETLK, F_WRLCK, 2, -5));
    ERR(EINVAL, set(file, F_SETLK, 7, 0, 1));
    ERR(EINVAL, set(file, F_SETLK, F_WRLCK, -1, 1));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = 9, .l_len = 1};
    ERR(EINVAL, fcntl(file, F_SETLK, &lock));
    ERR(EFAULT, fcntl(file, F_SETLK, (void *)8));
    ERR(EBADF, set(99, F_SETLK, F_WRLCK, 0, 1));
    int reader = (int)MUST(open("file", O_RDONLY));
    ERR(EBADF, set(reader, F_SETLK, F_WRLCK, 0, 1));
    // Relative to the end.
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 2};
    OK(fcntl(file, F_SETLK, &lock));
    show("and two before the end (20)");
    close(reader); // closing any descriptor of the file releases all of them
    show("after a close");
}

static void *lock_in_thread(void *argument)
{
    // Threads of one process do not exclude one another.
    return set(file, F_SETLK, F_WRLCK, 0, 20) == 0 ? argument : NULL;
}

static void waiting(void)
{
    int ends[2], status;
    char byte;

    MUST(pipe(ends));
    OK(set(file, F_SETLK, F_WRLCK, 0, 10));
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, lock_in_thread, &file);
    pthread_join(thread, &result);
    CHECK(result == &file);
    pid_t child = fork();
    if (child == 0) {
        CHECK_QUIET(set(file, F_SETLK, F_WRLCK, 5, 1) < 0 && (errno == EAGAIN || errno == EACCES));
        CHECK_QUIET(set(file, F_SETLK, F_RDLCK, 5, 1) < 0);
        CHECK_QUIET(set(file, F_SETLK, F_WRLCK, 20, 5) == 0);
        CHECK_QUIET(set(file, F_SETLKW, F_WRLCK, 5, 1) == 0);
        MUST(write(ends[1], "x", 1));
        pause();
        _exit(check_failures);
    }
    CHECK(wait_until_asleep(child, child));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 100};
    OK(fcntl(file, F_GETLK, &lock));
    CHECK(lock.l_type == F_WRLCK && lock.l_start == 20 && lock.l_len == 5 && lock.l_pid == child);
    // This process asks for what the waiting child holds: that would be a deadlock.
    ERR(EDEADLK, set(file, F_SETLKW, F_WRLCK, 20, 1));
    OK(set(file, F_SETLK, F_UNLCK, 0, 0));
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    ERR(EAGAIN, set(file, F_SETLK, F_RDLCK, 5, 1));
    kill(child, SIGKILL); // its end releases
    waitpid(child, &status, 0);
    OK(set(file, F_SETLKW, F_WRLCK, 0, 0));
    OK(set(file, F_SETLK, F_UNLCK, 0, 0));
}

static void description_locks(void)
{
    int other = (int)MUST(open("file", O_RDWR)), copy = dup(file);

    OK(set(file, F_OFD_SETLK, F_WRLCK, 0, 10));
    OK(set(copy, F_OFD_SETLK, F_WRLCK, 0, 10)); // the same description
    ERR(EAGAIN, set(other, F_OFD_SETLK, F_WRLCK, 5, 1));
    ERR(EAGAIN, set(file, F_SETLK, F_WRLCK, 0, 1)); // nor do they mix with the process's own
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    OK(fcntl(other, F_OFD_GETLK, &lock));
    CHECK(lock.l_type == F_WRLCK && lock.l_pid == -1);
    lock.l_pid = 5;
    ERR(EINVAL, fcntl(other, F_OFD_SETLK, &lock));
    close(copy);
    ERR(EAGAIN, set(other, F_OFD_SETLK, F_WRLCK, 5, 1)); // still held
    OK(set(file, F_OFD_SETLK, F_UNLCK, 0, 0));
    OK(set(other, F_OFD_SETLK, F_WRLCK, 5, 1));
    close(other);
    OK(set(file, F_OFD_SETLK, F_WRLCK, 5, 1));
    OK(set(file, F_OFD_SETLK, F_UNLCK, 0, 0));
}

static void whole_file(void)
{
    int other = (int)MUST(open("file", O_RDONLY)), copy = dup(file);

    OK(flock(file, LOCK_SH));
    OK(flock(other, LOCK_SH));
    ERR(EAGAIN, flock(file, LOCK_EX | LOCK_NB));
    OK(flock(other, LOCK_UN));
    OK(flock(file, LOCK_EX | LOCK_NB));
    ERR(EAGAIN, flock(other, LOCK_SH | LOCK_NB));
    OK(flock(copy, LOCK_SH | LOCK_NB)); // the same description: changes the kind
    OK(flock(other, LOCK_SH | LOCK_NB));
    OK(flock(other, LOCK_UN));
    OK(flock(file, LOCK_EX));
    OK(set(file, F_SETLK, F_WRLCK, 0, 0)); // another kind of lock altogether
    pid_t child = fork();
    if (child == 0) {
        _exit(flock(other, LOCK_EX) == 0 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    close(copy);
    OK(flock(file, LOCK_UN));
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    ERR(EINVAL, flock(file, 0));
    ERR(EBADF, flock(99, LOCK_SH));
    // Inherited, and released by whichever unlocks.
    int third = (int)MUST(open("file", O_RDONLY));
    close(other);
    OK(flock(file, LOCK_EX));
    child = fork();
    if (child == 0) {
        flock(file, LOCK_UN);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    OK(flock(third, LOCK_EX | LOCK_NB));
}

int main(void)
{
    scratch();
    file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 20));
    records();
    waiting();
    description_locks();
    whole_file();
    return check_done();
}
