// SPDX-License-Identifier: MIT
//
// Parts of the program that does operations whose exits the host counts.
#pragma once

#include <stdint.h>

// Says MESSAGE and gives up.
[[noreturn]] void exits_fail(const char *message);

// Runs the calling thread on one CPU only.
void exits_pin(unsigned cpu);

uint64_t exits_now_ns(void);

// A fixed amount of unmapping, protecting and waking by four threads of one process at once.
// Returns its wall time.
uint64_t exits_storm(void);
