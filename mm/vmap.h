// SPDX-License-Identifier: MIT
// The vmap area's place; its functions are in slab.h. Private to mm/.
#pragma once

#include "kernel/base/types.h"

#define VMAP_BASE UINT64_C(0xffffd00000000000)
#define VMAP_END  (VMAP_BASE + (UINT64_C(1) << 39)) // one top-level entry

void vmap_init(void);
// The free stacks that the running CPU keeps are freed. Preemption off, interrupts on.
void vmap_cpu_leave(void);
