// SPDX-License-Identifier: MIT
//
// What kernel/base asks of its surroundings (assert_failed, base_alloc, base_call_rcu), for unit
// tests and fuzzers on the host, with the means to make trouble: allocations that fail, grace
// periods that end when the test says so, and seeds that can be given again.
#pragma once

#include "kernel/base/random.h"
#include "kernel/base/types.h"

// Seed of a randomised test: LODGER_SEED from the environment, else a new one; printed with the
// name of the test.
struct prng host_seed(const char *test);

// ---- Memory. base_alloc is malloc; freed memory is poisoned by ASan. Thread-safe.

// The allocation number `countdown` from now (0: the next one) and, if `all_after`, all later ones
// fail.
void host_alloc_fail(uint64_t countdown, bool all_after);
// No allocation fails any more. Returns whether one did since host_alloc_fail.
bool host_alloc_fail_never(void);
// Objects that have not been freed.
uint64_t host_alloc_live(void);

// Runs `expression` (int, 0 or -ENOMEM) with its first, second, third... allocation failing, until
// it succeeds; evaluates to its result then. After each failure `check` is evaluated: what must
// hold if nothing happened.
#define host_with_failing_allocations(expression, check)                                           \
    ({                                                                                             \
        int result_;                                                                               \
        for (uint64_t countdown_ = 0;; countdown_++) {                                             \
            host_alloc_fail(countdown_, false);                                                    \
            result_ = (expression);                                                                \
            if (!host_alloc_fail_never()) {                                                        \
                break;                                                                             \
            }                                                                                      \
            check;                                                                                 \
        }                                                                                          \
        result_;                                                                                   \
    })

// ---- RCU. Readers of any thread mark their sections; callbacks wait in a queue until somebody
// runs them.

void host_rcu_read_lock(void);
void host_rcu_read_unlock(void);
// Waits until every section that runs now has ended.
void host_rcu_synchronize(void);
// A grace period, then the callbacks that were queued before it. Returns how many.
uint64_t host_rcu_run_callbacks(void);
