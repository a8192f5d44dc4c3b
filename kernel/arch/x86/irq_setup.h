// SPDX-License-Identifier: MIT
// Start of kernel/core/irq.h's implementation, and what the APIC code tells it.
#pragma once

#include "kernel/base/types.h"

void irq_init(void); // boot CPU, before interrupts are switched on
// The vector's source is a level: the end of interrupt comes after its handler. Before the source
// is switched on; until the vector is freed.
void irq_vector_set_level(uint32_t vector);
