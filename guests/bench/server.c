// SPDX-License-Identifier: MIT
//
// First process of a guest that is measured, on Lodger and on Linux alike: runs the benchmarks that
// it is told to run, one at a time.
//
// Commands are lines: of /bench/list if there is such a file, and then it powers the machine off;
// else of the console.
//
//   set KEY=VALUE             environment of what comes after
//   run NAME [ARGUMENT...]    a benchmark (README.md); at most `timeout` seconds
//   timeout SECONDS
//   clock                     prints `=bench clock NANOSECONDS`, what CLOCK_MONOTONIC says
//   quit                      powers the machine off
//
// What it prints: `=bench ready` once, and for each `run`
//
//   =bench begin NAME
//   what the benchmark printed
//   =bench end NAME exit 0 | signal 11 | timeout | error TEXT
//
// The output of a benchmark goes to a file first, so that the console, which is slow and whose
// interrupts others would feel, is used only when nothing is measured. After each benchmark every
// process that it left behind is killed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_PATH "/tmp/.output"
// Of a benchmark's output that much is passed on, from its end.
#define OUTPUT_KEPT_BYTES 65536
#define ARGUMENTS_MAX     16

static long timeout_s = 60;

static void mount_one(const char *type, const char *path, const char *options)
{
    mkdir(path, 0755);
    if (mount(type, path, type, 0, options) != 0 && errno != EBUSY) {
        printf("bench-server: cannot mount %s on %s: %s\n", type, path, strerror(errno));
    }
}

static void mount_all(void)
{
    struct stat about;
    if (stat("/proc/self", &about) != 0) {
        mount_one("proc", "/proc", NULL);
    }
    if (stat("/dev/null", &about) != 0) {
        mount_one("devtmpfs", "/dev", NULL);
    }
    mount_one("devpts", "/dev/pts", "ptmxmode=666");
    mount_one("tmpfs", "/dev/shm", "mode=1777");
    mount_one("sysfs", "/sys", NULL);
    mount_one("tmpfs", "/tmp", "mode=1777");
}

// A kernel with its disk driver in modules finds them here. One that knows no modules has it built
// in; what is missing shows when a benchmark looks for the disk.
static void load_modules(void)
{
    for (int i = 0;; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/bench/modules/%d.ko", i);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            return;
        }
        syscall(SYS_finit_module, file, "", 0);
        close(file);
    }
}

static void write_all(const char *text, size_t len_bytes)
{
    while (len_bytes > 0) {
        ssize_t done = write(STDOUT_FILENO, text, len_bytes);
        if (done < 0 && errno != EINTR) {
            return;
        }
        text += done > 0 ? done : 0;
        len_bytes -= done > 0 ? (size_t)done : 0;
    }
}

static void pass_output_on(void)
{
    static char text[OUTPUT_KEPT_BYTES];
    int file = open(OUTPUT_PATH, O_RDONLY);
    if (file < 0) {
        return;
    }
    off_t size = lseek(file, 0, SEEK_END);
    lseek(file, size > OUTPUT_KEPT_BYTES ? size - OUTPUT_KEPT_BYTES : 0, SEEK_SET);
    ssize_t got;
    char last = '\n';
    while ((got = read(file, text, sizeof(text))) > 0) {
        write_all(text, (size_t)got);
        last = text[got - 1];
    }
    if (last != '\n') {
        write_all("\n", 1);
    }
    close(file);
}

