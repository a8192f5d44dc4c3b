// SPDX-License-Identifier: MIT
//
// A pair of pseudo-terminal ends for the tests of this folder.
#pragma once
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static int pty_master CHECK_UNUSED = -1, pty_terminal CHECK_UNUSED = -1;
static char pty_path[32] CHECK_UNUSED;

// Opens a new pair; the terminal is nobody's controlling terminal.
CHECK_UNUSED static void pty_open(void)
{
    int number = -1, zero = 0;

    pty_master = (int)MUST(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
    MUST(ioctl(pty_master, TIOCSPTLCK, &zero));
    MUST(ioctl(pty_master, TIOCGPTN, &number));
    snprintf(pty_path, sizeof(pty_path), "/dev/pts/%d", number);
    pty_terminal = (int)MUST(open(pty_path, O_RDWR | O_NOCTTY | O_CLOEXEC));
}

CHECK_UNUSED static void pty_close(void)
{
    close(pty_terminal);
    close(pty_master);
}

// Characters as they are printed: control characters as ^X, bytes above ASCII in hexadecimal.
CHECK_UNUSED static const char *pty_visible(const char *bytes, ssize_t length)
{
    static char text[2048];
    size_t at = 0;

    for (ssize_t i = 0; i < length && at < sizeof(text) - 8; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\n') {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "\\n");
        } else if (c == '\r') {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "\\r");
        } else if (c < 32 || c == 127) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "^%c", c ^ 64);
        } else if (c > 127) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "<%02x>", c);
        } else {
            text[at++] = (char)c;
        }
    }
    text[at] = 0;
    return text;
}

// Whatever can be read now from one end; waits up to three seconds for the first byte, and until
// nothing more comes for a moment.
CHECK_UNUSED static const char *pty_get(int end)
{
    char bytes[2000];
    ssize_t length = 0;
    int wait_ms = 3000;
    struct pollfd source = {.fd = end, .events = POLLIN};

    while (length < (ssize_t)sizeof(bytes) && poll(&source, 1, wait_ms) == 1 &&
           (source.revents & POLLIN) != 0) {
        ssize_t got = read(end, bytes + length, sizeof(bytes) - (size_t)length);
        if (got <= 0) {
            break;
        }
        length += got;
        wait_ms = 50;
    }
    return pty_visible(bytes, length);
}

// Like it, but expects nothing: does not wait long.
CHECK_UNUSED static bool pty_is_silent(int end)
{
    struct pollfd source = {.fd = end, .events = POLLIN};
    return poll(&source, 1, 150) == 0;
}

CHECK_UNUSED static void pty_put(int end, const char *text)
{
    MUST(write(end, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1);
}
