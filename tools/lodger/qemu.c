// SPDX-License-Identifier: MIT
//
// Running QEMU and relaying its byte streams.
//
// QEMU does not own the terminal: each of its streams is one end of a socket pair, and this program
// relays between the other ends and its own standard streams. So the terminal can be restored
// whatever QEMU does, the escape key works while the guest hangs, and nothing that QEMU prints
// mixes with the guest's output.
//
// QEMU is never left behind: it dies with its parent (PR_SET_PDEATHSIG), and every way out of
// qemu_run() waits for it.
#include "tools/lodger/qemu.h"
#include "kernel/core/debug_exit.h"
#include "kernel/core/host_stream.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// What is kept of a kernel's log at least.
#define LOG_KEPT_BYTES (1u << 20)
// Time that QEMU gets to end after SIGTERM.
#define STOP_PATIENCE_NS 2000000000ull
// A key pressed before the shell reads its line can get lost, so the end of input is repeated in
// this interval.
#define END_INTERVAL_NS 1000000000ull
// Running QEMUs at once, at most.
#define CHILDREN_MAX 64

enum { ESCAPE_KEY = 0x01, END_OF_TRANSMISSION = 0x04 };

// All running QEMUs; 0 is a free place.
static _Atomic pid_t children[CHILDREN_MAX];

static void children_add(pid_t pid)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        pid_t none = 0;
        if (atomic_compare_exchange_strong(&children[i], &none, pid)) {
            return;
        }
    }
}

static void children_remove(pid_t pid)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        pid_t expected = pid;
        atomic_compare_exchange_strong(&children[i], &expected, 0);
    }
}

void qemu_stop_all(void)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        pid_t pid = atomic_load(&children[i]);
        if (pid > 0) {
            kill(pid, SIGKILL);
        }
    }
}

// The streams, in the order of the poll set.
enum stream { CONSOLE, LOG, CODE, OUT, ERR, MESSAGES, CONTROL, STREAM_COUNT };

struct relay {
    struct qemu_run *run;
    pid_t pid;
    int child_fd;          // pidfd of QEMU
    int fds[STREAM_COUNT]; // our ends, -1 when closed
    int signal_fd;         // or -1
    int input_fd;
    struct buffer input;     // on its way to the console
    size_t input_sent_bytes; // of it
    bool input_open;
    bool input_is_terminal;
    bool
        guest_listens; // it has printed something: its serial port has been set up, which loses what came before
    bool escape_pressed;
    uint64_t end_again_ns; // when end-of-transmission is sent to the console again; 0: not
    bool stopping;
    uint64_t stop_deadline_ns;
    uint64_t deadline_ns; // 0: none
    uint64_t silence_deadline_ns;
    int code; // last byte of the code stream, or -1
};

static void stream_pair(int *ours, int *theirs)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        die("cannot create a socket pair: %s", strerror(errno));
    }
    *ours = pair[0];
    *theirs = pair[1];
}

