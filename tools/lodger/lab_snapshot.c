// SPDX-License-Identifier: MIT
//
// Taking the snapshot of a booted host: a migration into a file, through QMP.
//
// About one in ten does not hold what it should: a CPU that had been idle comes back with a wrong
// stack pointer and panics at once, whenever it is used (QEMU 7.2, TCG). So each snapshot is tried
// before anybody else gets it, and taken again.
#include "tools/lodger/lab.h"
#include "tools/lodger/process.h"
#include "tools/lodger/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A host boots in 5 s on a quiet machine.
#define BOOT_PATIENCE_NS 180000000000ull
#define SAVE_PATIENCE_S  60
#define TRY_PATIENCE_NS  60000000000ull
#define SNAPSHOTS_MAX    4
#define BANDWIDTH        ((json_int_t)100000000000) // bytes/s: no limit

// A host that boots for its snapshot, or comes back from one.
struct booting {
    pid_t pid;
    int control; // our end of its control port
    int monitor; // our end of its QMP; -1 once it has been given away
};

static void make_pair(int *ours, int *theirs)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        die("cannot create a socket pair: %s", strerror(errno));
    }
    *ours = pair[0];
    *theirs = pair[1];
}

// `snapshot`: open for reading, or -1.
static void start(
    const struct lab_host *host, int snapshot, const char *messages, struct booting *booting)
{
    int control, monitor;
    make_pair(&booting->control, &control);
    make_pair(&booting->monitor, &monitor);
    size_t len_bytes = 1u << 30;
    int job = memfd_create("lodger-lab-job", MFD_CLOEXEC);
    if (job < 0 || ftruncate(job, (off_t)len_bytes) != 0) {
        die("cannot make an empty job: %s", strerror(errno));
    }
    struct machine_streams streams = {
        .console = -1, .log = -1, .code = -1, .out = -1, .err = -1, .control = control};
    struct strings command = {};
    lab_host_command(host, &streams, snapshot, job, &command);
    strings_add(&command, "-chardev");
    strings_addf(&command, "socket,id=monitor,fd=%d", monitor);
    strings_add(&command, "-mon");
    strings_add(&command, "chardev=monitor,mode=control");
    pid_t parent = getpid();
    booting->pid = fork();
    if (booting->pid < 0) {
        die("cannot start QEMU: %s", strerror(errno));
    }
    if (booting->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(EXIT_OWN_ERROR);
        }
        fcntl(control, F_SETFD, 0);
        fcntl(monitor, F_SETFD, 0);
        fcntl(job, F_SETFD, 0);
        if (snapshot >= 0) {
            fcntl(snapshot, F_SETFD, 0);
        }
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(open(messages, O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
        dup2(STDOUT_FILENO, STDERR_FILENO);
        execvp(command.items[0], command.items);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", command.items[0], strerror(errno));
        _exit(EXIT_OWN_ERROR);
    }
    close(control);
    close(monitor);
    close(job);
    strings_free(&command);
}

// Reads until `text` has come. Returns false at the end of the stream or when the time is up.
static bool wait_for(int fd, const char *text, uint64_t patience_ns)
{
    struct buffer seen = {};
    uint64_t deadline_ns = time_now_ns() + patience_ns;
    bool found = false;
    while (!found) {
        char chunk[4096];
        uint64_t now_ns = time_now_ns();
        if (now_ns >= deadline_ns) {
            break;
        }
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        if (poll(&wanted, 1, (int)((deadline_ns - now_ns) / 1000000 + 1)) <= 0) {
            continue;
        }
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got <= 0) {
            break;
        }
        buffer_add(&seen, chunk, (size_t)got);
        found = memmem(seen.data, seen.len_bytes, text, strlen(text)) != NULL;
    }
    buffer_free(&seen);
    return found;
}

// Executes a command whose answer says nothing; consumes `arguments`.
static bool execute(struct qmp *qmp, const char *command, json_t *arguments)
{
    json_t *answer = qmp_execute(qmp, command, arguments);
    json_decref(answer);
    return answer != NULL;
}

