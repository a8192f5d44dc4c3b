// SPDX-License-Identifier: MIT
//
// What RCU keeps of an object that waits for a grace period; embedded in the object. See
// kernel/core/rcu.h.
#pragma once

struct rcu_head {
    struct rcu_head *next;
    void (*function)(struct rcu_head *head);
};
