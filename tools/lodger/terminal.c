// SPDX-License-Identifier: MIT
//
// Raw mode of the user's terminal.
#include "tools/lodger/terminal.h"
#include "tools/lodger/util.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t raw;
static pid_t owner;

void terminal_restore(void)
{
    if (raw && owner == getpid()) {
        raw = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    }
}

// For signals that nothing else handles: a crash of this program must not leave the terminal raw.
static void restore_and_die(int signal_number)
{
    terminal_restore();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void terminal_raw(void)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    if (raw) {
        return;
    }
    if (tcgetattr(STDIN_FILENO, &saved) != 0) {
        die("cannot read the terminal's settings: %s", strerror(errno));
    }
    owner = getpid();
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
        signal(deadly[i], restore_and_die);
    }
    atexit(terminal_restore);
    raw = 1;
    struct termios settings = saved;
    cfmakeraw(&settings);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &settings);
}

bool terminal_size(unsigned *rows, unsigned *columns)
{
    struct winsize size;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
        return false;
    }
    *rows = size.ws_row;
    *columns = size.ws_col;
    return true;
}