// Has the running host written to `path`.
static bool save(struct booting *booting, const char *path)
{
    char *quoted = shell_quote(path);
    json_t *place = json_pack("{s:s+}", "uri", "exec:cat >", quoted);
    free(quoted);
    struct qmp *qmp = qmp_open(booting->monitor, SAVE_PATIENCE_S);
    booting->monitor = -1;
    bool saved =
        qmp != NULL &&
        execute(qmp, "migrate-set-parameters", json_pack("{s:I}", "max-bandwidth", BANDWIDTH)) &&
        execute(qmp, "migrate-set-capabilities",
            json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "events", "state", 1)) &&
        execute(qmp, "migrate", json_incref(place)) && qmp_await(qmp, "MIGRATION", "completed") &&
        execute(qmp, "quit", NULL); // QEMU ends only when the state is written
    qmp_close(qmp);
    json_decref(place);
    return saved;
}

// Waits for the host's end; when the time is up, it is killed. Returns waitpid()'s status.
static int end(struct booting *booting, uint64_t patience_ns)
{
    int status = 0;
    uint64_t deadline_ns = time_now_ns() + patience_ns;
    while (waitpid(booting->pid, &status, WNOHANG) != booting->pid) {
        if (time_now_ns() >= deadline_ns) {
            kill(booting->pid, SIGKILL);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    close(booting->control);
    if (booting->monitor >= 0) {
        close(booting->monitor);
    }
    return status;
}

// Boots a host and writes its snapshot. False: *reason says why not.
static bool take(const struct lab_host *host, const char *path, const char *messages, char **reason)
{
    struct booting booting;
    start(host, -1, messages, &booting);
    bool ready = wait_for(booting.control, "ready\n", BOOT_PATIENCE_NS);
    bool saved = ready && save(&booting, path);
    if (!saved) {
        *reason = xstrdup(ready ? "its state could not be written" : "it did not boot");
    }
    end(&booting, saved ? SAVE_PATIENCE_S * 1000000000ull : 0);
    return saved;
}

// Does a host that comes back from the snapshot do what it is told, which is to end?
static bool comes_back(
    const struct lab_host *host, const char *path, const char *messages, char **reason)
{
    static const char word[] = "end\n";
    struct booting booting;
    int snapshot = open(path, O_RDONLY | O_CLOEXEC);
    if (snapshot < 0) {
        *reason = xasprintf("%s: %s", path, strerror(errno));
        return false;
    }
    start(host, snapshot, messages, &booting);
    close(snapshot);
    bool told = write(booting.control, word, sizeof(word) - 1) > 0;
    int status = end(&booting, told ? TRY_PATIENCE_NS : 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        *reason = xstrdup("it does not come back from its snapshot");
        return false;
    }
    return true;
}

bool lab_snapshot_take(const struct lab_host *host, const char *path, char **reason)
{
    char *part = xasprintf("%s.part", path);
    char *messages = xasprintf("%s/snapshot.log", folder_temporary());
    bool good = false;
    signal(SIGPIPE, SIG_IGN);
    for (unsigned tries = 0; tries < SNAPSHOTS_MAX && !good; tries++) {
        char *why = NULL;
        good = take(host, part, messages, &why) && comes_back(host, part, messages, &why) &&
               rename(part, path) == 0;
        if (!good) {
            char *text = file_read_text(messages);
            free(*reason);
            *reason =
                xasprintf("%s\n%s", why != NULL ? why : strerror(errno), text != NULL ? text : "");
            free(text);
            unlink(part);
            if (tries + 1 < SNAPSHOTS_MAX) {
                warn("the lab's host: %s; once more", why != NULL ? why : strerror(errno));
            }
        }
        free(why);
    }
    if (good) {
        free(*reason); // of an earlier try
        *reason = NULL;
    }
    free(part);
    free(messages);
    return good;
}

int lab_snapshot_open(const struct lab_host *host)
{
    return host->snapshot != NULL ? open(host->snapshot, O_RDONLY | O_CLOEXEC) : -1;
}
