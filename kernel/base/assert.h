// SPDX-License-Identifier: MIT
//
// Assertions in three tiers. A failed one means that the code is wrong, never that the input is:
// bad input is answered with an error.
//
//   assert            always compiled in; for checks that cost next to nothing
//   debug_assert      only with LODGER_DEBUG (debug and kasan variants, host tests)
//   expensive_assert  only with LODGER_EXPENSIVE (tests and fuzzers on the host); may walk a
//   structure
//
// A disabled assertion still type-checks its expression but does not evaluate it.
#pragma once

// Provided by whoever links this code: the kernel panics, a host test fails or aborts.
// Context: any, including NMI.
[[noreturn]] void assert_failed(const char *expression, const char *file, int line);

#ifdef assert
#undef assert
#endif

#define assert(expression)                                                                         \
    (__builtin_expect(!!(expression), 1) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__))

#define assert_disabled_(expression) ((void)sizeof(!!(expression)))

#ifdef LODGER_DEBUG
#define debug_assert(expression) assert(expression)
#else
#define debug_assert(expression) assert_disabled_(expression)
#endif

// Unit tests and fuzzers on the host run with all tiers.
#if defined(LODGER_HOST) && defined(LODGER_DEBUG) && !defined(LODGER_EXPENSIVE)
#define LODGER_EXPENSIVE 1
#endif

#ifdef LODGER_EXPENSIVE
#define expensive_assert(expression) assert(expression)
#else
#define expensive_assert(expression) assert_disabled_(expression)
#endif

// For a place that cannot be reached.
#define assert_unreachable() assert_failed("unreachable", __FILE__, __LINE__)
