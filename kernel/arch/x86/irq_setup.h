// SPDX-License-Identifier: MIT
// Start of kernel/core/irq.h's implementation.
#pragma once

void irq_init(void); // boot CPU, before interrupts are switched on
