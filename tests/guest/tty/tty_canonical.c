// SPDX-License-Identifier: MIT
//
// Claim: in canonical mode a terminal edits lines (erase, word erase, kill, literal next, reprint),
// ends them by newline, EOL and EOF, translates and echoes according to its flags, and hands lines
// out one at a time.
// Method: keys are written to the master; what the program reads and what is echoed are printed.
#include "tests/guest/tty/pty.h"

static struct termios initial;

static void change(tcflag_t input, tcflag_t output, tcflag_t local)
{
    struct termios now = initial;
    now.c_iflag = input;
    now.c_oflag = output;
    now.c_lflag = local;
    MUST(tcsetattr(pty_terminal, TCSANOW, &now));
}

// Types, and shows what is read and echoed.
static void type(const char *keys)
{
    char read_text[512];
    pty_put(pty_master, keys);
    snprintf(read_text, sizeof(read_text), "%s", pty_get(pty_terminal));
    note("  keys %s", pty_visible(keys, (ssize_t)strlen(keys)));
    note("    read \"%s\"", read_text);
    note("    echo \"%s\"", pty_is_silent(pty_master) ? "" : pty_get(pty_master));
}

static void defaults(void)
{
    tcgetattr(pty_terminal, &initial);
    CHECK_EQ(initial.c_iflag, ICRNL | IXON);
    CHECK_EQ(initial.c_oflag, OPOST | ONLCR);
    CHECK_EQ(initial.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
    CHECK_EQ(initial.c_cflag & (CSIZE | CREAD), CS8 | CREAD);
    CHECK_EQ(cfgetospeed(&initial), B38400);
    static const char *const names[] = {"INTR", "QUIT", "ERASE", "KILL", "EOF", "TIME", "MIN",
        "SWTC", "START", "STOP", "SUSP", "EOL", "REPRINT", "DISCARD", "WERASE", "LNEXT", "EOL2"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        note("  %s is %d", names[i], initial.c_cc[i]);
    }
    CHECK(isatty(pty_terminal) && isatty(pty_master));
}

static void editing(void)
{
    note("editing:");
    type("hello\r");
    type("ab\x7f\x7f\x7fxy\n");
    type("one two  three\x17\x17"
         "2\n");
    type("all gone\x15"
         "new\n");
    type("lit\x16\x03\x16\x16\n");
    type("re\x12print\n");
    type("tab\tbed\x7f\x7f\x7f\x7f!\n");
    type("caf\xc3\xa9\x7f\x7f.\n");
    type("bell\x07\x1b[A\n");
    note("utf-8:");
    change(initial.c_iflag | IUTF8, initial.c_oflag, initial.c_lflag);
    type("caf\xc3\xa9\x7f"
         "e\n");
    note("without echo:");
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag & ~(tcflag_t)ECHO);
    type("secret\n");
    note("without echo, but of newlines:");
    change(initial.c_iflag, initial.c_oflag, (initial.c_lflag & ~(tcflag_t)ECHO) | ECHONL);
    type("secret\n");
    note("plain echo of control characters:");
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag & ~(tcflag_t)ECHOCTL);
    type("a\x01"
         "b\n");
    note("printing erase:");
    change(initial.c_iflag, initial.c_oflag, (initial.c_lflag & ~(tcflag_t)ECHOE) | ECHOPRT);
    type("abc\x7f\x7f"
         "d\n");
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag);
}

static void line_ends(void)
{
    char text[64];
    struct termios now = initial;

    note("line ends:");
    type("part\x04");
    pty_put(pty_master, "\x04");
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 0); // end of file
    pty_put(pty_master, "one\ntwo\n");
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 4); // a line at a time
    CHECK_EQ(read(pty_terminal, text, 2), 2);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 2); // the rest of it
    now.c_cc[VEOL] = ';';
    tcsetattr(pty_terminal, TCSANOW, &now);
    pty_put(pty_master, "semi;colon\n");
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 5);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 6);
    tcsetattr(pty_terminal, TCSANOW, &initial);
    pty_get(pty_master);
    int bytes = -1;
    pty_put(pty_master, "no end yet");
    OK(ioctl(pty_terminal, FIONREAD, &bytes));
    CHECK_EQ(bytes, 0);
    CHECK(pty_is_silent(pty_terminal));
    pty_put(pty_master, "\n");
    // Linux hands it to the terminal in a work queue.
    struct pollfd input = {.fd = pty_terminal, .events = POLLIN};
    CHECK_EQ(poll(&input, 1, 10000), 1);
    OK(ioctl(pty_terminal, FIONREAD, &bytes));
    CHECK_EQ(bytes, 11);
    CHECK_EQ(read(pty_terminal, text, sizeof(text)), 11);
    pty_get(pty_master);
    // Flushing.
    pty_put(pty_master, "flush me\n");
    OK(tcflush(pty_terminal, TCIFLUSH));
    CHECK(pty_is_silent(pty_terminal));
    pty_get(pty_master);
    // Lines longer than the buffer are cut at 4095 bytes and their newline.
    static char line[6000], got[6000];
    memset(line, 'x', sizeof(line));
    fcntl(pty_master, F_SETFL, O_NONBLOCK);
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag & ~(tcflag_t)ECHO);
    size_t at = 0;
    while (at < 5000) {
        ssize_t put = write(pty_master, line, 5000 - at);
        if (put <= 0) {
            break;
        }
        at += (size_t)put;
        sleep_ms(2);
    }
    pty_put(pty_master, "\n");
    CHECK_EQ(read(pty_terminal, got, sizeof(got)), 4096);
    CHECK_EQ(got[4095], '\n');
    fcntl(pty_master, F_SETFL, 0);
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag);
}

