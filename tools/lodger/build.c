// SPDX-License-Identifier: MIT
//
// Building what a command needs.
#include "tools/lodger/build.h"
#include "tools/lodger/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

// Without a terminal, progress is a line in this interval.
#define PROGRESS_INTERVAL_NS 5000000000ull
// Columns of progress that fit on any terminal.
#define PROGRESS_COLUMNS 76

// Starts the command with both its outputs on a pipe. Returns the reading end.
static int start(char *const *command, pid_t *pid)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        die("cannot create a pipe: %s", strerror(errno));
    }
    *pid = fork();
    if (*pid < 0) {
        die("cannot start %s: %s", command[0], strerror(errno));
    }
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        if (chdir(tree_root()) == 0) {
            execvp(command[0], command);
        }
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", command[0], strerror(errno));
        _exit(EXIT_OWN_ERROR);
    }
    close(ends[1]);
    return ends[0];
}

struct progress {
    const char *title;
    bool terminal;
    bool shown;
    uint64_t last_ns;
};

static void show(struct progress *progress, const char *line, size_t len_bytes)
{
    if (strncmp(line, "ninja: ", 7) == 0) {
        return;
    }
    int columns = PROGRESS_COLUMNS - (int)strlen(progress->title);
    int shown = len_bytes > (size_t)columns ? columns : (int)len_bytes;
    if (progress->terminal) {
        fprintf(stderr, "\r\033[K%s: %.*s", progress->title, shown, line);
        progress->shown = true;
    } else if (time_now_ns() - progress->last_ns > PROGRESS_INTERVAL_NS) {
        fprintf(stderr, "%s: %.*s\n", progress->title, shown, line);
        progress->last_ns = time_now_ns();
    }
}

void build_run_with_progress(const char *title, char *const *command)
{
    struct progress progress = {
        .title = title, .terminal = isatty(STDERR_FILENO), .last_ns = time_now_ns()};
    pid_t pid;
    FILE *output = fdopen(start(command, &pid), "r");
    struct buffer log = {};
    char *line = NULL;
    size_t capacity_bytes = 0;
    ssize_t len_bytes;
    while (output != NULL && (len_bytes = getline(&line, &capacity_bytes, output)) > 0) {
        buffer_add(&log, line, (size_t)len_bytes);
        show(&progress, line, (size_t)len_bytes - (line[len_bytes - 1] == '\n'));
    }
    free(line);
    if (output != NULL) {
        fclose(output);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (progress.shown) {
        fputs("\r\033[K", stderr);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fwrite(log.data, 1, log.len_bytes, stderr);
        char *shown = shell_quote_all(command);
        die("%s failed; the command was: %s", title, shown);
    }
    buffer_free(&log);
}

// What tools/tidy finds is shown but stops nobody: `lodger test` has it as a test.
static void report_tidy(void)
{
    char *tidy = tree_path("out/host/tidy");
    if (access(tidy, X_OK) == 0) {
        struct process_result result;
        process_run((char *[]){tidy, NULL}, tree_root(), 0, &result);
        fwrite(result.output.data, 1, result.output.len_bytes, stderr);
        buffer_free(&result.output);
    }
    free(tidy);
}

// Ninja must not run twice in one folder at a time; who comes second waits. Released by closing, at
// the latest by the end of this program.
static int lock_folder(const char *variant)
{
    char *folder = tree_path("out/%s", variant);
    folder_create(folder);
    char *path = xasprintf("%s/.lock", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        die("cannot open %s: %s", path, strerror(errno));
    }
    while (flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            die("cannot lock %s: %s", path, strerror(errno));
        }
    }
    free(folder);
    free(path);
    return fd;
}

void build(const char *variant, const struct strings *targets)
{
    int lock = lock_folder(variant);
    struct strings generate = {};
    strings_add_words(&generate, "gn gen -q --check --export-compile-commands");
    strings_addf(&generate, "out/%s", variant);
    strings_addf(&generate, "--args=variant=\"%s\"", variant);
    build_run_with_progress("gn", generate.items);
    strings_free(&generate);

    struct strings ninja = {};
    strings_add_words(&ninja, "ninja -C");
    strings_addf(&ninja, "out/%s", variant);
    for (size_t i = 0; i < targets->count; i++) {
        strings_add(&ninja, targets->items[i]);
    }
    char *title = xasprintf("building %s", variant);
    build_run_with_progress(title, ninja.items);
    free(title);
    strings_free(&ninja);

    report_tidy();
    close(lock);
}
