// SPDX-License-Identifier: MIT
// Per-CPU areas; kernel/core/percpu.h has the idea.
#pragma once

#include "kernel/base/types.h"

// Keeps a copy of the pristine section and sets up the boot CPU. Before anything writes a per-CPU
// variable.
void percpu_init_boot(void);
size_t percpu_area_bytes(void); // a multiple of 64
// Makes `area` (percpu_area_bytes() bytes, 64-aligned) CPU `cpu`'s.
void percpu_init_area(uint32_t cpu, void *area);
