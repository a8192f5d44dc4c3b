// SPDX-License-Identifier: MIT
// Who a new program runs as: set-id bits of its file and the rules of capabilities(7) for execve,
// without file capabilities.
#include "kernel/fs/vfs.h"
#include "kernel/process/exec.h"
#include "mm/slab.h"
#include <linux/securebits.h>
#include <linux/stat.h>

static uint64_t caps_of_root(const struct credentials *old, uint64_t inheritable)
{
    return inheritable | old->cap_bounding;
}

int exec_credentials(struct file *file, struct credentials **fresh, bool *secure, bool *gained)
{
    const struct credentials *old = credentials_current();
    uint32_t mode, owner_uid, owner_gid;
    uint32_t euid = old->euid;
    uint32_t egid = old->egid;
    vfs_exec_attributes(file, &mode, &owner_uid, &owner_gid);
    if (!task_current()->no_new_privileges) {
        if ((mode & S_ISUID) != 0)
            euid = owner_uid;
        if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
            egid = owner_gid;
    }
    bool set_id = euid != old->euid || egid != old->egid;
    uint64_t ambient = set_id ? 0 : old->cap_ambient;
    uint64_t permitted = ambient;
    uint64_t effective = ambient;
    if ((old->securebits & (1u << SECURE_NOROOT)) == 0 && (euid == 0 || old->uid == 0)) {
        permitted = caps_of_root(old, old->cap_inheritable);
        effective = euid == 0 ? permitted : ambient;
    }
    uint32_t securebits = old->securebits & ~(1u << SECURE_KEEP_CAPS);

    *gained = set_id;
    *secure =
        euid != old->uid || egid != old->gid || (old->uid != 0 && (effective & ~ambient) != 0);
    *fresh = NULL;
    if (!set_id && euid == old->suid && euid == old->fsuid && egid == old->sgid &&
        egid == old->fsgid && permitted == old->cap_permitted && effective == old->cap_effective &&
        ambient == old->cap_ambient && securebits == old->securebits)
        return 0;
    struct credentials *cred = credentials_copy();
    if (cred == NULL)
        return -ENOMEM;
    cred->euid = cred->suid = cred->fsuid = euid;
    cred->egid = cred->sgid = cred->fsgid = egid;
    cred->cap_permitted = permitted;
    cred->cap_effective = effective;
    cred->cap_ambient = ambient;
    cred->securebits = securebits;
    *fresh = cred;
    return 0;
}
