// SPDX-License-Identifier: MIT
// kernel/core/user.h: range checks in front of the assembly code.

#include "kernel/arch/x86/user_access.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/base/string.h"
#include "kernel/core/percpu.h"
#include "kernel/core/preempt.h"
#include "kernel/core/user.h"

#include <linux/errno.h>

PERCPU(uint32_t, user_fault_off);

size_t user_copy_in(void *dst, uintptr_t src, size_t len_bytes)
{
    if (unlikely(!user_range_ok(src, len_bytes)))
        return len_bytes;
    return user_copy_bytes(dst, (const void *)src, len_bytes);
}

size_t user_copy_out(uintptr_t dst, const void *src, size_t len_bytes)
{
    if (unlikely(!user_range_ok(dst, len_bytes)))
        return len_bytes;
    return user_copy_bytes((void *)dst, src, len_bytes);
}

size_t user_clear(uintptr_t dst, size_t len_bytes)
{
    if (unlikely(!user_range_ok(dst, len_bytes)))
        return len_bytes;
    return user_clear_bytes((void *)dst, len_bytes);
}

int64_t user_copy_string(char *dst, uintptr_t src, size_t size)
{
    if (unlikely(src >= USER_END))
        return -EFAULT;
    if (size == 0)
        return -ENAMETOOLONG;
    // A string that reaches the end of user space without a NUL has a bad address behind its last
    // byte.
    size_t limit = MIN(size, USER_END - src);
    int64_t len = user_string_bytes(dst, (const char *)src, limit);
    if (len == (int64_t)limit)
        return limit == size ? -ENAMETOOLONG : -EFAULT;
    return len;
}

int user_get_u32(uint32_t *value, uintptr_t src)
{
    return likely(user_range_ok(src, sizeof(*value))) ? user_load_u32(value, src) : -EFAULT;
}

int user_get_u64(uint64_t *value, uintptr_t src)
{
    return likely(user_range_ok(src, sizeof(*value))) ? user_load_u64(value, src) : -EFAULT;
}

int user_put_u32(uintptr_t dst, uint32_t value)
{
    return likely(user_range_ok(dst, sizeof(value))) ? user_store_u32(dst, value) : -EFAULT;
}

int user_put_u64(uintptr_t dst, uint64_t value)
{
    return likely(user_range_ok(dst, sizeof(value))) ? user_store_u64(dst, value) : -EFAULT;
}

int user_cmpxchg_u32(uintptr_t address, uint32_t expected, uint32_t desired, uint32_t *old)
{
    if (unlikely(!user_range_ok(address, sizeof(uint32_t))))
        return -EFAULT;
    return user_exchange_u32(address, expected, desired, old);
}

bool user_fault_disabled(void)
{
    // With a spin lock held or in an interrupt nobody may sleep either.
    return this_cpu(user_fault_off) != 0 || this_cpu(preempt_count) != 0;
}

// The places of CLAC and STAC, from asm.h; gathered by the linker script.
extern uint8_t *const smap_clac_start[], *const smap_clac_end[];
extern uint8_t *const smap_stac_start[], *const smap_stac_end[];

void smap_patch(void)
{
    static const uint8_t clac[3] = {0x0f, 0x01, 0xca};
    static const uint8_t stac[3] = {0x0f, 0x01, 0xcb};
    if (!cpu_features.smap)
        return;
    for (uint8_t *const *at = smap_clac_start; at < smap_clac_end; at++)
        memcpy(*at, clac, sizeof(clac));
    for (uint8_t *const *at = smap_stac_start; at < smap_stac_end; at++)
        memcpy(*at, stac, sizeof(stac));
}
