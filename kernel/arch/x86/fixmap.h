// SPDX-License-Identifier: MIT
// Device pages of the processor itself (local APIC, I/O APICs) at fixed virtual addresses in the
// last 2 MiB.
#pragma once

#include "kernel/base/types.h"

#define FIXMAP_BASE UINT64_C(0xffffffffffe00000)

// Hooks the fixed map into the kernel's page tables; after memory management has made them.
void fixmap_init(void);
// Maps the page of `phys` uncached; NULL: no slot is free. For ever.
volatile void *fixmap_device(uint64_t phys);
