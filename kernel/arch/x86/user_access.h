// SPDX-License-Identifier: MIT
// The assembly half of kernel/core/user.h (user_copy.S): no range checks, faults end them.
#pragma once

#include "kernel/base/types.h"

size_t user_copy_bytes(void *to, const void *from, size_t len_bytes); // bytes not copied
size_t user_clear_bytes(void *to, size_t len_bytes);                  // bytes not cleared
// Copies up to and including the NUL, at most `len_bytes`. Bytes copied without NUL, or `len_bytes` when there was none, or -EFAULT.
int64_t user_string_bytes(char *to, const char *from, size_t len_bytes);
int user_load_u32(uint32_t *value, uintptr_t from); // 0 or -EFAULT
int user_load_u64(uint64_t *value, uintptr_t from);
int user_store_u32(uintptr_t to, uint32_t value);
int user_store_u64(uintptr_t to, uint64_t value);
int user_exchange_u32(uintptr_t address, uint32_t expected, uint32_t desired, uint32_t *old);
int user_xsave(uintptr_t area); // the FPU's registers; the XSAVE header there must be zero
int user_xrstor(uintptr_t area, uint64_t features); // -EFAULT also for bad content
// Patches CLAC and STAC in. Before the image is write-protected; boot CPU.
void smap_patch(void);
