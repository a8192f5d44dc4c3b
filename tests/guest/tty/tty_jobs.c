// SPDX-License-Identifier: MIT
//
// Claim: a session's controlling terminal: how it is got and given up, keys that send signals to
// the foreground group, background reading and writing, window-size changes, hang-up, and orphaned
// groups. Method: a session leader with two jobs; signals are recorded by handlers that report
// through a pipe.
#include "tests/guest/tty/pty.h"

static int report_ends[2];

static void report(int number)
{
    unsigned char byte = (unsigned char)number;
    if (write(report_ends[1], &byte, 1) != 1) {
        _exit(99);
    }
}

// The next reported signal, or "none" if none comes in that time.
static const char *next_report(int timeout_ms)
{
    unsigned char byte;
    struct pollfd source = {.fd = report_ends[0], .events = POLLIN};
    return poll(&source, 1, timeout_ms) == 1 && read(report_ends[0], &byte, 1) == 1
               ? signal_name(byte)
               : "none";
}

// Reports come one after the other, in the order of signal numbers.
static void report_signal(int number)
{
    struct sigaction action = {.sa_handler = report, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void take_terminal(void)
{
    MUST(setsid());
    MUST(ioctl(pty_terminal, TIOCSCTTY, 0));
}

static void acquiring(void)
{
    pid_t group = 0;

    ERR(ENOTTY, ioctl(pty_terminal, TIOCGPGRP, &group));
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    MUST(setsid());
    OK(ioctl(pty_terminal, TIOCSCTTY, 0));
    OK(ioctl(pty_terminal, TIOCSCTTY, 0)); // again: fine
    CHECK(tcgetpgrp(pty_terminal) == getpgrp());
    CHECK(tcgetsid(pty_terminal) == getsid(0));
    int tty = (int)OK(open("/dev/tty", O_RDWR));
    pty_put(tty, "through /dev/tty");
    CHECK_STR(pty_get(pty_master), "through /dev/tty");
    // Another session cannot have it.
    pid_t child = fork();
    if (child == 0) {
        MUST(setsid());
        ERR(EPERM, ioctl(pty_terminal, TIOCSCTTY, 0));
        ERR(ENOTTY, ioctl(pty_terminal, TIOCGPGRP, &group));
        ERR(ENOTTY, ioctl(pty_terminal, TIOCSPGRP, &group));
        _exit(check_failures);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    // Not a leader: cannot acquire, inherits.
    child = fork();
    if (child == 0) {
        int own = open("/dev/tty", O_RDWR);
        CHECK(own >= 0);
        _exit(check_failures);
    }
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    ERR(ESRCH, tcsetpgrp(pty_terminal, 999999));
    ERR(EINVAL, tcsetpgrp(pty_terminal, -1));
    // Giving it up: SIGHUP and SIGCONT for the foreground group, no terminal any more.
    report_signal(SIGHUP);
    report_signal(SIGCONT);
    OK(ioctl(pty_terminal, TIOCNOTTY));
    CHECK_STR(next_report(5000), "SIGHUP");
    CHECK_STR(next_report(5000), "SIGCONT");
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    // Opening a terminal without O_NOCTTY acquires it.
    int again = (int)OK(open(pty_path, O_RDWR));
    OK(close((int)OK(open("/dev/tty", O_RDWR))));
    close(again);
}

static pid_t start_job(void)
{
    int ready[2];
    char byte;
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        close(pty_master);
        static const int numbers[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT};
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
            report_signal(numbers[i]);
        }
        MUST(write(ready[1], "x", 1));
        for (;;) {
            pause();
        }
    }
    setpgid(child, child);
    MUST(read(ready[0], &byte, 1));
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void keys(void)
{
    struct winsize size = {30, 100, 0, 0};
    struct termios now;
    int status;

    signal(SIGTTOU, SIG_IGN);
    take_terminal();
    pid_t foreground = start_job(), background = start_job();
    OK(tcsetpgrp(pty_terminal, foreground));
    CHECK(tcgetpgrp(pty_terminal) == foreground);
    pty_put(pty_master, "\x03");
    CHECK_STR(next_report(5000), "SIGINT");
    CHECK_STR(pty_get(pty_master), "^C");
    pty_put(pty_master, "\x1c");
    CHECK_STR(next_report(5000), "SIGQUIT");
    CHECK_STR(pty_get(pty_master), "^\\");
    pty_put(pty_master, "\x1a");
    CHECK_STR(next_report(5000), "SIGTSTP");
    CHECK_STR(pty_get(pty_master), "^Z");
    CHECK_STR(next_report(300), "none"); // the background job got none of them
    // Signals throw away what was typed before.
    pty_put(pty_master, "lost\x03kept\n");
    CHECK_STR(next_report(5000), "SIGINT");
    char text[32];
    tcsetpgrp(pty_terminal, getpgrp());
    ssize_t got = read(pty_terminal, text, sizeof(text));
    CHECK_STR(pty_visible(text, got), "kept\\n");
    tcsetpgrp(pty_terminal, foreground);
    pty_get(pty_master);
    // Without ISIG they are characters, with NOFLSH nothing is thrown away.
    MUST(tcgetattr(pty_terminal, &now));
    now.c_lflag |= NOFLSH;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
    pty_put(pty_master, "still\x03here\n");
    CHECK_STR(next_report(5000), "SIGINT");
    tcsetpgrp(pty_terminal, getpgrp());
    got = read(pty_terminal, text, sizeof(text));
    CHECK_STR(pty_visible(text, got), "stillhere\\n");
    now.c_lflag &= ~(tcflag_t)(ISIG | NOFLSH);
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
    pty_put(pty_master, "\x03\n");
    CHECK_STR(next_report(300), "none");
    got = read(pty_terminal, text, sizeof(text));
    CHECK_STR(pty_visible(text, got), "^C\\n");
    now.c_lflag |= ISIG;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
    tcsetpgrp(pty_terminal, foreground);
    pty_get(pty_master);
    // A new size is told to the foreground, once.
    OK(ioctl(pty_master, TIOCSWINSZ, &size));
    CHECK_STR(next_report(5000), "SIGWINCH");
    OK(ioctl(pty_master, TIOCSWINSZ, &size)); // no change
    CHECK_STR(next_report(300), "none");
    int number = SIGINT;
    OK(ioctl(pty_master, TIOCSIG, number)); // the master's way to send one
    CHECK_STR(next_report(5000), "SIGINT");
    kill(foreground, SIGKILL);
    kill(background, SIGKILL);
    waitpid(foreground, &status, 0);
    waitpid(background, &status, 0);
}

static void read_one(void)
{
    char byte;
    setpgid(0, 0);
    signal(SIGTTIN, SIG_DFL);
    signal(SIGTTOU, SIG_DFL);
    _exit(read(pty_terminal, &byte, 1) == 1 ? 0 : 1);
}

static void background(void)
{
    int status;
    struct termios now;

    signal(SIGTTOU, SIG_IGN);
    take_terminal();
    MUST(tcgetattr(pty_terminal, &now));
    // Reading from the background stops the job; in the foreground it goes on.
    pid_t job = fork();
    if (job == 0) {
        read_one();
    }
    CHECK(waitpid(job, &status, WUNTRACED) == job);
    CHECK_STR(status_text(status), "stopped by SIGTTIN");
    OK(tcsetpgrp(pty_terminal, job));
    kill(job, SIGCONT);
    pty_put(pty_master, "x\n");
    CHECK(waitpid(job, &status, 0) == job);
    CHECK_STR(status_text(status), "exit 0");
    OK(tcsetpgrp(pty_terminal, getpgrp()));
    pty_get(pty_master);
    // With the signal ignored or blocked: EIO.
    job = fork();
    if (job == 0) {
        char byte;
        setpgid(0, 0);
        signal(SIGTTIN, SIG_IGN);
        ERR(EIO, read(pty_terminal, &byte, 1));
        _exit(check_failures);
    }
    waitpid(job, &status, WUNTRACED);
    CHECK_STR(status_text(status), "exit 0");
    // Writing is allowed unless TOSTOP.
    job = fork();
    if (job == 0) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        pty_put(pty_terminal, "from behind");
        _exit(0);
    }
    waitpid(job, &status, WUNTRACED);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_STR(pty_get(pty_master), "from behind");
    now.c_lflag |= TOSTOP;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
    job = fork();
    if (job == 0) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        pty_put(pty_terminal, "stopped first");
        _exit(0);
    }
    waitpid(job, &status, WUNTRACED);
    CHECK_STR(status_text(status), "stopped by SIGTTOU");
    CHECK(pty_is_silent(pty_master));
    tcsetpgrp(pty_terminal, job);
    kill(job, SIGCONT);
    waitpid(job, &status, WUNTRACED);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_STR(pty_get(pty_master), "stopped first");
    tcsetpgrp(pty_terminal, getpgrp());
    // Changing settings or the foreground from behind stops too.
    job = fork();
    if (job == 0) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        tcsetattr(pty_terminal, TCSANOW, &now);
        _exit(0);
    }
    waitpid(job, &status, WUNTRACED);
    CHECK_STR(status_text(status), "stopped by SIGTTOU");
    kill(job, SIGKILL);
    waitpid(job, &status, 0);
    // In an orphaned group there is nobody to continue: EIO instead of a stop.
    int ends[2];
    MUST(pipe(ends));
    pid_t middle = fork();
    if (middle == 0) {
        middle = getpid();
        if (fork() == 0) {
            setpgid(0, 0);
            while (getppid() == middle) {
                sleep_ms(1);
            }
            char byte;
            signal(SIGTTIN, SIG_DFL);
            int error = read(pty_terminal, &byte, 1) < 0 ? errno : 0;
            MUST(write(ends[1], &error, sizeof(error)));
            _exit(0);
        }
        sleep_ms(20);
        _exit(0);
    }
    waitpid(middle, NULL, 0);
    int error = -1;
    close(ends[1]);
    CHECK_EQ(read(ends[0], &error, sizeof(error)), sizeof(error));
    CHECK_EQ(error, EIO);
}

