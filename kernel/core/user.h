// SPDX-License-Identifier: MIT
// Access to the running program's memory. The only way to it: SMAP is on.
//
// Every function checks that the range lies in user space (below USER_END, no wrap) and survives
// faults: a fault that can't be resolved ends the copy. Task context, interrupts on, may sleep
// (faults are resolved), unless page faults are disabled by user_fault_disable(): then a missing
// page ends the copy at once.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/types.h"
#include "kernel/core/percpu.h"
#include "kernel/core/preempt.h"

#define USER_END                                                                                   \
    UINT64_C(0x00007ffffffff000) // first address beyond user space (4-level paging, one guard page)

static inline bool user_range_ok(uintptr_t address, size_t len_bytes)
{
    return len_bytes <= USER_END && address <= USER_END - len_bytes;
}

// Bytes NOT copied (0: all done). The part of dst that was not copied is left as it is.
[[nodiscard]] size_t user_copy_in(void *dst, uintptr_t src, size_t len_bytes);
[[nodiscard]] size_t user_copy_out(uintptr_t dst, const void *src, size_t len_bytes);
[[nodiscard]] size_t user_clear(uintptr_t dst, size_t len_bytes);

// All or -EFAULT.
[[nodiscard]] static inline int copy_from_user(void *dst, uintptr_t src, size_t len_bytes)
{
    return user_copy_in(dst, src, len_bytes) == 0 ? 0 : -14 /* EFAULT */;
}
[[nodiscard]] static inline int copy_to_user(uintptr_t dst, const void *src, size_t len_bytes)
{
    return user_copy_out(dst, src, len_bytes) == 0 ? 0 : -14 /* EFAULT */;
}

// Copies a NUL-terminated string of at most size - 1 bytes. Length without the NUL, -EFAULT, or
// -ENAMETOOLONG when there is no NUL within size.
[[nodiscard]] int64_t user_copy_string(char *dst, uintptr_t src, size_t size);

// Single words, for hot paths.
[[nodiscard]] int user_get_u32(uint32_t *value, uintptr_t src);
[[nodiscard]] int user_get_u64(uint64_t *value, uintptr_t src);
[[nodiscard]] int user_put_u32(uintptr_t dst, uint32_t value);
[[nodiscard]] int user_put_u64(uintptr_t dst, uint64_t value);

// Atomic compare-and-exchange and exchange-add style operations on user words (futex). *old gets
// what was there.
[[nodiscard]] int user_cmpxchg_u32(
    uintptr_t address, uint32_t expected, uint32_t desired, uint32_t *old);

// Between these, faults on user memory are not resolved (copies fail instead): usable under spin
// locks.
PERCPU_DECLARE(uint32_t, user_fault_off); // depth; preemption is off while it is not 0
static inline void user_fault_disable(void)
{
    preempt_disable();
    this_cpu(user_fault_off) += 1;
}
static inline void user_fault_enable(void)
{
    debug_assert(this_cpu(user_fault_off) != 0);
    this_cpu(user_fault_off) -= 1;
    preempt_enable();
}
bool user_fault_disabled(void);
