// SPDX-License-Identifier: MIT
//
// What every guest test is written with.
//
// A guest test is one ordinary Linux program. It runs on Lodger and on a Debian kernel in the same
// virtual machine, and both must print the same and end with the same code. It also judges itself:
// each expectation is a CHECK, a failed one makes the test end with 1, so that two kernels which
// both do nothing do not pass. Three rules follow:
//
//  - What is printed must be the same on every run: no addresses, process ids, times or counters.
//  - A check prints the expression it checks; the actual value appears only if the check fails.
//  - A test starts in an empty directory of its own on tmpfs (scratch()), as root, with standard
//    input from /dev/null, and leaves nothing behind that others could see.
//
// The header is all there is: functions are static, so a test needs no library but libc.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK_UNUSED  __attribute__((unused))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

// Number of failed expectations of this process.
static int check_failures CHECK_UNUSED;

// The symbolic name of an errno value ("EAGAIN"); "0" for 0.
CHECK_UNUSED static const char *errno_name(int error)
{
    static const char *const names[] = {
#define CHECK_NAME(e) [e] = #e
        CHECK_NAME(EPERM),
        CHECK_NAME(ENOENT),
        CHECK_NAME(ESRCH),
        CHECK_NAME(EINTR),
        CHECK_NAME(EIO),
        CHECK_NAME(ENXIO),
        CHECK_NAME(E2BIG),
        CHECK_NAME(ENOEXEC),
        CHECK_NAME(EBADF),
        CHECK_NAME(ECHILD),
        CHECK_NAME(EAGAIN),
        CHECK_NAME(ENOMEM),
        CHECK_NAME(EACCES),
        CHECK_NAME(EFAULT),
        CHECK_NAME(ENOTBLK),
        CHECK_NAME(EBUSY),
        CHECK_NAME(EEXIST),
        CHECK_NAME(EXDEV),
        CHECK_NAME(ENODEV),
        CHECK_NAME(ENOTDIR),
        CHECK_NAME(EISDIR),
        CHECK_NAME(EINVAL),
        CHECK_NAME(ENFILE),
        CHECK_NAME(EMFILE),
        CHECK_NAME(ENOTTY),
        CHECK_NAME(ETXTBSY),
        CHECK_NAME(EFBIG),
        CHECK_NAME(ENOSPC),
        CHECK_NAME(ESPIPE),
        CHECK_NAME(EROFS),
        CHECK_NAME(EMLINK),
        CHECK_NAME(EPIPE),
        CHECK_NAME(EDOM),
        CHECK_NAME(ERANGE),
        CHECK_NAME(EDEADLK),
        CHECK_NAME(ENAMETOOLONG),
        CHECK_NAME(ENOLCK),
        CHECK_NAME(ENOSYS),
        CHECK_NAME(ENOTEMPTY),
        CHECK_NAME(ELOOP),
        CHECK_NAME(EOVERFLOW),
        CHECK_NAME(ENODATA),
        CHECK_NAME(ETIME),
        CHECK_NAME(ELIBBAD),
        CHECK_NAME(EOPNOTSUPP),
        CHECK_NAME(EAFNOSUPPORT),
        CHECK_NAME(ENOTSOCK),
        CHECK_NAME(ETIMEDOUT),
        CHECK_NAME(ECANCELED),
        CHECK_NAME(EOWNERDEAD),
        CHECK_NAME(EMSGSIZE),
        CHECK_NAME(EALREADY),
        CHECK_NAME(EILSEQ),
        CHECK_NAME(ENOTCONN),
#undef CHECK_NAME
    };
    static char number[16];

    if (error == 0) {
        return "0";
    }
    if (error > 0 && (size_t)error < ARRAY_SIZE(names) && names[error] != NULL) {
        return names[error];
    }
    snprintf(number, sizeof(number), "errno%d", error);
    return number;
}

