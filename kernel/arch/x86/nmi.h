// SPDX-License-Identifier: MIT
// Non-maskable interrupts: who wants to look at them.
#pragma once

#include "kernel/base/types.h"

struct trap_frame;
#define NMI_HANDLERS_MAX 4

// Was it yours? NMI context: no locks, no faults on user memory.
typedef bool nmi_handler(struct trap_frame *frame);
// For ever. 0 or -ENOSPC.
[[nodiscard]] int nmi_handler_add(nmi_handler *handler);
