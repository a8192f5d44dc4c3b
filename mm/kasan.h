// SPDX-License-Identifier: MIT
// Hooks of the allocators for KASAN (kasan variant only; nothing elsewhere). Which bytes may be
// touched is known to mm/kasan.c; the compiler's calls (__asan_load8_noabort ...) ask it.
#pragma once

#include "kernel/base/types.h"

#ifdef LODGER_KASAN
// Memory at a direct-map address becomes untouchable, or touchable. Addresses without shadow are
// ignored. Start is a multiple of 8.
void kasan_poison(const void *address, size_t size);
void kasan_unpoison(const void *address, size_t size);
void kasan_init_early(uint64_t block_count, void *(*early_alloc)(uint64_t pages));
// A block of physical memory comes into use with the free frames [start_pfn, end_pfn): takes the
// frames of its shadow from their beginning. Returns how many it took (0: the block has a shadow
// already, or no room for one).
uint64_t kasan_block_shadow(uint64_t block, uint64_t start_pfn, uint64_t end_pfn);
// Once, when kmalloc works: a freed object and the bytes behind one are known to be untouchable.
void kasan_self_test(void);
#else
static inline void kasan_self_test(void)
{
}
static inline void kasan_poison(const void *address, size_t size)
{
    (void)address;
    (void)size;
}
static inline void kasan_unpoison(const void *address, size_t size)
{
    (void)address;
    (void)size;
}
static inline void kasan_init_early(uint64_t block_count, void *(*early_alloc)(uint64_t pages))
{
    (void)block_count;
    (void)early_alloc;
}
static inline uint64_t kasan_block_shadow(uint64_t block, uint64_t start_pfn, uint64_t end_pfn)
{
    (void)block;
    (void)start_pfn;
    (void)end_pfn;
    return 0;
}
#endif