static void translation(void)
{
    note("input translation:");
    change(INLCR | IXON, initial.c_oflag, ICANON | IEXTEN);
    pty_put(pty_master, "nl\nx\x04");
    note("    INLCR: \"%s\"", pty_get(pty_terminal));
    change(IGNCR, initial.c_oflag, ICANON | IEXTEN);
    pty_put(pty_master, "c\rr\n");
    note("    IGNCR: \"%s\"", pty_get(pty_terminal));
    change(ISTRIP, initial.c_oflag, ICANON | IEXTEN);
    pty_put(pty_master, "\xe1\xe2\n");
    note("    ISTRIP: \"%s\"", pty_get(pty_terminal));
    change(IUCLC, initial.c_oflag, ICANON | IEXTEN);
    pty_put(pty_master, "UpPer\n");
    note("    IUCLC: \"%s\"", pty_get(pty_terminal));

    static const struct {
        tcflag_t flags;
        const char *name;
    } outputs[] = {{0, "raw"}, {OPOST, "OPOST"}, {OPOST | ONLCR, "ONLCR"}, {OPOST | OCRNL, "OCRNL"},
        {OPOST | ONOCR, "ONOCR"}, {OPOST | ONLRET, "ONLRET"}, {OPOST | OLCUC, "OLCUC"},
        {OPOST | XTABS, "XTABS"}};
    note("output:");
    for (size_t i = 0; i < ARRAY_SIZE(outputs); i++) {
        change(initial.c_iflag, outputs[i].flags, initial.c_lflag);
        pty_put(pty_terminal, "\rab\tc\n\rD\n");
        note("    %s: \"%s\"", outputs[i].name, pty_get(pty_master));
    }
    change(initial.c_iflag, initial.c_oflag, initial.c_lflag);
}

static void settings(void)
{
    struct termios now, got;
    struct winsize size = {0};

    OK(tcgetattr(pty_master, &got)); // both ends show the same
    now = initial;
    now.c_cc[VINTR] = 5;
    OK(tcsetattr(pty_terminal, TCSADRAIN, &now));
    OK(tcgetattr(pty_master, &got));
    CHECK_EQ(got.c_cc[VINTR], 5);
    OK(tcsetattr(pty_terminal, TCSAFLUSH, &initial));
    OK(ioctl(pty_terminal, TIOCGWINSZ, &size));
    CHECK(size.ws_row == 0 && size.ws_col == 0);
    size = (struct winsize){25, 80, 1, 2};
    OK(ioctl(pty_master, TIOCSWINSZ, &size));
    memset(&size, 0, sizeof(size));
    OK(ioctl(pty_terminal, TIOCGWINSZ, &size));
    CHECK(size.ws_row == 25 && size.ws_col == 80 && size.ws_xpixel == 1 && size.ws_ypixel == 2);
    int discipline = -1;
    OK(ioctl(pty_terminal, TIOCGETD, &discipline));
    CHECK_EQ(discipline, 0);
    ERR(ENOTTY, ioctl(pty_terminal, TIOCGPGRP, &discipline));
    int null = (int)MUST(open("/dev/null", O_RDWR));
    ERR(ENOTTY, tcgetattr(null, &got));
    ERR(EFAULT, ioctl(pty_terminal, TCGETS, 8));
    ERR(ENOTTY, ioctl(pty_terminal, 0x54ff));
    OK(tcdrain(pty_terminal));
    OK(tcsendbreak(pty_terminal, 0));
}

int main(void)
{
    scratch();
    pty_open();
    defaults();
    editing();
    line_ends();
    translation();
    settings();
    pty_close();
    return check_done();
}