// Starts QEMU. Returns its pidfd.
static void start(struct relay *relay)
{
    int theirs[STREAM_COUNT];
    for (size_t i = 0; i < STREAM_COUNT; i++) {
        stream_pair(&relay->fds[i], &theirs[i]);
    }
    fcntl(relay->fds[CONSOLE], F_SETFL, O_NONBLOCK);
    bool program = relay->run->mode == STREAMS_PROGRAM;
    struct machine_streams streams = {.console = theirs[CONSOLE],
        .log = theirs[LOG],
        .code = theirs[CODE],
        .out = program ? theirs[OUT] : -1,
        .err = program ? theirs[ERR] : -1,
        .control = theirs[CONTROL]};
    struct strings command = {};
    int lab_files[2] = {-1, -1};
    if (relay->run->machine->lab != NULL) {
        size_t job_bytes;
        lab_files[0] = lab_job_create(relay->run->machine, program, &job_bytes);
        lab_files[1] = lab_snapshot_open(relay->run->machine->lab);
        lab_host_command(relay->run->machine->lab, &streams, lab_files[1], lab_files[0], &command);
        dprintf(relay->fds[CONTROL], "job %zu\n", job_bytes);
    } else {
        machine_command(relay->run->machine, &streams, &command);
    }

    pid_t parent = getpid();
    relay->pid = fork();
    if (relay->pid < 0) {
        die("cannot start QEMU: %s", strerror(errno));
    }
    if (relay->pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0); // keys pressed on the terminal are for us
        if (getppid() != parent) {
            _exit(EXIT_OWN_ERROR);
        }
        for (size_t i = 0; i < STREAM_COUNT; i++) {
            fcntl(theirs[i], F_SETFD, 0);
        }
        for (size_t i = 0; i < 2; i++) {
            fcntl(lab_files[i], F_SETFD, 0);
        }
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(theirs[MESSAGES], STDOUT_FILENO);
        dup2(theirs[MESSAGES], STDERR_FILENO);
        execvp(command.items[0], command.items);
        dprintf(STDERR_FILENO, "cannot run %s: %s (package qemu-system-x86)\n", command.items[0],
            strerror(errno));
        _exit(EXIT_OWN_ERROR);
    }
    children_add(relay->pid);
    relay->child_fd = (int)syscall(SYS_pidfd_open, relay->pid, 0);
    if (relay->child_fd < 0) {
        die("cannot watch QEMU: %s", strerror(errno));
    }
    fcntl(relay->child_fd, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < STREAM_COUNT; i++) {
        close(theirs[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        if (lab_files[i] >= 0) {
            close(lab_files[i]);
        }
    }
    strings_free(&command);
}

// Asks QEMU to end, for the reason `outcome`, and gives it a moment to do so.
static void stop(struct relay *relay, enum outcome outcome)
{
    if (!relay->stopping) {
        relay->stopping = true;
        relay->run->outcome = outcome;
        relay->stop_deadline_ns = time_now_ns() + STOP_PATIENCE_NS;
        kill(relay->pid, SIGTERM);
    }
}

// Writes to one of our own standard streams. A reader that went away ends the machine.
static void pass_on(struct relay *relay, int fd, const uint8_t *data, size_t len_bytes)
{
    while (len_bytes > 0) {
        ssize_t written = write(fd, data, len_bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100);
            continue;
        }
        if (written < 0) {
            relay->run->signal_number = SIGPIPE;
            stop(relay, OUTCOME_SIGNAL);
            return;
        }
        data += written;
        len_bytes -= (size_t)written;
    }
}

static void log_add(struct qemu_run *run, const uint8_t *data, size_t len_bytes)
{
    if (run->log_fd >= 0 && write(run->log_fd, data, len_bytes) < 0) {
        run->log_fd = -1;
    }
    buffer_add(&run->log, data, len_bytes);
    if (run->log.len_bytes > 2 * LOG_KEPT_BYTES) {
        size_t excess_bytes = run->log.len_bytes - LOG_KEPT_BYTES;
        memmove(run->log.data, run->log.data + excess_bytes, LOG_KEPT_BYTES);
        run->log.len_bytes = LOG_KEPT_BYTES;
    }
}

static void set_silence_deadline(struct relay *relay)
{
    if (relay->run->silence_ns != 0) {
        relay->silence_deadline_ns = time_now_ns() + relay->run->silence_ns;
    }
}

static void stream_received(
    struct relay *relay, enum stream stream, const uint8_t *data, size_t len_bytes)
{
    struct qemu_run *run = relay->run;
    set_silence_deadline(relay);
    relay->guest_listens = true;
    switch (stream) {
    case CONSOLE:
        if (run->mode == STREAMS_PROGRAM) {
            break; // a panic, which is in the log as well
        }
        [[fallthrough]];
    case OUT:
        if (run->capture || run->mode == STREAMS_CAPTURED) {
            buffer_add(&run->out, data, len_bytes);
        } else {
            pass_on(relay, STDOUT_FILENO, data, len_bytes);
        }
        if (run->on_output != NULL && run->on_output(run->context, &run->out)) {
            stop(relay, OUTCOME_STOPPED);
        }
        break;
    case ERR:
        if (run->capture) {
            buffer_add(&run->err, data, len_bytes);
        } else {
            pass_on(relay, STDERR_FILENO, data, len_bytes);
        }
        break;
    case LOG:
        log_add(run, data, len_bytes);
        break;
    case CODE:
        relay->code = data[len_bytes - 1];
        break;
    case CONTROL:
        buffer_add(&run->control, data, len_bytes);
        if (run->on_control != NULL) {
            run->on_control(run->context, &run->control);
        }
        break;
    default:
        buffer_add(&run->messages, data, len_bytes);
        break;
    }
}

