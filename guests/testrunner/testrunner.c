// SPDX-License-Identifier: MIT
//
// First process of a guest that runs tests, on Lodger and on Linux alike.
//
//   testrunner [--timeout SECONDS] [--poweroff] [TEST [ARGUMENT...]] ...
//
// Mounts /proc, /dev, /dev/pts, /sys and /tmp (whichever the kernel has not mounted already), then
// runs the tests named in /tests/list, one command line a line, or else every program in /tests in
// the order of names. Each test runs in its own session with standard input from /dev/null; what it
// prints is collected and written in one piece, between two lines that name it:
//
//   @@@ begin NAME
//   ...
//   @@@ end NAME exit 0 | signal 11 | timeout
//
// and after the last one `@@@ done N`. After each test every process that it left behind is killed
// (as process 1, that is everybody else), and its directories under /tmp are left for later tests
// to ignore. As process 1 it powers the machine off at the end.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { LINES_MAX = 512, ARGUMENTS_MAX = 16, OUTPUT_MAX = 1 << 20, TIMEOUT_DEFAULT_S = 60 };

static char *command_lines[LINES_MAX];
static unsigned command_count;
static unsigned timeout_s = TIMEOUT_DEFAULT_S;

// Mounts a file system unless something is mounted there already.
static void mount_if_missing(const char *type, const char *path, const char *options)
{
    struct stat here, above;
    char parent[64];

    mkdir(path, 0755);
    snprintf(parent, sizeof(parent), "%s/..", path);
    if (stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev) {
        return;
    }
    if (mount(type, path, type, 0, options) < 0 && errno != EBUSY) {
        printf("testrunner: cannot mount %s on %s: %s\n", type, path, strerror(errno));
    }
}

static void prepare_file_systems(void)
{
    mount_if_missing("proc", "/proc", NULL);
    mount_if_missing("devtmpfs", "/dev", NULL);
    mount_if_missing("devpts", "/dev/pts", "ptmxmode=666");
    mount_if_missing("sysfs", "/sys", NULL);
    mount_if_missing("tmpfs", "/tmp", "mode=1777");
}

static void add_command(const char *line)
{
    if (command_count < LINES_MAX && line[0] != 0 && line[0] != '#') {
        command_lines[command_count++] = strdup(line);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_commands(void)
{
    FILE *list = fopen("/tests/list", "r");

    if (list != NULL) {
        char line[512];
        while (fgets(line, sizeof(line), list) != NULL) {
            line[strcspn(line, "\n")] = 0;
            add_command(line);
        }
        fclose(list);
        return;
    }
    DIR *directory = opendir("/tests");
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[512];
        struct stat about;
        snprintf(path, sizeof(path), "/tests/%s", entry->d_name);
        if (stat(path, &about) == 0 && S_ISREG(about.st_mode) && (about.st_mode & 0111) != 0) {
            add_command(entry->d_name);
        }
    }
    closedir(directory);
    qsort(command_lines, command_count, sizeof(command_lines[0]), compare_lines);
}

static uint64_t now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

// Writes everything to the console, whatever the console does in between.
static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t done = write(STDOUT_FILENO, text, length);
        if (done < 0 && errno != EINTR) {
            return;
        }
        if (done > 0) {
            text += done;
            length -= (size_t)done;
        }
    }
}

static void run_program(char *line)
{
    char *arguments[ARGUMENTS_MAX + 1];
    char path[256];
    size_t count = 0;

    for (char *word = strtok(line, " "); word != NULL && count < ARGUMENTS_MAX;
        word = strtok(NULL, " ")) {
        arguments[count++] = word;
    }
    arguments[count] = NULL;
    if (count == 0) {
        _exit(127);
    }
    static char *environment[] = {
        "PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", "TERM=linux", "LC_ALL=C", "TZ=UTC0", NULL};
    snprintf(path, sizeof(path), "%s%s", arguments[0][0] == '/' ? "" : "/tests/", arguments[0]);
    execve(path, arguments, environment);
    printf("cannot run %s: %s\n", path, strerror(errno));
    fflush(stdout);
    _exit(127);
}

// Runs one test and prints what it printed. Returns true if it ended with 0.
static bool run_test(const char *line)
{
    static char output[OUTPUT_MAX];
    size_t length = 0;
    int ends[2];
    char name[256];

    snprintf(name, sizeof(name), "%s", line);
    name[strcspn(name, " ")] = 0;
    printf("@@@ begin %s\n", name);
    fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) < 0) {
        printf("@@@ end %s error: no pipe\n", name);
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        if (null > 2) {
            close(null);
        }
        setsid();
        signal(SIGPIPE, SIG_DFL);
        run_program(strdup(line));
    }
    close(ends[1]);

    // The test is over when its first process has ended, even if others still hold the pipe.
    int status = 0;
    bool ended = false;
    uint64_t deadline_ms = now_ms() + (uint64_t)timeout_s * 1000;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    while (now_ms() < deadline_ms) {
        struct pollfd source = {.fd = ends[0], .events = POLLIN};
        poll(&source, 1, ended ? 0 : 20);
        ssize_t got = 0;
        if (length < sizeof(output) - 1) {
            got = read(ends[0], output + length, sizeof(output) - 1 - length);
            length += got > 0 ? (size_t)got : 0;
        }
        if (ended && got <= 0) {
            break;
        }
        pid_t gone = ended ? 0 : waitpid(child, &status, WNOHANG);
        ended = ended || gone == child;
        if (got == 0 && !ended && length < sizeof(output) - 1) {
            usleep(5000); // everybody closed the pipe, yet the test goes on
        }
    }
    if (!ended) {
        kill(-child, SIGKILL);
        kill(child, SIGKILL);
    }
    if (getpid() == 1) {
        kill(-1, SIGKILL);
    }
    if (!ended) {
        waitpid(child, &status, 0);
    }
    while (waitpid(-1, NULL, getpid() == 1 ? 0 : WNOHANG) > 0) {
    }
    close(ends[0]);

    if (length > 0 && output[length - 1] != '\n') {
        output[length++] = '\n';
    }
    write_all(output, length);
    if (!ended) {
        printf("@@@ end %s timeout\n", name);
    } else if (WIFEXITED(status)) {
        printf("@@@ end %s exit %d\n", name, WEXITSTATUS(status));
    } else {
        printf("@@@ end %s signal %d\n", name, WTERMSIG(status));
    }
    fflush(stdout);
    return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    bool power_off = getpid() == 1;

    if (getpid() == 1) {
        prepare_file_systems();
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--timeout") == 0 && i + 1 < argc) {
            timeout_s = (unsigned)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--poweroff") == 0) {
            power_off = true;
        } else if (argv[i][0] != '-') {
            add_command(argv[i]);
        }
    }
    if (command_count == 0) {
        read_commands();
    }
    unsigned failed = 0;
    for (unsigned i = 0; i < command_count; i++) {
        failed += !run_test(command_lines[i]);
    }
    printf("@@@ done %u\n", command_count);
    fflush(stdout);
    if (power_off) {
        sync();
        tcdrain(STDOUT_FILENO); // Linux switches off with output still waiting
        reboot(RB_POWER_OFF);
    }
    return failed != 0;
}
