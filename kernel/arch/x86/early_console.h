// SPDX-License-Identifier: MIT
// Consoles that work from the first instruction on: debug port 0xe9 and the first serial port.
#pragma once

// Finds out which of the two exist and registers them with the log. Once, first thing.
void early_console_init(void);
// The kernel log also goes to the debug port, or no longer: for a hypervisor that is known to have
// one, though it can't be found out by reading. One caller at a time.
void early_console_use_debug_port(bool use);