// Reads what one stream has. Returns false at its end.
static bool stream_read(struct relay *relay, enum stream stream)
{
    uint8_t chunk[65536];
    ssize_t got = recv(relay->fds[stream], chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got > 0) {
        stream_received(relay, stream, chunk, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    close(relay->fds[stream]);
    relay->fds[stream] = -1;
    return false;
}

// What the escape key does with the key after it.
static void escape_command(struct relay *relay, uint8_t key)
{
    static const char help[] =
        "\r\nlodger: Ctrl-A X leaves the guest, Ctrl-A Ctrl-A sends Ctrl-A\r\n";
    if (key == 'x' || key == 'X' || key == ('X' & 0x1f)) {
        stop(relay, OUTCOME_LEFT);
    } else if (key == ESCAPE_KEY || key == 'a' || key == 'A') {
        buffer_add(&relay->input, &(uint8_t){ESCAPE_KEY}, 1);
    } else {
        pass_on(relay, STDERR_FILENO, (const uint8_t *)help, sizeof(help) - 1);
    }
}

static void input_console(struct relay *relay, const uint8_t *data, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++) {
        if (relay->escape_pressed) {
            relay->escape_pressed = false;
            escape_command(relay, data[i]);
        } else if (relay->input_is_terminal && data[i] == ESCAPE_KEY) {
            relay->escape_pressed = true;
        } else {
            buffer_add(&relay->input, &data[i], 1);
        }
    }
}

static void input_program(struct relay *relay, const uint8_t *data, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++) {
        if (data[i] == HOST_STREAM_ESCAPE) {
            buffer_add(&relay->input, &data[i], 1);
        }
        buffer_add(&relay->input, &data[i], 1);
    }
}

static void input_end(struct relay *relay)
{
    static const uint8_t end[] = {HOST_STREAM_ESCAPE, HOST_STREAM_END};
    relay->input_open = false;
    if (relay->run->ends_with_input) {
        stop(relay, OUTCOME_STOPPED);
    } else if (relay->run->mode == STREAMS_PROGRAM) {
        buffer_add(&relay->input, end, sizeof(end));
    } else {
        buffer_add(&relay->input, &(uint8_t){END_OF_TRANSMISSION}, 1);
        relay->end_again_ns = time_now_ns() + END_INTERVAL_NS;
    }
}

static void input_read(struct relay *relay)
{
    uint8_t chunk[4096];
    ssize_t got = read(relay->input_fd, chunk, sizeof(chunk));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (got <= 0) {
        input_end(relay);
    } else if (relay->run->mode == STREAMS_PROGRAM) {
        input_program(relay, chunk, (size_t)got);
    } else {
        input_console(relay, chunk, (size_t)got);
    }
}

