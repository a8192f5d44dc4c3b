// SPDX-License-Identifier: MIT
//
// Atomic access to plain integers and pointers, on the compiler's __atomic builtins. The objects
// are ordinary fields (not _Atomic, not volatile); the name of the operation says the order:
//
//   _relaxed   no order, only no tearing        _acquire   later accesses stay behind this load
//   _release   earlier accesses stay before     no suffix  sequentially consistent (LOCK)
//
// On x86 loads with acquire and stores with release are plain MOVs, and every read-modify-write is
// a full barrier whatever it is called; the relaxed forms still let the compiler move other
// accesses across. Do not include <stdatomic.h> beside this.
#pragma once

#include "kernel/base/types.h"

#define atomic_load_relaxed(pointer) __atomic_load_n((pointer), __ATOMIC_RELAXED)
#define atomic_load_acquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
#define atomic_load(pointer)         __atomic_load_n((pointer), __ATOMIC_SEQ_CST)

#define atomic_store_relaxed(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELAXED)
#define atomic_store_release(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELEASE)
#define atomic_store(pointer, value)         __atomic_store_n((pointer), (value), __ATOMIC_SEQ_CST)

// Return the value before the operation.
#define atomic_exchange(pointer, value)  __atomic_exchange_n((pointer), (value), __ATOMIC_SEQ_CST)
#define atomic_fetch_add(pointer, value) __atomic_fetch_add((pointer), (value), __ATOMIC_SEQ_CST)
#define atomic_fetch_sub(pointer, value) __atomic_fetch_sub((pointer), (value), __ATOMIC_SEQ_CST)
#define atomic_fetch_or(pointer, value)  __atomic_fetch_or((pointer), (value), __ATOMIC_SEQ_CST)
#define atomic_fetch_and(pointer, value) __atomic_fetch_and((pointer), (value), __ATOMIC_SEQ_CST)
#define atomic_fetch_xor(pointer, value) __atomic_fetch_xor((pointer), (value), __ATOMIC_SEQ_CST)

#define atomic_exchange_acquire(pointer, value)                                                    \
    __atomic_exchange_n((pointer), (value), __ATOMIC_ACQUIRE)
#define atomic_fetch_add_relaxed(pointer, value)                                                   \
    __atomic_fetch_add((pointer), (value), __ATOMIC_RELAXED)
#define atomic_fetch_sub_relaxed(pointer, value)                                                   \
    __atomic_fetch_sub((pointer), (value), __ATOMIC_RELAXED)
#define atomic_fetch_sub_release(pointer, value)                                                   \
    __atomic_fetch_sub((pointer), (value), __ATOMIC_RELEASE)
#define atomic_fetch_or_relaxed(pointer, value)                                                    \
    __atomic_fetch_or((pointer), (value), __ATOMIC_RELAXED)
#define atomic_fetch_and_relaxed(pointer, value)                                                   \
    __atomic_fetch_and((pointer), (value), __ATOMIC_RELAXED)

// Replace *pointer with `desired` if it equals *expected; true if it did, else *expected is what
// was found. Never fails spuriously.
#define atomic_cmpxchg(pointer, expected, desired)                                                 \
    __atomic_compare_exchange_n(                                                                   \
        (pointer), (expected), (desired), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_cmpxchg_acquire(pointer, expected, desired)                                         \
    __atomic_compare_exchange_n(                                                                   \
        (pointer), (expected), (desired), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define atomic_cmpxchg_release(pointer, expected, desired)                                         \
    __atomic_compare_exchange_n(                                                                   \
        (pointer), (expected), (desired), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define atomic_cmpxchg_relaxed(pointer, expected, desired)                                         \
    __atomic_compare_exchange_n(                                                                   \
        (pointer), (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)

#define atomic_fence()         __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define atomic_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define atomic_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)

// Order only against this CPU's own interrupts: costs no instruction.
#define compiler_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

// Says to the processor that this is a spinning loop.
static inline void spin_hint(void)
{
    __builtin_ia32_pause();
}
