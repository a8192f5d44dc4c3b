// SPDX-License-Identifier: MIT
// Allocations that fail on purpose, in debug and kasan builds: /proc/lodger/fail_alloc chooses
// whose and how many (fail_alloc.c). In other builds there is nothing of it. Private to mm/.
#pragma once

#include "kernel/base/types.h"

#if defined(LODGER_DEBUG) && !defined(LODGER_HOST)
#include "kernel/arch/x86/static_branch.h"

extern struct static_key fail_alloc_key;
[[nodiscard]] bool fail_alloc_due_slow(void);
// Shall the allocation that begins here fail? Any context but NMI.
static inline bool fail_alloc_due(void)
{
    return static_branch(&fail_alloc_key) && fail_alloc_due_slow();
}
#else
static inline bool fail_alloc_due(void)
{
    return false;
}
#endif
