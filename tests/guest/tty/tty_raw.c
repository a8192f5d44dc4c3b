// SPDX-License-Identifier: MIT
//
// Claim: in raw mode VMIN and VTIME decide when a read returns; O_NONBLOCK, poll and packet mode
// work; flow control stops and starts output; the end of one side is seen by the other.
// Method: each combination with data before, during and after the read.
#include "tests/guest/tty/pty.h"

static void raw(int minimum, int time_tenths)
{
    struct termios now;
    MUST(tcgetattr(pty_terminal, &now));
    cfmakeraw(&now);
    now.c_cc[VMIN] = (cc_t)minimum;
    now.c_cc[VTIME] = (cc_t)time_tenths;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
}

// A child types these bytes when the reader sleeps, pausing before each but the first.
static pid_t type_later(const char *keys, unsigned pause_ms)
{
    pid_t reader = getpid(), child = fork();
    if (child == 0) {
        wait_until_asleep(reader, reader);
        for (const char *key = keys; *key != 0; key++) {
            MUST(write(pty_master, key, 1));
            sleep_ms(pause_ms);
        }
        _exit(0);
    }
    return child;
}

static void reads(void)
{
    char text[64];
    uint64_t before;

    raw(0, 0);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 0); // nothing: at once
    pty_put(pty_master, "ab");
    sleep_ms(10);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 2);
    raw(1, 0);
    pid_t child = type_later("k", 0);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 1);
    waitpid(child, NULL, 0);
    raw(3, 0);
    child = type_later("xyz", 20);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 3);
    waitpid(child, NULL, 0);
    child = type_later("pq", 20);
    CHECK_EQ(read(pty_terminal, text, 2), 2); // fewer wanted than VMIN
    waitpid(child, NULL, 0);
    raw(0, 2);
    before = now_ns();
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 0);
    CHECK(now_ns() - before >= 190000000 && now_ns() - before < 2000000000);
    child = type_later("t", 0);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 1);
    waitpid(child, NULL, 0);
    raw(10, 3); // the time runs between bytes
    child = type_later("abc", 10);
    before = now_ns();
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 3);
    CHECK(now_ns() - before >= 290000000);
    waitpid(child, NULL, 0);
    // Every byte comes through unchanged.
    raw(1, 0);
    char all[255], got[255];
    for (int i = 0; i < 255; i++) {
        all[i] = (char)(i + 1);
    }
    MUST(write(pty_master, all, sizeof(all)));
    size_t have = 0;
    while (have < sizeof(got)) {
        ssize_t more = read(pty_terminal, got + have, sizeof(got) - have);
        MUST(more > 0 ? 0 : -1);
        have += (size_t)more;
    }
    CHECK(memcmp(all, got, sizeof(all)) == 0);
    MUST(write(pty_terminal, all, sizeof(all)));
    have = 0;
    while (have < sizeof(got)) {
        ssize_t more = read(pty_master, got + have, sizeof(got) - have);
        MUST(more > 0 ? 0 : -1);
        have += (size_t)more;
    }
    CHECK(memcmp(all, got, sizeof(all)) == 0);
}

static void without_waiting(void)
{
    char text[16];
    struct pollfd source = {.fd = pty_terminal, .events = POLLIN | POLLOUT};

    raw(1, 0);
    fcntl(pty_terminal, F_SETFL, O_NONBLOCK);
    ERR(EAGAIN, read(pty_terminal, text, sizeof(text)));
    CHECK_EQ(poll(&source, 1, 0), 1);
    CHECK_EQ(source.revents, POLLOUT);
    pty_put(pty_master, "z");
    source.events = POLLIN;
    CHECK_EQ(poll(&source, 1, 1000), 1);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 1);
    // The output buffer is finite.
    static char block[4096];
    size_t total = 0;
    ssize_t put;
    while ((put = write(pty_terminal, block, sizeof(block))) > 0 && total < 10000000) {
        total += (size_t)put;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK(total >= 2048 && total < 1000000);
    size_t drained = 0;
    fcntl(pty_master, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 100 && drained < total; i++) {
        while ((put = read(pty_master, block, sizeof(block))) > 0) {
            drained += (size_t)put;
        }
        sleep_ms(2);
    }
    CHECK(drained == total);
    fcntl(pty_master, F_SETFL, 0);
    fcntl(pty_terminal, F_SETFL, 0);
}

