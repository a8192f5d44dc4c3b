// SPDX-License-Identifier: MIT
//
// The terminal of the user: raw while a guest's console is on it, and restored whatever happens.
#pragma once

#include <stdbool.h>

// Puts standard input, which must be a terminal, into raw mode. It is restored by
// terminal_restore(), by exit() and by the signals that end the command, as far as a program can
// see them coming.
void terminal_raw(void);

// Undoes terminal_raw(). Harmless if there is nothing to undo.
void terminal_restore(void);

// The size of the terminal on standard input; false if there is none or it does not say.
[[nodiscard]] bool terminal_size(unsigned *rows, unsigned *columns);
