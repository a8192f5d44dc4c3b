// SPDX-License-Identifier: MIT
//
// Claim: an interactive shell works on a terminal: prompt, echo, job control with ^Z, fg, bg, ^C,
// and its end at ^D.
// Method: busybox's ash on a pseudo-terminal, driven like a user would; each answer is awaited by
// its text.
#include "tests/guest/tty/pty.h"

static char transcript[16384];
static size_t transcript_length, matched;

// Reads until this text has appeared after what the last call waited for.
static bool expect(const char *text)
{
    size_t from = matched;
    uint64_t until = now_ns() + 10000000000;

    while (now_ns() < until && transcript_length < sizeof(transcript) - 1) {
        struct pollfd source = {.fd = pty_master, .events = POLLIN};
        bool there = strstr(transcript + from, text) != NULL;
        if (!there && poll(&source, 1, 100) == 1) {
            ssize_t got = read(pty_master, transcript + transcript_length,
                sizeof(transcript) - 1 - transcript_length);
            if (got <= 0) {
                return false;
            }
            transcript_length += (size_t)got;
            transcript[transcript_length] = 0;
        }
        const char *found = strstr(transcript + from, text);
        if (found != NULL) {
            matched = (size_t)(found - transcript) + strlen(text);
            return true;
        }
    }
    note("not seen: %s", text);
    note("instead: %s", pty_visible(transcript + from, (ssize_t)(transcript_length - from)));
    return false;
}

static void send(const char *keys)
{
    pty_put(pty_master, keys);
}

int main(void)
{
    int status;

    scratch();
    pty_open();
    pid_t shell = fork();
    if (shell == 0) {
        setsid();
        ioctl(pty_terminal, TIOCSCTTY, 0);
        dup2(pty_terminal, 0);
        dup2(pty_terminal, 1);
        dup2(pty_terminal, 2);
        setenv("PS1", "ready> ", 1);
        unsetenv("ENV");
        execl("/bin/busybox", "sh", "-i", (char *)NULL);
        _exit(127);
    }
    close(pty_terminal);
    CHECK(expect("ready> "));
    send("echo one plus $((1 + 1))\r");
    CHECK(expect("one plus 2\r\nready> "));
    send("ech\x7fho erased | tr a-z A-Z\r");
    CHECK(expect("ERASED\r\n"));
    send("sleep 1000\r");
    sleep_ms(300);
    send("\x1a");
    CHECK(expect("Stopped"));
    CHECK(expect("ready> "));
    send("jobs\r");
    CHECK(expect("sleep 1000\r\n"));
    send("fg\r");
    sleep_ms(300);
    send("\x03");
    CHECK(expect("ready> "));
    send("jobs; echo no \"\"jobs: $?\r");
    CHECK(expect("no jobs: 0\r\n"));
    send("sleep 1000 &\r");
    CHECK(expect("ready> "));
    sleep_ms(200); // until the job has left the shell's own handling of signals
    send("kill %1; wait; echo ki\"\"lled\r");
    CHECK(expect("killed\r\n"));
    send("cat > made\r");
    sleep_ms(300);
    send("typed line\r");
    sleep_ms(100);
    send("\x04");
    CHECK(expect("ready> "));
    CHECK_STR(get_file("made"), "typed line\n");
    send("stty size\r");
    CHECK(expect("ready> "));
    send("exit 7\r");
    CHECK(waitpid(shell, &status, 0) == shell);
    CHECK_STR(status_text(status), "exit 7");
    return check_done();
}