static void input_send(struct relay *relay)
{
    size_t left_bytes = relay->input.len_bytes - relay->input_sent_bytes;
    ssize_t sent = send(relay->fds[CONSOLE], relay->input.data + relay->input_sent_bytes,
        left_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    relay->input_sent_bytes += sent > 0 ? (size_t)sent : left_bytes;
    if (relay->input_sent_bytes == relay->input.len_bytes) {
        relay->input.len_bytes = 0;
        relay->input_sent_bytes = 0;
    }
}

// Passes on what on_output() and on_control() have written.
static void pass_answers(struct relay *relay)
{
    struct buffer *console = &relay->run->to_console;
    struct buffer *control = &relay->run->to_control;
    if (console->len_bytes > 0) {
        buffer_add(&relay->input, console->data, console->len_bytes);
        console->len_bytes = 0;
    }
    if (control->len_bytes > 0 && relay->fds[CONTROL] >= 0) {
        pass_on(relay, relay->fds[CONTROL], control->data, control->len_bytes);
        control->len_bytes = 0;
    }
}

static void signal_read(struct relay *relay)
{
    struct signalfd_siginfo info;
    if (read(relay->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        relay->run->signal_number = (int)info.ssi_signo;
        stop(relay, OUTCOME_SIGNAL);
    }
}

// When the run must be over as things stand; 0: never.
static uint64_t next_deadline_ns(const struct relay *relay)
{
    if (relay->stopping) {
        return relay->stop_deadline_ns;
    }
    if (relay->silence_deadline_ns != 0 &&
        (relay->deadline_ns == 0 || relay->silence_deadline_ns < relay->deadline_ns)) {
        return relay->silence_deadline_ns;
    }
    return relay->deadline_ns;
}

// The time until something has to be done, for poll().
static int patience_ms(const struct relay *relay)
{
    uint64_t until_ns = next_deadline_ns(relay);
    uint64_t now_ns = time_now_ns();
    if (relay->end_again_ns != 0 && (until_ns == 0 || relay->end_again_ns < until_ns)) {
        until_ns = relay->end_again_ns;
    }
    if (until_ns == 0) {
        return -1;
    }
    if (until_ns <= now_ns) {
        return relay->stopping ? 100 : 0;
    }
    uint64_t left_ms = (until_ns - now_ns) / 1000000 + 1;
    return left_ms > 60000 ? 60000 : (int)left_ms;
}

static void check_deadline(struct relay *relay)
{
    if (relay->end_again_ns != 0 && time_now_ns() >= relay->end_again_ns) {
        input_end(relay);
    }
    uint64_t until_ns = next_deadline_ns(relay);
    if (until_ns == 0 || time_now_ns() < until_ns) {
        return;
    }
    if (relay->stopping) {
        kill(relay->pid, SIGKILL);
    } else {
        stop(relay, OUTCOME_TIMEOUT);
    }
}

// Relays until QEMU has ended.
static void relay_all(struct relay *relay)
{
    relay->deadline_ns = relay->run->timeout_ns != 0 ? time_now_ns() + relay->run->timeout_ns : 0;
    set_silence_deadline(relay);
    enum { INPUT = STREAM_COUNT, SIGNALS, CHILD, POLL_COUNT };
    for (;;) {
        bool pending = relay->input.len_bytes > 0;
        struct pollfd polls[POLL_COUNT];
        for (int i = 0; i < STREAM_COUNT; i++) {
            polls[i] = (struct pollfd){.fd = relay->fds[i], .events = POLLIN};
        }
        polls[CONSOLE].events |= pending && relay->guest_listens ? POLLOUT : 0;
        bool want_input = relay->input_open && (!pending || relay->input_is_terminal);
        polls[INPUT] = (struct pollfd){.fd = want_input ? relay->input_fd : -1, .events = POLLIN};
        polls[SIGNALS] = (struct pollfd){.fd = relay->signal_fd, .events = POLLIN};
        polls[CHILD] = (struct pollfd){.fd = relay->child_fd, .events = POLLIN};
        poll(polls, POLL_COUNT, patience_ms(relay));

        for (int i = 0; i < STREAM_COUNT; i++) {
            if ((polls[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
                stream_read(relay, (enum stream)i);
            }
        }
        pass_answers(relay);
        if (relay->fds[CONSOLE] >= 0 && (polls[CONSOLE].revents & POLLOUT) != 0) {
            input_send(relay);
        }
        if (polls[INPUT].revents != 0) {
            input_read(relay);
        }
        if (polls[SIGNALS].revents != 0) {
            signal_read(relay);
        }
        if (polls[CHILD].revents != 0) {
            return;
        }
        check_deadline(relay);
    }
}

// Reads what is left in the streams of a QEMU that has ended.
static void drain(struct relay *relay)
{
    for (int i = 0; i < STREAM_COUNT; i++) {
        while (relay->fds[i] >= 0 && stream_read(relay, (enum stream)i)) {
            if (poll(&(struct pollfd){.fd = relay->fds[i], .events = POLLIN}, 1, 0) <= 0) {
                close(relay->fds[i]);
                relay->fds[i] = -1;
            }
        }
    }
}

// From QEMU's exit status to the outcome (kernel/core/debug_exit.h).
static void judge(struct relay *relay, int status)
{
    struct qemu_run *run = relay->run;
    if (relay->stopping) {
        return;
    }
    if (!WIFEXITED(status)) {
        run->outcome = OUTCOME_DIED;
        return;
    }
    switch (WEXITSTATUS(status)) {
    case 0:
        // ACPI power-off, or a reset that -no-reboot turned into the end. Our kernel would have
        // said so: it fell.
        run->outcome = run->foreign_kernel ? OUTCOME_POWER_OFF : OUTCOME_DIED;
        break;
    case DEBUG_EXIT_STATUS(DEBUG_EXIT_DONE):
        run->outcome = OUTCOME_EXIT;
        run->exit_code = relay->code >= 0 ? relay->code : 0;
        break;
    case DEBUG_EXIT_STATUS(DEBUG_EXIT_PANIC):
        run->outcome = OUTCOME_PANIC;
        break;
    case DEBUG_EXIT_STATUS(DEBUG_EXIT_REBOOT):
        run->outcome = OUTCOME_REBOOT;
        break;
    case DEBUG_EXIT_STATUS(DEBUG_EXIT_POWER_OFF):
        run->outcome = OUTCOME_POWER_OFF;
        break;
    default:
        run->outcome = OUTCOME_QEMU_FAILED;
        break;
    }
}

// The signals that end the command come through a descriptor while a machine runs.
static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void run_once(struct qemu_run *run)
{
    struct relay relay = {.run = run, .signal_fd = -1, .input_fd = STDIN_FILENO, .code = -1};
    signal(SIGPIPE, SIG_IGN);
    if (run->mode != STREAMS_CAPTURED) {
        relay.signal_fd = signals_open();
        relay.input_open = true;
        relay.input_is_terminal = run->mode == STREAMS_CONSOLE && isatty(STDIN_FILENO);
    } else if (run->input_fd != 0) {
        relay.input_fd = run->input_fd;
        relay.input_open = true;
    }
    uint64_t start_ns = time_now_ns();
    start(&relay);
    if (relay.input_is_terminal) {
        terminal_raw();
    }
    relay_all(&relay);
    int status = 0;
    while (waitpid(relay.pid, &status, 0) < 0 && errno == EINTR) {
    }
    children_remove(relay.pid);
    drain(&relay);
    if (relay.input_is_terminal) {
        terminal_restore();
    }
    run->duration_ns = time_now_ns() - start_ns;
    judge(&relay, status);
    close(relay.child_fd);
    if (relay.signal_fd >= 0) {
        close(relay.signal_fd);
    }
    buffer_free(&relay.input);
}

void qemu_run(struct qemu_run *run)
{
    run_once(run);
    // A host that does not come up may have damaged files.
    bool host_failed = run->outcome == OUTCOME_QEMU_FAILED || run->outcome == OUTCOME_DIED;
    if (run->machine->lab != NULL && host_failed && lab_repair(run->machine->lab)) {
        qemu_run_free(run);
        run_once(run);
    }
}

void qemu_run_free(struct qemu_run *run)
{
    buffer_free(&run->out);
    buffer_free(&run->err);
    buffer_free(&run->log);
    buffer_free(&run->messages);
    buffer_free(&run->control);
    buffer_free(&run->to_console);
    buffer_free(&run->to_control);
}

int qemu_exit_code(const struct qemu_run *run)
{
    switch (run->outcome) {
    case OUTCOME_EXIT:
        return run->exit_code;
    case OUTCOME_POWER_OFF:
    case OUTCOME_REBOOT:
    case OUTCOME_LEFT:
    case OUTCOME_STOPPED:
        return 0;
    case OUTCOME_PANIC:
        return EXIT_PANIC;
    case OUTCOME_TIMEOUT:
        return EXIT_TIMEOUT;
    case OUTCOME_SIGNAL:
        return 128 + run->signal_number;
    case OUTCOME_QEMU_FAILED:
        return EXIT_OWN_ERROR;
    default:
        return EXIT_MACHINE_DIED;
    }
}

const char *outcome_name(enum outcome outcome)
{
    static const char *const names[] = {
        [OUTCOME_EXIT] = "exit",
        [OUTCOME_POWER_OFF] = "power-off",
        [OUTCOME_REBOOT] = "reboot",
        [OUTCOME_PANIC] = "panic",
        [OUTCOME_TIMEOUT] = "timeout",
        [OUTCOME_LEFT] = "left",
        [OUTCOME_SIGNAL] = "signal",
        [OUTCOME_STOPPED] = "stopped",
        [OUTCOME_DIED] = "died",
        [OUTCOME_QEMU_FAILED] = "qemu-failed",
    };
    return names[outcome];
}
