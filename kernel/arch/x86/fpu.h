// SPDX-License-Identifier: MIT
// Floating point and vector registers: switch.c's half of fpu.c.
#pragma once

#include "kernel/base/types.h"

struct thread;

void fpu_init(void);     // boot CPU: which state there is
void fpu_init_cpu(void); // every CPU: XCR0 and initial registers
// Parts of the context switch, interrupts off. Threads without an area are left out.
void fpu_save(struct thread *from);
void fpu_load(struct thread *to);
