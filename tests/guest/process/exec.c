// SPDX-License-Identifier: MIT
//
// Claim: execve replaces the program: arguments, environment and auxiliary vector arrive; handlers
// are reset and ignored signals, mask, pending signals and ids kept; close-on-exec descriptors are
// closed; threads end; a failing execve leaves everything as it was, with the right error.
// Method: this program runs itself with a role as first argument; each role looks at what it got.
#include "tests/guest/check.h"
#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

extern char **environ;

static int role_arguments(int argc, char **argv)
{
    CHECK_EQ(argc, 5);
    CHECK_STR(argv[0], "name that is not the path");
    CHECK_STR(argv[2], "");
    CHECK_STR(argv[3], "two words");
    CHECK_STR(argv[4], "\xff\x01");
    CHECK(argv[5] == NULL);
    CHECK_STR(environ[0], "A=1");
    CHECK_STR(environ[1], "no equals sign");
    CHECK(environ[2] == NULL);
    CHECK_EQ(getauxval(AT_PAGESZ), 4096);
    CHECK_EQ(getauxval(AT_CLKTCK), 100);
    CHECK_EQ(getauxval(AT_UID), 0);
    CHECK_EQ(getauxval(AT_SECURE), 0);
    CHECK_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    CHECK(getauxval(AT_PHNUM) > 0);
    CHECK(getauxval(AT_ENTRY) != 0);
    CHECK(getauxval(AT_HWCAP) != 0);
    CHECK(getauxval(AT_SYSINFO_EHDR) != 0);
    CHECK_STR((char *)getauxval(AT_PLATFORM), "x86_64");
    const char *file = (char *)getauxval(AT_EXECFN);
    CHECK_STR(file, "/proc/self/exe");
    unsigned char *random = (unsigned char *)getauxval(AT_RANDOM);
    int sum = 0;
    for (int i = 0; i < 16; i++) {
        sum += random[i];
    }
    CHECK(sum != 0);
    // The stack is writable and not executable, aligned when the program starts.
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    CHECK_STR(name, "exe");
    return check_done();
}

static int role_signals(void)
{
    struct sigaction action;
    sigset_t set;

    sigaction(SIGUSR1, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, NULL, &action);
    CHECK(action.sa_handler == SIG_IGN);
    sigprocmask(SIG_SETMASK, NULL, &set);
    CHECK(sigismember(&set, SIGTERM) == 1);
    CHECK(sigismember(&set, SIGHUP) == 0);
    sigpending(&set);
    CHECK(sigismember(&set, SIGTERM) == 1);
    stack_t stack;
    OK(sigaltstack(NULL, &stack));
    CHECK_EQ(stack.ss_flags, SS_DISABLE);
    ERR(EBADF, fcntl(100, F_GETFD));
    CHECK_EQ(fcntl(101, F_GETFD), 0);
    CHECK_EQ(alarm(0), 1000);
    return check_done();
}

static void handler(int number)
{
    (void)number;
}

static void keep_and_reset(void)
{
    static char alternative[16384];
    stack_t stack = {.ss_sp = alternative, .ss_size = sizeof(alternative)};
    sigset_t set;

    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    sigaltstack(&stack, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTERM);
    int null = (int)MUST(open("/dev/null", O_RDONLY));
    MUST(dup3(null, 100, O_CLOEXEC));
    MUST(dup2(null, 101));
    alarm(1000);
    execl("/proc/self/exe", "exec", "signals", (char *)NULL);
    CHECK(!"reached");
}

static void pass_arguments(void)
{
    char *arguments[] = {
        "name that is not the path", "arguments", "", "two words", "\xff\x01", NULL};
    char *environment[] = {"A=1", "no equals sign", NULL};

    execve("/proc/self/exe", arguments, environment);
    CHECK(!"reached");
}

static void *exec_from_thread(void *argument)
{
    execl("/proc/self/exe", "exec", "alone", argument, (char *)NULL);
    return NULL;
}

