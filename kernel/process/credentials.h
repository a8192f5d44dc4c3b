// SPDX-License-Identifier: MIT
// Credentials: immutable once published, replaced as a whole (copy, change, commit), freed by RCU.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/rcu.h"

#define CREDENTIAL_GROUPS_MAX 65536

// What is counted for each user id, over all processes: found through credentials, freed with the
// last of them.
struct user_account;

struct credentials {
    uint32_t refcount;         // atomic
    struct user_account *user; // of `uid`; holds a reference
    uint32_t uid, euid, suid, fsuid;
    uint32_t gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    uint32_t securebits;
    uint32_t group_count;
    uint32_t *groups; // sorted; owned
    struct rcu_head rcu;
};

extern const struct credentials credentials_root;

const struct credentials *credentials_current(
    void); // of the running task, valid while it does not change them; no reference
const struct credentials *credentials_get(const struct credentials *credentials);
void credentials_put(const struct credentials *credentials);
struct credentials *credentials_copy(void); // of the running task's, to change; NULL: no memory
void credentials_commit(struct credentials *credentials); // publishes; the reference is taken over
bool credentials_in_group(const struct credentials *credentials, uint32_t gid);
// Has the running task the capability (linux/capability.h)?
bool capable(int capability);
