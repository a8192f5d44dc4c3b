// SPDX-License-Identifier: MIT
// Start of the other CPUs.
#pragma once

#include "kernel/base/types.h"

struct memmap;

// Takes the page below 1 MiB in which the other CPUs start out of the memory map.
void smp_reserve_trampoline(struct memmap *map);