// exec from a second thread: the process keeps its id and the first thread is gone.
static void from_thread(void)
{
    char id[16];
    pthread_t threads[4];

    snprintf(id, sizeof(id), "%d", getpid());
    pthread_create(&threads[0], NULL, exec_from_thread, id);
    for (;;) {
        pause();
    }
}

static int role_alone(const char *id)
{
    CHECK(getpid() == atoi(id));
    CHECK((pid_t)syscall(SYS_gettid) == getpid());
    int threads = 0;
    const char *line = strstr(get_file("/proc/self/status"), "\nThreads:");
    CHECK(line != NULL && sscanf(line, "\nThreads: %d", &threads) == 1);
    CHECK_EQ(threads, 1);
    return check_done();
}

static void no_arguments(void)
{
    // Linux gives a program without arguments one empty argument.
    char *none[] = {NULL};
    execve("/bin/busybox", none, none);
    CHECK(!"reached");
}

static void errors(void)
{
    char *arguments[] = {"x", NULL}, *none[] = {NULL};

    ERR(ENOENT, execve("missing", arguments, none));
    ERR(ENOENT, execve("", arguments, none));
    ERR(EACCES, execve("/tmp", arguments, none));
    ERR(EFAULT, execve((char *)8, arguments, none));
    ERR(EFAULT, execve("/bin/busybox", (char **)8, none));
    char *wild[] = {"x", (char *)8, NULL};
    ERR(EFAULT, execve("/bin/busybox", wild, none));
    ERR(EFAULT, execve("/bin/busybox", arguments, wild));
    put_file("plain", "#!/bin/sh\n", 0644);
    ERR(EACCES, execve("plain", arguments, none)); // not even root without an x bit
    put_file("empty", "", 0755);
    ERR(ENOEXEC, execve("empty", arguments, none));
    put_file("text", "echo hello\n", 0755);
    ERR(ENOEXEC, execve("text", arguments, none));
    ERR(ENOTDIR, execve("plain/x", arguments, none));
    MUST(symlink("loop", "loop"));
    ERR(ELOOP, execve("loop", arguments, none));
    char name[300];
    memset(name, 'n', sizeof(name));
    name[299] = 0;
    ERR(ENAMETOOLONG, execve(name, arguments, none));
    put_file("elf", "\177ELF\2\1\1", 0755);
    ERR(ENOEXEC, execve("elf", arguments, none));
    int file = (int)MUST(open("plain", O_WRONLY));
    fchmod(file, 0755);
    ERR(ETXTBSY, execve("plain", arguments, none));
    close(file);
}

// A running program's file cannot be opened for writing; a closed one can.
static void text_busy(void)
{
    MUST(system("/bin/busybox cp /bin/busybox ./copy") == 0 ? 0 : -1);
    int ends[2];
    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[0], 0);
        close(ends[1]);
        execl("./copy", "cat", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    char path[64], target[64] = "";
    snprintf(path, sizeof(path), "/proc/%d/exe", child);
    for (int i = 0; i < 1000 && strstr(target, "/copy") == NULL; i++) {
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = 0;
        sleep_ms(2);
    }
    ERR(ETXTBSY, open("copy", O_WRONLY));
    ERR(ETXTBSY, truncate("copy", 0));
    OK(close((int)OK(open("copy", O_RDONLY))));
    close(ends[1]);
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    OK(close((int)OK(open("copy", O_WRONLY))));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "arguments") == 0) {
        return role_arguments(argc, argv);
    }
    if (argc > 1 && strcmp(argv[1], "signals") == 0) {
        return role_signals();
    }
    if (argc > 2 && strcmp(argv[1], "alone") == 0) {
        return role_alone(argv[2]);
    }
    scratch();
    CHILD(pass_arguments, "exit 0");
    CHILD(keep_and_reset, "exit 0");
    CHILD(from_thread, "exit 0");
    CHECK(WIFEXITED(in_child(no_arguments)));
    errors();
    text_busy();
    return check_done();
}