// The symbolic name of a signal ("SIGSEGV", "SIGRTMIN+3"; the kernel's SIGRTMIN, 32, is "SIG32").
CHECK_UNUSED static const char *signal_name(int number)
{
    static const char *const names[] = {
#define CHECK_NAME(s) [s] = #s
        CHECK_NAME(SIGHUP),
        CHECK_NAME(SIGINT),
        CHECK_NAME(SIGQUIT),
        CHECK_NAME(SIGILL),
        CHECK_NAME(SIGTRAP),
        CHECK_NAME(SIGABRT),
        CHECK_NAME(SIGBUS),
        CHECK_NAME(SIGFPE),
        CHECK_NAME(SIGKILL),
        CHECK_NAME(SIGUSR1),
        CHECK_NAME(SIGSEGV),
        CHECK_NAME(SIGUSR2),
        CHECK_NAME(SIGPIPE),
        CHECK_NAME(SIGALRM),
        CHECK_NAME(SIGTERM),
        CHECK_NAME(SIGSTKFLT),
        CHECK_NAME(SIGCHLD),
        CHECK_NAME(SIGCONT),
        CHECK_NAME(SIGSTOP),
        CHECK_NAME(SIGTSTP),
        CHECK_NAME(SIGTTIN),
        CHECK_NAME(SIGTTOU),
        CHECK_NAME(SIGURG),
        CHECK_NAME(SIGXCPU),
        CHECK_NAME(SIGXFSZ),
        CHECK_NAME(SIGVTALRM),
        CHECK_NAME(SIGPROF),
        CHECK_NAME(SIGWINCH),
        CHECK_NAME(SIGIO),
        CHECK_NAME(SIGPWR),
        CHECK_NAME(SIGSYS),
#undef CHECK_NAME
    };
    static char other[16];

    if (number > 0 && (size_t)number < ARRAY_SIZE(names) && names[number] != NULL) {
        return names[number];
    }
    snprintf(other, sizeof(other), "SIG%d", number);
    return other;
}

// Prints one line at once, so that lines of several processes do not mix.
__attribute__((format(printf, 1, 2))) CHECK_UNUSED static void note(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    int saved = errno;

    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof(line) - 2) {
        length = (int)sizeof(line) - 2;
    }
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)length) != length) {
        check_failures++;
    }
    errno = saved;
}

CHECK_UNUSED static bool check_true(bool holds, const char *text, int line)
{
    if (holds) {
        note("ok %s", text);
    } else {
        check_failures++;
        note("FAIL line %d: %s (errno %s)", line, text, errno_name(errno));
    }
    return holds;
}

CHECK_UNUSED static bool check_equal(long long got, long long want, const char *text, int line)
{
    if (got == want) {
        note("ok %s", text);
        return true;
    }
    check_failures++;
    note("FAIL line %d: %s: got %lld, want %lld (errno %s)", line, text, got, want,
        errno_name(errno));
    return false;
}

// `got` is the result of a call which sets errno; `error` 0 means that it must succeed.
CHECK_UNUSED static long long check_call(long long got, int error, const char *text, int line)
{
    int actual = got == -1 ? errno : 0;

    if (actual == error) {
        note("ok %s -> %s", text, errno_name(error));
    } else {
        check_failures++;
        note("FAIL line %d: %s: got %s", line, text, errno_name(actual));
        note("  want %s", errno_name(error));
    }
    return got;
}

CHECK_UNUSED static bool check_string(const char *got, const char *want, const char *text, int line)
{
    if (got != NULL && strcmp(got, want) == 0) {
        note("ok %s is \"%s\"", text, want);
        return true;
    }
    check_failures++;
    note("FAIL line %d: %s: got \"%s\", want \"%s\"", line, text, got != NULL ? got : "(null)",
        want);
    return false;
}