// In the child. `arguments[0]` is the benchmark's name.
[[noreturn]] static void run_program(char **arguments)
{
    static char macro[256], folder[256];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    int null = open("/dev/null", O_RDONLY);
    int output = open(OUTPUT_PATH, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (null < 0 || output < 0) {
        _exit(126);
    }
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close(null);
    close(output);
    snprintf(macro, sizeof(macro), "/bench/macro/%s", arguments[0]);
    if (access(macro, R_OK) == 0) {
        snprintf(folder, sizeof(folder), "/tmp/%s.%d", arguments[0], (int)getpid());
        if (mkdir(folder, 0755) == 0 && chdir(folder) == 0) {
            execl("/bin/sh", "sh", macro, (char *)NULL);
        }
        printf("cannot run /bin/sh in %s: %s\n", folder, strerror(errno));
    } else {
        char *command[ARGUMENTS_MAX + 2] = {"/bench/bench"};
        for (int i = 0; i < ARGUMENTS_MAX; i++) {
            command[i + 1] = arguments[i];
        }
        execv(command[0], command);
        printf("cannot run %s: %s\n", command[0], strerror(errno));
    }
    fflush(stdout);
    _exit(127);
}

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// Waits for the child, without looking again and again, which would be felt. Returns false when its
// time has run out.
static bool await_end(pid_t child, int *status)
{
    double deadline_s = now_s() + (double)timeout_s;
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    for (;;) {
        if (waitpid(child, status, WNOHANG) == child) {
            return true;
        }
        double left_s = deadline_s - now_s();
        if (left_s <= 0) {
            return false;
        }
        struct timespec patience = {.tv_sec = (time_t)left_s + 1};
        sigtimedwait(&ended, NULL, &patience);
    }
}

static void run(char **arguments)
{
    const char *name = arguments[0];
    int status = 0;
    printf("=bench begin %s\n", name);
    fflush(stdout);
    tcdrain(STDOUT_FILENO); // Linux prints by interrupts
    pid_t child = fork();
    if (child == 0) {
        run_program(arguments);
    }
    if (child < 0) {
        printf("=bench end %s error no process: %s\n", name, strerror(errno));
        return;
    }
    bool ended = await_end(child, &status);
    if (!ended) {
        kill(-child, SIGKILL);
    }
    if (getpid() == 1) {
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0) {
        }
    }
    pass_output_on();
    unlink(OUTPUT_PATH);
    if (!ended) {
        printf("=bench end %s timeout\n", name);
    } else if (WIFEXITED(status)) {
        printf("=bench end %s exit %d\n", name, WEXITSTATUS(status));
    } else {
        printf("=bench end %s signal %d\n", name, WTERMSIG(status));
    }
    fflush(stdout);
}

// Obeys one line. Returns false if it was the last one.
static bool obey(char *line)
{
    char *words[ARGUMENTS_MAX + 1] = {NULL};
    int count = 0;
    for (char *word = strtok(line, " \r\n"); word != NULL && count < ARGUMENTS_MAX;
        word = strtok(NULL, " \r\n")) {
        words[count++] = word;
    }
    if (count == 2 && strcmp(words[0], "set") == 0) {
        putenv(strdup(words[1]));
    } else if (count == 2 && strcmp(words[0], "timeout") == 0) {
        timeout_s = strtol(words[1], NULL, 10);
    } else if (count == 1 && strcmp(words[0], "clock") == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("=bench clock %lld%09ld\n", (long long)now.tv_sec, now.tv_nsec);
        fflush(stdout);
    } else if (count >= 2 && strcmp(words[0], "run") == 0) {
        run(words + 1);
    } else if (count > 0 && strcmp(words[0], "quit") == 0) {
        return false;
    } else if (count > 0) {
        printf("bench-server: what is %s?\n", words[0]);
        fflush(stdout);
    }
    return true;
}

static void prepare_environment(void)
{
    clearenv();
    putenv("PATH=/bench:/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin");
    putenv("HOME=/root");
    putenv("LC_ALL=C");
    putenv("TZ=UTC0");
    putenv("TERM=dumb");
}

static void silence_echo(void)
{
    struct termios settings;
    if (tcgetattr(STDIN_FILENO, &settings) == 0) {
        settings.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
        tcsetattr(STDIN_FILENO, TCSANOW, &settings);
    }
}

int main(void)
{
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    mount_all();
    load_modules();
    prepare_environment();
    FILE *commands = fopen("/bench/list", "r");
    if (commands == NULL) {
        commands = stdin;
        silence_echo();
    }
    puts("=bench ready");
    fflush(stdout);
    char line[512];
    while (fgets(line, sizeof(line), commands) != NULL && obey(line)) {
    }
    puts("=bench done");
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    if (getpid() == 1) {
        sync();
        reboot(RB_POWER_OFF);
    }
    return 0;
}
