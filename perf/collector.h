// SPDX-License-Identifier: MIT
// Between the files of perf/ that deal with the collector. Private to this folder.
#pragma once

#include "kernel/base/types.h"

void perf_collector_init(void);
// The processor's number for the host: its APIC ID.
uint32_t perf_apic_id(uint32_t cpu);
// RUNDOWN_END, in this CPU's side ring.
void perf_note_rundown_end(uint32_t rundown, uint32_t tasks);
