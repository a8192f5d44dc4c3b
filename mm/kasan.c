// SPDX-License-Identifier: MIT
// KASAN's run time: which bytes may be touched.
//
// Theory. One shadow byte stands for 8 bytes: 0 all of them may be touched, 1 to 7 only so many
// from the first, KASAN_POISON none. The shadow of a block of physical memory lies at the start of
// the block's own free memory, taken when the block comes into use, and a table says where. So
// there is no shadow area to map and no memory is spent on shadow of memory that is not in use.
// Only addresses of the direct map have shadow (slabs and pages); the compiler's checks are all
// calls that end up here (build/BUILD.gn), and other addresses pass. Vmap regions and kernel stacks
// are protected by guard pages instead.
//
// This file and the allocators are not instrumented themselves.

#include "mm/kasan.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/panic.h"
#include "mm/memory.h"
#include "mm/slab.h"

#ifdef LODGER_KASAN
#define KASAN_POISON 0xff
#define SHADOW_PAGES (MEMORY_BLOCK_PAGES / 8)
#define BLOCK_BYTES  (MEMORY_BLOCK_PAGES << PAGE_SHIFT)

static uint8_t **shadows; // by block; NULL: the block has none
static uint64_t shadow_blocks;

void kasan_init_early(uint64_t block_count, void *(*early_alloc)(uint64_t pages))
{
    shadows = early_alloc(DIV_ROUND_UP(block_count * sizeof(shadows[0]), PAGE_SIZE));
    shadow_blocks = block_count;
}

uint64_t kasan_block_shadow(uint64_t block, uint64_t start_pfn, uint64_t end_pfn)
{
    if (block >= shadow_blocks || shadows[block] != NULL || end_pfn - start_pfn < SHADOW_PAGES)
        return 0;
    uint8_t *shadow = phys_to_virt(start_pfn << PAGE_SHIFT);
    // Touchable until the allocator says otherwise: the rest of the block may be in use already.
    memset(shadow, 0, SHADOW_PAGES << PAGE_SHIFT);
    shadows[block] = shadow;
    return SHADOW_PAGES;
}

static uint8_t *shadow_of(uintptr_t address)
{
    uint64_t phys = address - PHYS_MAP_BASE;
    uint64_t block = phys / BLOCK_BYTES;
    if (block >= shadow_blocks || shadows[block] == NULL)
        return NULL;
    return &shadows[block][phys % BLOCK_BYTES / 8];
}

void kasan_poison(const void *address, size_t size)
{
    for (size_t done = 0; done < size;) {
        uint8_t *shadow = shadow_of((uintptr_t)address + done);
        size_t chunk = MIN(size - done, BLOCK_BYTES - ((uintptr_t)address + done) % BLOCK_BYTES);
        if (shadow != NULL)
            memset(shadow, KASAN_POISON, DIV_ROUND_UP(chunk, 8));
        done += chunk;
    }
}

void kasan_unpoison(const void *address, size_t size)
{
    for (size_t done = 0; done < size;) {
        uint8_t *shadow = shadow_of((uintptr_t)address + done);
        size_t chunk = MIN(size - done, BLOCK_BYTES - ((uintptr_t)address + done) % BLOCK_BYTES);
        if (shadow != NULL) {
            memset(shadow, 0, chunk / 8);
            if (chunk % 8 != 0)
                shadow[chunk / 8] = chunk % 8;
        }
        done += chunk;
    }
}

static bool byte_is_bad(uintptr_t address)
{
    const uint8_t *shadow = shadow_of(address);
    return shadow != NULL && *shadow != 0 && (*shadow == KASAN_POISON || address % 8 >= *shadow);
}

static void check(uintptr_t address, size_t size, bool write, const void *from)
{
    if (shadow_of(address) == NULL || size == 0)
        return;
    for (uintptr_t word = address; word < address + size; word = ALIGN_DOWN(word, 8) + 8) {
        uintptr_t last = MIN(ALIGN_DOWN(word, 8) + 7, address + size - 1);
        if (byte_is_bad(last))
            panic("kasan: %s of %zu bytes at %p (bad from %p), code %p", write ? "write" : "read",
                size, (void *)address, (void *)word, from);
    }
}

// ---- what the compiler calls; the names are its own ----

#define CHECK_FUNCTIONS(bytes)                                                                     \
    void __asan_load##bytes##_noabort(uintptr_t address);                                          \
    void __asan_store##bytes##_noabort(uintptr_t address);                                         \
    void __asan_load##bytes##_noabort(uintptr_t address)                                           \
    {                                                                                              \
        check(address, bytes, false, __builtin_return_address(0));                                 \
    }                                                                                              \
    void __asan_store##bytes##_noabort(uintptr_t address)                                          \
    {                                                                                              \
        check(address, bytes, true, __builtin_return_address(0));                                  \
    }
CHECK_FUNCTIONS(1)
CHECK_FUNCTIONS(2)
CHECK_FUNCTIONS(4)
CHECK_FUNCTIONS(8)
CHECK_FUNCTIONS(16)

// In instrumented code these stand for memcpy and its relatives.
void *__asan_memcpy(void *to, const void *from, size_t len);
void *__asan_memmove(void *to, const void *from, size_t len);
void *__asan_memset(void *to, int byte, size_t len);
void *__asan_memcpy(void *to, const void *from, size_t len)
{
    check((uintptr_t)from, len, false, __builtin_return_address(0));
    check((uintptr_t)to, len, true, __builtin_return_address(0));
    return memcpy(to, from, len);
}
void *__asan_memmove(void *to, const void *from, size_t len)
{
    check((uintptr_t)from, len, false, __builtin_return_address(0));
    check((uintptr_t)to, len, true, __builtin_return_address(0));
    return memmove(to, from, len);
}
void *__asan_memset(void *to, int byte, size_t len)
{
    check((uintptr_t)to, len, true, __builtin_return_address(0));
    return memset(to, byte, len);
}

void kasan_self_test(void)
{
    char *object = kmalloc(44, PAGE_ALLOC_ATOMIC);
    if (object == NULL || shadow_of((uintptr_t)object) == NULL)
        return;
    assert(!byte_is_bad((uintptr_t)object));
    assert(!byte_is_bad((uintptr_t)object + 43));
    assert(byte_is_bad((uintptr_t)object + 44));
    kfree(object);
    assert(byte_is_bad((uintptr_t)object));
    assert(byte_is_bad((uintptr_t)object + 43));
}

void __asan_loadN_noabort(uintptr_t address, size_t size);
void __asan_storeN_noabort(uintptr_t address, size_t size);
void __asan_handle_no_return(void);
void __asan_loadN_noabort(uintptr_t address, size_t size)
{
    check(address, size, false, __builtin_return_address(0));
}
void __asan_storeN_noabort(uintptr_t address, size_t size)
{
    check(address, size, true, __builtin_return_address(0));
}
void __asan_handle_no_return(void)
{
}
#endif