// CHECK: the condition holds. CHECK_EQ: two integers are equal. CHECK_STR: two strings are equal.
// OK: the call succeeds (does not return -1), its result is handed on. ERR: the call returns -1
// with this errno. *_QUIET forms print only failures: for use in loops.
// Each stringifies its arguments as written, hence the variadic forms.
#define CHECK(...) check_true((__VA_ARGS__), #__VA_ARGS__, __LINE__)
#define CHECK_EQ(got, want)                                                                        \
    check_equal((long long)(got), (long long)(want), #got " == " #want, __LINE__)
#define CHECK_STR(got, want) check_string((got), (want), #got, __LINE__)
#define OK(...)              check_call((long long)(__VA_ARGS__), 0, #__VA_ARGS__, __LINE__)
#define ERR(error, ...)      check_call((long long)(__VA_ARGS__), (error), #__VA_ARGS__, __LINE__)
#define CHECK_QUIET(...)     ((__VA_ARGS__) ? true : check_true(false, #__VA_ARGS__, __LINE__))

// For what the test cannot go on without, and does not test.
#define MUST(...) check_must((long long)(__VA_ARGS__), #__VA_ARGS__, __LINE__)
CHECK_UNUSED static long long check_must(long long got, const char *text, int line)
{
    if (got == -1) {
        note("FAIL line %d: %s: %s; the test cannot go on", line, text, errno_name(errno));
        exit(1);
    }
    return got;
}

// Prints the test's result; the value is main's.
CHECK_UNUSED static int check_done(void)
{
    if (check_failures != 0) {
        note("%d failed", check_failures);
        return 1;
    }
    note("passed");
    return 0;
}

// Runs `body` in a child; its failed checks make the child end with 1. Returns the wait status.
CHECK_UNUSED static int in_child(void (*body)(void))
{
    fflush(stdout);
    pid_t child = fork();

    if (child == 0) {
        check_failures = 0;
        body();
        _exit(check_failures != 0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

// A wait status in words.
CHECK_UNUSED static const char *status_text(int status)
{
    static char text[64];

    if (WIFEXITED(status)) {
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    } else if (WIFSIGNALED(status)) {
        snprintf(text, sizeof(text), "killed by %s", signal_name(WTERMSIG(status)));
    } else if (WIFSTOPPED(status)) {
        snprintf(text, sizeof(text), "stopped by %s", signal_name(WSTOPSIG(status)));
    } else if (WIFCONTINUED(status)) {
        snprintf(text, sizeof(text), "continued");
    } else {
        snprintf(text, sizeof(text), "status 0x%x", (unsigned)status);
    }
    return text;
}

// Runs `body` in a child and checks how it ends ("exit 0", "killed by SIGSEGV").
#define CHILD(body, want) check_string(status_text(in_child(body)), (want), #body, __LINE__)

// Makes a fresh empty directory and goes there. Tests that need a file system of their own mount
// one inside it.
CHECK_UNUSED static void scratch(void)
{
    static char path[64];

    snprintf(path, sizeof(path), "/tmp/test.%d", (int)getpid());
    umask(022);
    MUST(mkdir(path, 0755));
    MUST(chdir(path));
}

// Creates or overwrites a file with this text.
CHECK_UNUSED static void put_file(const char *path, const char *text, mode_t mode)
{
    int file = (int)MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));

    MUST(write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1);
    close(file);
}

// The contents of a small file in a static buffer; "" if it cannot be read.
CHECK_UNUSED static const char *get_file(const char *path)
{
    static char text[16384];
    size_t length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file >= 0) {
        ssize_t got;
        while (length < sizeof(text) - 1 &&
               (got = read(file, text + length, sizeof(text) - 1 - length)) > 0) {
            length += (size_t)got;
        }
        close(file);
    }
    text[length] = 0;
    return text;
}

CHECK_UNUSED static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

CHECK_UNUSED static void sleep_ms(unsigned milliseconds)
{
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};

    while (nanosleep(&time, &time) < 0 && errno == EINTR) {
    }
}

// Waits until a thread or process of ours sleeps in the kernel (state S or D in /proc), so that a
// test can act on a waiter without guessing times; gives up after five seconds.
CHECK_UNUSED static bool wait_until_asleep(pid_t process, pid_t thread)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)process, (int)thread);
    for (int i = 0; i < 2500; i++) {
        const char *text = get_file(path);
        const char *state = strrchr(text, ')');
        if (state != NULL && (state[2] == 'S' || state[2] == 'D')) {
            return true;
        }
        sleep_ms(2);
    }
    return false;
}