static void flow(void)
{
    struct termios now;

    raw(1, 0);
    MUST(tcgetattr(pty_terminal, &now));
    now.c_iflag |= IXON;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
    pty_put(pty_master, "\x13"); // ^S
    sleep_ms(20);
    fcntl(pty_terminal, F_SETFL, O_NONBLOCK);
    ERR(EAGAIN, write(pty_terminal, "held", 4));
    CHECK(pty_is_silent(pty_master));
    pty_put(pty_master, "\x11"); // ^Q
    sleep_ms(20);
    CHECK_EQ(write(pty_terminal, "free", 4), 4);
    CHECK_STR(pty_get(pty_master), "free");
    CHECK(pty_is_silent(pty_terminal)); // ^S and ^Q are not data
    fcntl(pty_terminal, F_SETFL, 0);
    OK(tcflow(pty_terminal, TCOOFF));
    pid_t child = fork();
    if (child == 0) {
        _exit(write(pty_terminal, "later", 5) == 5 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    CHECK(pty_is_silent(pty_master));
    OK(tcflow(pty_terminal, TCOON));
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_STR(pty_get(pty_master), "later");
}

static void packets(void)
{
    char text[64];
    int on = 1, off = 0;

    raw(1, 0);
    OK(ioctl(pty_master, TIOCPKT, &on));
    pty_put(pty_terminal, "data");
    CHECK_EQ(read(pty_master, text, sizeof(text)), 5);
    CHECK(text[0] == TIOCPKT_DATA && memcmp(text + 1, "data", 4) == 0);
    OK(tcflush(pty_terminal, TCIFLUSH));
    CHECK_EQ(read(pty_master, text, sizeof(text)), 1);
    CHECK_EQ(text[0] & TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHREAD);
    OK(ioctl(pty_master, TIOCPKT, &off));
}

static void ends(void)
{
    char text[16];
    struct pollfd source = {.events = POLLIN | POLLOUT};

    // The terminal's last close: the master reads what is left, then gets EIO.
    pty_put(pty_terminal, "last");
    close(pty_terminal);
    CHECK_EQ(read(pty_master, text, sizeof(text)), 4);
    ERR(EIO, read(pty_master, text, sizeof(text)));
    source.fd = pty_master;
    poll(&source, 1, 0);
    CHECK_EQ(source.revents & (POLLHUP | POLLIN), POLLHUP);
    // It can be opened again.
    pty_terminal = (int)OK(open(pty_path, O_RDWR | O_NOCTTY));
    raw(1, 0);
    pty_put(pty_master, "x");
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 1);
    // The master's close: the terminal reads end of file and cannot write.
    close(pty_master);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 0);
    ERR(EIO, write(pty_terminal, "x", 1));
    source.fd = pty_terminal;
    poll(&source, 1, 0);
    CHECK_EQ(source.revents & (POLLHUP | POLLIN), POLLHUP | POLLIN);
    ERR(EIO, ioctl(pty_terminal, TIOCGWINSZ, text));
    close(pty_terminal);
    ERR(ENOENT, open(pty_path, O_RDWR | O_NOCTTY));
}

static void locked(void)
{
    int number, lock = 1;
    char path[32];
    struct stat about;

    int master = (int)OK(posix_openpt(O_RDWR | O_NOCTTY));
    MUST(ioctl(master, TIOCGPTN, &number));
    snprintf(path, sizeof(path), "/dev/pts/%d", number);
    ERR(EIO, open(path, O_RDWR | O_NOCTTY)); // locked at first
    OK(ioctl(master, TIOCGPTLCK, &lock));
    CHECK_EQ(lock, 1);
    OK(unlockpt(master));
    CHECK(strcmp(ptsname(master), path) == 0);
    int terminal = (int)OK(open(path, O_RDWR | O_NOCTTY));
    MUST(fstat(terminal, &about));
    CHECK(S_ISCHR(about.st_mode) && (about.st_rdev >> 8) == 136);
    int peer = (int)OK(ioctl(master, 0x5441 /* TIOCGPTPEER */, O_RDWR | O_NOCTTY));
    pty_put(peer, "p");
    char byte;
    CHECK_EQ(read(master, &byte, 1), 1);
    close(peer);
    close(terminal);
    close(master);
    // Many pairs at once.
    int masters[64], opened = 0;
    for (int i = 0; i < 64; i++) {
        masters[i] = open("/dev/ptmx", O_RDWR | O_NOCTTY);
        opened += masters[i] >= 0;
    }
    CHECK_EQ(opened, 64);
    for (int i = 0; i < 64; i++) {
        close(masters[i]);
    }
}

int main(void)
{
    scratch();
    pty_open();
    reads();
    without_waiting();
    flow();
    packets();
    ends();
    locked();
    return check_done();
}