static void hang_up(void)
{
    signal(SIGTTOU, SIG_IGN);
    take_terminal();
    report_signal(SIGHUP);
    report_signal(SIGCONT);
    pid_t job = start_job();
    tcsetpgrp(pty_terminal, job);
    close(pty_master); // carrier lost
    // The session's leader and the foreground group: SIGHUP and SIGCONT each.
    int hups = 0, continues = 0;
    for (int i = 0; i < 4; i++) {
        const char *name = next_report(1000);
        hups += strcmp(name, "SIGHUP") == 0;
        continues += strcmp(name, "SIGCONT") == 0;
    }
    CHECK(hups >= 1 && continues >= 1);
    char byte;
    CHECK_EQ(read(pty_terminal, &byte, 1), 0);
    ERR(EIO, write(pty_terminal, "x", 1));
    kill(job, SIGKILL);
    waitpid(job, NULL, 0);
}

// The leader's end: its foreground group is told, and the terminal is free for another session.
static void leader_ends(void)
{
    pid_t leader = fork();
    int status;
    if (leader == 0) {
        signal(SIGTTOU, SIG_IGN);
        take_terminal();
        tcsetpgrp(pty_terminal, start_job());
        _exit(0);
    }
    waitpid(leader, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_STR(next_report(5000), "SIGHUP");
    CHECK_STR(next_report(300), "none");
    pid_t other = fork();
    if (other == 0) {
        MUST(setsid());
        int terminal = (int)MUST(open(pty_path, O_RDWR | O_NOCTTY));
        OK(ioctl(terminal, TIOCSCTTY, 0));
        _exit(check_failures);
    }
    waitpid(other, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

int main(void)
{
    static void (*const cases[])(void) = {acquiring, keys, background, hang_up, leader_ends};
    static const char *const names[] = {
        "acquiring", "keys", "background", "hang_up", "leader_ends"};

    scratch();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        MUST(pipe(report_ends));
        fflush(stdout);
        // A child: each case makes a session of its own.
        pid_t child = fork();
        if (child == 0) {
            check_failures = 0;
            pty_open();
            note("%s:", names[i]);
            cases[i]();
            _exit(check_failures != 0);
        }
        int status;
        waitpid(child, &status, 0);
        note("%s: %s", names[i], status_text(status));
        CHECK_QUIET(status == 0);
        close(report_ends[0]);
        close(report_ends[1]);
    }
    return check_done();
}
