// SPDX-License-Identifier: MIT
// The assembly half of kernel/core/user.h (user_copy.S): no range checks, faults end them.
#pragma once

#include "kernel/base/types.h"

size_t user_copy_bytes(void *to, const void *from, size_t len_bytes); // bytes not copied
size_t user_clear_bytes(void *to, size_t len_bytes);                  // bytes not cleared
// Copies up to and including the NUL, at most `len_bytes`. Bytes copied without NUL, or
// `len_bytes` when there was none, or -EFAULT.
int64_t user_string_bytes(char *to, const char *from, size_t len_bytes);
int user_load_u32(uint32_t *value, uintptr_t from); // 0 or -EFAULT
int user_load_u64(uint64_t *value, uintptr_t from);
int user_store_u32(uintptr_t to, uint32_t value);
int user_store_u64(uintptr_t to, uint64_t value);
int user_exchange_u32(uintptr_t address, uint32_t expected, uint32_t desired, uint32_t *old);
struct fpu_signal_marks;
// The FPU's registers to the FPU area of a signal frame, with the words around them that say what
// it is. `area` is aligned to 64 and in user space up to the last mark. 0 or -EFAULT. A fault that
// is resolved repeats the instruction.
int user_fpu_signal_save(uintptr_t area, const struct fpu_signal_marks *marks);
// The other way, for an area as user_fpu_signal_save() made it; the processor checks the content
// (as it reads it: nothing can change in between). -EFAULT: nothing was loaded; the memory is not
// there, the marks or the content are different. The same preconditions.
int user_fpu_signal_load(uintptr_t area, const struct fpu_signal_marks *marks);
// Patches CLAC and STAC in. Before the image is write-protected; boot CPU.
void smap_patch(void);
