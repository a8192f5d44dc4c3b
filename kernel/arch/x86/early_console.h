// SPDX-License-Identifier: MIT
// Consoles that work from the first instruction on: debug port 0xe9 and the first serial port.
#pragma once

// Finds out which of the two exist and registers them with the log. Once, first thing.
void early_console_init(void);
