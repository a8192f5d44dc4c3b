// SPDX-License-Identifier: MIT
//
// What the structures of this folder that need memory (xarray, ida) ask for. Whoever links this
// code provides the functions: the kernel from its slab allocator and RCU, host tests from malloc
// with injected failures (kernel/base/host/host_base.c).
#pragma once

#include "kernel/base/types.h"

// Memory for one small object, zeroed, aligned to 16 bytes; NULL if there is none.
// Context: where the structure's function is called (perhaps with a spinlock held): it does not
// sleep.
[[nodiscard]] void *base_alloc(size_t size);

// Gives it back; NULL is allowed.
void base_free(void *memory);

// What RCU keeps of an object that waits for its grace period; embedded in it.
struct rcu_head {
    struct rcu_head *next;
    void (*callback)(struct rcu_head *head);
};

// Calls `callback` after all present RCU readers have finished. Does not fail, does not sleep.
void base_call_rcu(struct rcu_head *head, void (*callback)(struct rcu_head *head));
