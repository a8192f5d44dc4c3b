// SPDX-License-Identifier: MIT
//
// The words every file uses: fixed-width types, array and alignment arithmetic, compiler hints.
// Everything is a constant expression if its arguments are, and evaluates them once unless said
// otherwise.
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ul << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define CACHE_LINE_SIZE 64

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

// Marks a pointer into the address space of a user program: the compiler refuses to dereference it
// (it is another address space to clang) and only kernel/core/user.h turns it into an access.
#if defined(__clang__) && !defined(LODGER_HOST)
#define __user __attribute__((noderef))
#else
#define __user
#endif

#define __packed         __attribute__((packed))
#define __aligned(bytes) __attribute__((aligned(bytes)))
#define __cache_aligned  __aligned(CACHE_LINE_SIZE)
#define __section(name)  __attribute__((section(name)))
#define __used           __attribute__((used))
#define __weak           __attribute__((weak))
#define __noinline       __attribute__((noinline))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define __printf_like(format_index, first_argument)                                                \
    __attribute__((format(printf, format_index, first_argument)))

// Number of elements of an array; does not compile for a pointer.
#define ARRAY_SIZE(array)                                                                          \
    (sizeof(array) / sizeof((array)[0]) +                                                          \
        0 * sizeof(                                                                                \
                char[1 - 2 * __builtin_types_compatible_p(typeof(array), typeof(&(array)[0]))]))

// The structure of the given type whose member `pointer` points to. The pointer must not be NULL.
#define container_of(pointer, type, member)                                                        \
    ({                                                                                             \
        static_assert(                                                                             \
            __builtin_types_compatible_p(typeof(*(pointer)), typeof(((type *)0)->member)) ||       \
                __builtin_types_compatible_p(typeof(*(pointer)), void),                            \
            "pointer does not point to this member");                                              \
        (type *)((char *)(pointer) - offsetof(type, member));                                      \
    })

// Both arguments must have compatible arithmetic types; not constant expressions. For sizes of
// arrays and static_asserts use MIN_CONST and MAX_CONST, which may evaluate an argument twice.
#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        typeof(a) min_a_ = (a);                                                                    \
        typeof(b) min_b_ = (b);                                                                    \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        typeof(a) max_a_ = (a);                                                                    \
        typeof(b) max_b_ = (b);                                                                    \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                         \
    })
#define MIN_CONST(a, b) ((a) < (b) ? (a) : (b))
#define MAX_CONST(a, b) ((a) > (b) ? (a) : (b))

// `value` limited to [low, high]; low <= high.
#define CLAMP(value, low, high) MIN(MAX(value, low), high)

// Alignment is a power of two. ALIGN_UP wraps to 0 if the result does not fit: check first with
// untrusted values.
#define ALIGN_DOWN(value, alignment) ((value) & ~((typeof(value))(alignment) - 1))
#define ALIGN_UP(value, alignment)                                                                 \
    (((value) + ((typeof(value))(alignment) - 1)) & ~((typeof(value))(alignment) - 1))
#define IS_ALIGNED(value, alignment) (((value) & ((typeof(value))(alignment) - 1)) == 0)

#define IS_POWER_OF_TWO(value)          ((value) != 0 && ((value) & ((value) - 1)) == 0)
#define DIV_ROUND_UP(dividend, divisor) (((dividend) + (divisor) - 1) / (divisor))

#define BIT(n) (1ul << (n))

// Index of the highest set bit (value != 0), of the lowest set bit (value != 0), number of set
// bits.
static inline unsigned int bit_highest(uint64_t value)
{
    return 63u - (unsigned int)__builtin_clzll(value);
}

static inline unsigned int bit_lowest(uint64_t value)
{
    return (unsigned int)__builtin_ctzll(value);
}

// Population count without relying on the POPCNT instruction or a library call.
static inline unsigned int bit_count(uint64_t value)
{
    value -= (value >> 1) & 0x5555555555555555ul;
    value = (value & 0x3333333333333333ul) + ((value >> 2) & 0x3333333333333333ul);
    value = (value + (value >> 4)) & 0x0f0f0f0f0f0f0f0ful;
    return (unsigned int)((value * 0x0101010101010101ul) >> 56);
}

// Smallest power of two >= value; value in [1, 2^63].
static inline uint64_t round_up_power_of_two(uint64_t value)
{
    return value <= 1 ? 1 : 1ul << (bit_highest(value - 1) + 1);
}

// True if start + len does not fit into 64 bits (an empty range at the very end fits).
static inline bool range_overflows(uint64_t start, uint64_t len)
{
    return start + len < start;
}

// True if [offset, offset + len) does not lie inside [0, size). All values may be untrusted.
static inline bool range_exceeds(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset > size || len > size - offset;
}
