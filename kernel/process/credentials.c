// SPDX-License-Identifier: MIT
// Credentials as objects: references, copies, publication. The rules for changing them are those of
// the system calls (kernel/syscall/credentials.c) and of exec.
#include "kernel/process/credentials.h"
#include "kernel/base/string.h"
#include "kernel/process/process.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/capability.h>

#define CAPABILITIES_ALL ((UINT64_C(1) << (CAP_LAST_CAP + 1)) - 1)

const struct credentials credentials_root = {
    .refcount = 1,
    .user = &user_account_root,
    .cap_permitted = CAPABILITIES_ALL,
    .cap_effective = CAPABILITIES_ALL,
    .cap_bounding = CAPABILITIES_ALL,
};

const struct credentials *credentials_current(void)
{
    return task_current()->cred;
}

// credentials_root is constant and needs no count.
const struct credentials *credentials_get(const struct credentials *credentials)
{
    if (credentials != &credentials_root)
        atomic_fetch_add_relaxed(&((struct credentials *)credentials)->refcount, 1u);
    return credentials;
}

static void credentials_free_rcu(struct rcu_head *head)
{
    struct credentials *credentials = container_of(head, struct credentials, rcu);
    kfree(credentials->groups);
    user_account_put(credentials->user);
    kfree(credentials);
}

void credentials_put(const struct credentials *constant)
{
    struct credentials *credentials = (struct credentials *)constant;
    if (credentials == NULL || credentials == &credentials_root)
        return;
    if (atomic_fetch_sub(&credentials->refcount, 1u) == 1)
        rcu_call(&credentials->rcu, credentials_free_rcu);
}

struct credentials *credentials_copy(void)
{
    const struct credentials *old = credentials_current();
    struct credentials *credentials = kmalloc(sizeof(*credentials), 0);
    if (credentials == NULL)
        return NULL;
    memcpy(credentials, old, sizeof(*credentials));
    credentials->refcount = 1;
    credentials->groups = NULL;
    if (old->group_count != 0) {
        credentials->groups = kmalloc(old->group_count * sizeof(uint32_t), 0);
        if (credentials->groups == NULL) {
            kfree(credentials);
            return NULL;
        }
        memcpy(credentials->groups, old->groups, old->group_count * sizeof(uint32_t));
    }
    user_account_reference(credentials->user);
    return credentials;
}

void credentials_commit(struct credentials *credentials)
{
    struct task *task = task_current();
    const struct credentials *old = task->cred;
    if (credentials->user != old->user) {
        atomic_fetch_add_relaxed(&credentials->user->process_count, 1u);
        atomic_fetch_sub_relaxed(&old->user->process_count, 1u);
    }
    spin_lock(&task->alloc_lock);
    rcu_store(task->cred, credentials);
    spin_unlock(&task->alloc_lock);
    // Another user's eyes may not look at a process that changed its identity, until it execs.
    if (old->euid != credentials->euid || old->egid != credentials->egid ||
        old->fsuid != credentials->fsuid || old->fsgid != credentials->fsgid ||
        (credentials->cap_permitted & ~old->cap_permitted) != 0)
        task->process->dumpable = false;
    credentials_put(old);
}

bool credentials_in_group(const struct credentials *credentials, uint32_t gid)
{
    if (gid == credentials->fsgid)
        return true;
    uint32_t low = 0;
    uint32_t high = credentials->group_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (credentials->groups[middle] == gid)
            return true;
        if (credentials->groups[middle] < gid)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool capable(int capability)
{
    debug_assert(capability >= 0 && capability <= CAP_LAST_CAP);
    return (credentials_current()->cap_effective >> capability & 1) != 0;
}

bool process_may_inspect(struct process *process)
{
    const struct credentials *own = credentials_current();
    rcu_read_lock();
    const struct credentials *other = rcu_load(process->leader->cred);
    bool same = own->fsuid == other->uid && own->fsuid == other->euid &&
                own->fsuid == other->suid && own->fsgid == other->gid &&
                own->fsgid == other->egid && own->fsgid == other->sgid;
    bool allowed = same && process->dumpable && (other->cap_permitted & ~own->cap_permitted) == 0;
    rcu_read_unlock();
    return allowed || capable(CAP_SYS_PTRACE);
}
