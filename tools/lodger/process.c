// SPDX-License-Identifier: MIT
//
// Running a command of the host.
#include "tools/lodger/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// Output beyond this is dropped.
#define OUTPUT_MAX_BYTES (8u << 20)

[[noreturn]] static void become(char *const *command, const char *folder, int output)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (folder != NULL && chdir(folder) != 0) {
        dprintf(STDERR_FILENO, "cannot change to %s: %s\n", folder, strerror(errno));
        _exit(EXIT_OWN_ERROR);
    }
    execvp(command[0], command);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", command[0], strerror(errno));
    _exit(EXIT_OWN_ERROR);
}

// Collects output until its end or the deadline. Returns false at the deadline.
static bool collect(int fd, uint64_t deadline_ns, struct buffer *output)
{
    uint8_t chunk[16384];
    for (;;) {
        int patience_ms = -1;
        if (deadline_ns != 0) {
            uint64_t now_ns = time_now_ns();
            if (now_ns >= deadline_ns) {
                return false;
            }
            patience_ms = (int)((deadline_ns - now_ns) / 1000000 + 1);
        }
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, patience_ms) <= 0) {
            continue;
        }
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return true;
        }
        if (got > 0 && output->len_bytes < OUTPUT_MAX_BYTES) {
            buffer_add(output, chunk, (size_t)got);
        }
    }
}

void process_run(
    char *const *command, const char *folder, uint64_t timeout_ns, struct process_result *result)
{
    *result = (struct process_result){};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        die("cannot create a pipe: %s", strerror(errno));
    }
    uint64_t start_ns = time_now_ns();
    pid_t pid = fork();
    if (pid < 0) {
        die("cannot start %s: %s", command[0], strerror(errno));
    }
    if (pid == 0) {
        become(command, folder, ends[1]);
    }
    close(ends[1]);
    result->timed_out =
        !collect(ends[0], timeout_ns != 0 ? start_ns + timeout_ns : 0, &result->output);
    if (result->timed_out) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
    }
    close(ends[0]);
    while (waitpid(pid, &result->status, 0) < 0 && errno == EINTR) {
    }
    result->duration_ns = time_now_ns() - start_ns;
}

bool process_succeeded(const struct process_result *result)
{
    return !result->timed_out && WIFEXITED(result->status) && WEXITSTATUS(result->status) == 0;
}
