// SPDX-License-Identifier: MIT
// The time stamp counter as a clock.
#pragma once

#include "kernel/base/types.h"

// First reading of a reference clock: the earlier, the longer the window in which the frequency is
// measured. First thing at boot.
void tsc_first_reading(void);
// Finds the frequency, as well as it can be known now, and starts the clock at 0. Boot CPU.
void tsc_init(void);
// Reads the reference again and corrects the rate; the clock stays continuous. False: the frequency
// is exact, no need to come again. One caller at a time.
bool tsc_refine(void);
// The hypervisor knows the exact frequency: from now on the clock runs by it, continuously. A value
// that makes no sense is ignored. After tsc_init(), boot CPU alone.
void tsc_use_frequency(uint64_t hz);
uint64_t tsc_frequency_hz(void);
// Nanoseconds since tsc_init(). Any context, NMI included.
uint64_t tsc_clock_ns(void);
// TSC value at which tsc_clock_ns() will be `ns` (0 if that is over).
uint64_t tsc_from_ns(uint64_t ns);

// ns = base_ns + ((tsc - base_tsc) * mult >> 32)
struct tsc_parameters {
    uint64_t base_tsc;
    uint64_t base_ns;
    uint64_t mult;
};
void tsc_parameters_read(struct tsc_parameters *parameters);
