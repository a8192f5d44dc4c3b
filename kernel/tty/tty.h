// SPDX-License-Identifier: MIT
// Terminals: what the rest of the kernel sees.
#pragma once

#include "kernel/base/types.h"

struct file;
struct pty_visit;

// Registers /dev/console, /dev/tty, /dev/ptmx, the serial ports that are there, and the program
// streams when the boot option asks for them. Once, at start-up, after vfs_init(). 0 or -errno.
[[nodiscard]] int tty_init(void);

// The name of the device node behind /dev/console ("ttyS0"), for /proc/consoles and messages.
const char *tty_console_name(void);
