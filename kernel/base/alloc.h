// SPDX-License-Identifier: MIT
//
// What the structures of this folder that need memory (xarray, ida) ask for. Whoever links this
// code provides the functions: the kernel from its slab allocator and RCU, host tests from malloc
// with injected failures (kernel/base/host/host_base.c).
#pragma once

#include "kernel/base/rcu_head.h"
#include "kernel/base/types.h"

// Memory for one small object, zeroed, aligned to 16 bytes; NULL if there is none.
// Context: where the structure's function is called (perhaps with a spinlock held): it does not
// sleep.
[[nodiscard]] void *base_alloc(size_t size);

// Gives it back; NULL is allowed.
void base_free(void *memory);

// Calls `function` after all present RCU readers have finished (rcu_call in the kernel). Cannot
// fail, does not sleep.
void base_call_rcu(struct rcu_head *head, void (*function)(struct rcu_head *head));
