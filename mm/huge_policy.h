// SPDX-License-Identifier: MIT
// When huge pages are used: what /sys/kernel/mm/transparent_hugepage says.
#pragma once

#include "kernel/base/types.h"

enum huge_policy { HUGE_NEVER, HUGE_ADVISED, HUGE_ALWAYS };

// Any context. Machines with less than 512 MiB start with HUGE_NEVER, others with HUGE_ALWAYS, as
// Linux does.
enum huge_policy huge_policy_get(void);
void huge_policy_set(enum huge_policy policy);
