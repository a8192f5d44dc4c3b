// SPDX-License-Identifier: MIT
// User and group ids and capabilities: the set*id family, setgroups, capget, capset
// (credentials(7), capabilities(7)).
//
// Every call checks first, copies the credentials, changes the copy and publishes it as a whole.
#include "kernel/base/string.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/securebits.h>

#define ID_NONE          UINT32_MAX // -1: leave this id as it is
#define CAPABILITIES_ALL ((UINT64_C(1) << (CAP_LAST_CAP + 1)) - 1)
#define CAPABILITIES_FS                                                                            \
    (UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_MKNOD | UINT64_C(1) << CAP_DAC_OVERRIDE |       \
        UINT64_C(1) << CAP_DAC_READ_SEARCH | UINT64_C(1) << CAP_FOWNER |                           \
        UINT64_C(1) << CAP_FSETID | UINT64_C(1) << CAP_LINUX_IMMUTABLE |                           \
        UINT64_C(1) << CAP_MAC_OVERRIDE)

static bool securebit(const struct credentials *cred, unsigned bit)
{
    return (cred->securebits & (1u << bit)) != 0;
}

// What a change of user ids does to capabilities.
static void capabilities_follow_uid(struct credentials *fresh, const struct credentials *old)
{
    if (securebit(old, SECURE_NO_SETUID_FIXUP))
        return;
    bool had_root = old->uid == 0 || old->euid == 0 || old->suid == 0;
    bool has_root = fresh->uid == 0 || fresh->euid == 0 || fresh->suid == 0;
    if (had_root && !has_root) {
        if (!securebit(old, SECURE_KEEP_CAPS)) {
            fresh->cap_permitted = 0;
            fresh->cap_effective = 0;
        }
        fresh->cap_ambient = 0;
    }
    if (old->euid == 0 && fresh->euid != 0)
        fresh->cap_effective = 0;
    if (old->euid != 0 && fresh->euid == 0)
        fresh->cap_effective = fresh->cap_permitted;
}

// Publishes changed user ids: the account follows the real one.
static int commit_uids(struct credentials *fresh)
{
    const struct credentials *old = credentials_current();
    if (fresh->uid != old->uid) {
        struct user_account *user = user_account_get(fresh->uid);
        if (user == NULL) {
            credentials_put(fresh);
            return -EAGAIN;
        }
        user_account_put(fresh->user);
        fresh->user = user;
    }
    capabilities_follow_uid(fresh, old);
    credentials_commit(fresh);
    return 0;
}

// ---- reading -----------------------------------------------------------------------------------

SYSCALL0(getuid)
{
    return credentials_current()->uid;
}

SYSCALL0(geteuid)
{
    return credentials_current()->euid;
}

SYSCALL0(getgid)
{
    return credentials_current()->gid;
}

SYSCALL0(getegid)
{
    return credentials_current()->egid;
}

static int64_t put_three(
    uintptr_t a_user, uint32_t a, uintptr_t b_user, uint32_t b, uintptr_t c_user, uint32_t c)
{
    if (user_put_u32(a_user, a) != 0 || user_put_u32(b_user, b) != 0 ||
        user_put_u32(c_user, c) != 0)
        return -EFAULT;
    return 0;
}

SYSCALL3(getresuid, uintptr_t, real, uintptr_t, effective, uintptr_t, saved)
{
    const struct credentials *cred = credentials_current();
    return put_three(real, cred->uid, effective, cred->euid, saved, cred->suid);
}

SYSCALL3(getresgid, uintptr_t, real, uintptr_t, effective, uintptr_t, saved)
{
    const struct credentials *cred = credentials_current();
    return put_three(real, cred->gid, effective, cred->egid, saved, cred->sgid);
}

// ---- user ids ----------------------------------------------------------------------------------

SYSCALL1(setuid, uint32_t, uid)
{
    const struct credentials *old = credentials_current();
    if (uid == ID_NONE)
        return -EINVAL;
    bool all = capable(CAP_SETUID);
    if (!all && uid != old->uid && uid != old->suid)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (all)
        fresh->uid = fresh->suid = uid;
    fresh->euid = fresh->fsuid = uid;
    return commit_uids(fresh);
}

SYSCALL2(setreuid, uint32_t, real, uint32_t, effective)
{
    const struct credentials *old = credentials_current();
    bool all = capable(CAP_SETUID);
    if (real != ID_NONE && !all && real != old->uid && real != old->euid)
        return -EPERM;
    if (effective != ID_NONE && !all && effective != old->uid && effective != old->euid &&
        effective != old->suid)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (real != ID_NONE)
        fresh->uid = real;
    if (effective != ID_NONE)
        fresh->euid = effective;
    if (real != ID_NONE || (effective != ID_NONE && effective != old->uid))
        fresh->suid = fresh->euid;
    fresh->fsuid = fresh->euid;
    return commit_uids(fresh);
}

static bool is_one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
    return id == ID_NONE || id == a || id == b || id == c;
}

SYSCALL3(setresuid, uint32_t, real, uint32_t, effective, uint32_t, saved)
{
    const struct credentials *old = credentials_current();
    if (!capable(CAP_SETUID) && (!is_one_of(real, old->uid, old->euid, old->suid) ||
                                    !is_one_of(effective, old->uid, old->euid, old->suid) ||
                                    !is_one_of(saved, old->uid, old->euid, old->suid)))
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (real != ID_NONE)
        fresh->uid = real;
    if (effective != ID_NONE)
        fresh->euid = effective;
    if (saved != ID_NONE)
        fresh->suid = saved;
    fresh->fsuid = fresh->euid;
    return commit_uids(fresh);
}

// The old id in any case: callers find out by asking twice.
SYSCALL1(setfsuid, uint32_t, uid)
{
    const struct credentials *old = credentials_current();
    uint32_t before = old->fsuid;
    if (uid == ID_NONE ||
        (!is_one_of(uid, old->uid, old->euid, old->suid) && uid != before && !capable(CAP_SETUID)))
        return before;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return before;
    fresh->fsuid = uid;
    if (!securebit(old, SECURE_NO_SETUID_FIXUP)) {
        if (before == 0 && uid != 0)
            fresh->cap_effective &= ~CAPABILITIES_FS;
        if (before != 0 && uid == 0)
            fresh->cap_effective |= fresh->cap_permitted & CAPABILITIES_FS;
    }
    credentials_commit(fresh);
    return before;
}

// ---- group ids ---------------------------------------------------------------------------------

SYSCALL1(setgid, uint32_t, gid)
{
    const struct credentials *old = credentials_current();
    if (gid == ID_NONE)
        return -EINVAL;
    bool all = capable(CAP_SETGID);
    if (!all && gid != old->gid && gid != old->sgid)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (all)
        fresh->gid = fresh->sgid = gid;
    fresh->egid = fresh->fsgid = gid;
    credentials_commit(fresh);
    return 0;
}

SYSCALL2(setregid, uint32_t, real, uint32_t, effective)
{
    const struct credentials *old = credentials_current();
    bool all = capable(CAP_SETGID);
    if (real != ID_NONE && !all && real != old->gid && real != old->egid)
        return -EPERM;
    if (effective != ID_NONE && !all && effective != old->gid && effective != old->egid &&
        effective != old->sgid)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (real != ID_NONE)
        fresh->gid = real;
    if (effective != ID_NONE)
        fresh->egid = effective;
    if (real != ID_NONE || (effective != ID_NONE && effective != old->gid))
        fresh->sgid = fresh->egid;
    fresh->fsgid = fresh->egid;
    credentials_commit(fresh);
    return 0;
}

SYSCALL3(setresgid, uint32_t, real, uint32_t, effective, uint32_t, saved)
{
    const struct credentials *old = credentials_current();
    if (!capable(CAP_SETGID) && (!is_one_of(real, old->gid, old->egid, old->sgid) ||
                                    !is_one_of(effective, old->gid, old->egid, old->sgid) ||
                                    !is_one_of(saved, old->gid, old->egid, old->sgid)))
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (real != ID_NONE)
        fresh->gid = real;
    if (effective != ID_NONE)
        fresh->egid = effective;
    if (saved != ID_NONE)
        fresh->sgid = saved;
    fresh->fsgid = fresh->egid;
    credentials_commit(fresh);
    return 0;
}

SYSCALL1(setfsgid, uint32_t, gid)
{
    const struct credentials *old = credentials_current();
    uint32_t before = old->fsgid;
    if (gid == ID_NONE ||
        (!is_one_of(gid, old->gid, old->egid, old->sgid) && gid != before && !capable(CAP_SETGID)))
        return before;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return before;
    fresh->fsgid = gid;
    credentials_commit(fresh);
    return before;
}

SYSCALL2(getgroups, int, size, uintptr_t, list)
{
    const struct credentials *cred = credentials_current();
    if (size < 0 || (size != 0 && (uint32_t)size < cred->group_count))
        return -EINVAL;
    if (size != 0 && cred->group_count != 0 &&
        copy_to_user(list, cred->groups, cred->group_count * sizeof(uint32_t)) != 0)
        return -EFAULT;
    return cred->group_count;
}

// Heap sort: 65536 entries at most, in place, no recursion.
static void sift_down(uint32_t *ids, uint32_t root, uint32_t count)
{
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= count)
            return;
        if (child + 1 < count && ids[child + 1] > ids[child])
            child++;
        if (ids[root] >= ids[child])
            return;
        uint32_t swapped = ids[root];
        ids[root] = ids[child];
        ids[child] = swapped;
        root = child;
    }
}

static void sort_ids(uint32_t *ids, uint32_t count)
{
    for (uint32_t i = count / 2; i-- > 0;)
        sift_down(ids, i, count);
    for (uint32_t end = count; end > 1;) {
        end--;
        uint32_t swapped = ids[0];
        ids[0] = ids[end];
        ids[end] = swapped;
        sift_down(ids, 0, end);
    }
}

SYSCALL2(setgroups, int, size, uintptr_t, list)
{
    if (!capable(CAP_SETGID))
        return -EPERM;
    if (size < 0 || size > CREDENTIAL_GROUPS_MAX)
        return -EINVAL;
    uint32_t *groups = NULL;
    if (size != 0) {
        groups = kmalloc((size_t)size * sizeof(uint32_t), 0);
        if (groups == NULL)
            return -ENOMEM;
        if (copy_from_user(groups, list, (size_t)size * sizeof(uint32_t)) != 0) {
            kfree(groups);
            return -EFAULT;
        }
        sort_ids(groups, (uint32_t)size);
    }
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL) {
        kfree(groups);
        return -ENOMEM;
    }
    kfree(fresh->groups);
    fresh->groups = groups;
    fresh->group_count = (uint32_t)size;
    credentials_commit(fresh);
    return 0;
}

// ---- capabilities ------------------------------------------------------------------------------

// Words of the interface's version; -EINVAL writes the preferred version back.
static int capability_words(
    uintptr_t header_user, struct __user_cap_header_struct *header, uint32_t *words)
{
    if (copy_from_user(header, header_user, sizeof(*header)) != 0)
        return -EFAULT;
    switch (header->version) {
    case _LINUX_CAPABILITY_VERSION_1:
        *words = _LINUX_CAPABILITY_U32S_1;
        return 0;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        *words = _LINUX_CAPABILITY_U32S_3;
        return 0;
    default:
        return user_put_u32(header_user, _LINUX_CAPABILITY_VERSION_3) != 0 ? -EFAULT : -EINVAL;
    }
}

SYSCALL2(capget, uintptr_t, header_user, uintptr_t, data_user)
{
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    uint32_t words;
    int error = capability_words(header_user, &header, &words);
    if (error != 0)
        return data_user == 0 && error == -EINVAL ? 0 : error;
    if (header.pid < 0)
        return -EINVAL;
    rcu_read_lock();
    struct task *task = header.pid == 0 ? task_current() : task_lookup(header.pid);
    if (task == NULL) {
        rcu_read_unlock();
        return -ESRCH;
    }
    const struct credentials *cred = rcu_load(task->cred);
    for (uint32_t i = 0; i < ARRAY_SIZE(data); i++) {
        data[i].effective = (uint32_t)(cred->cap_effective >> 32 * i);
        data[i].permitted = (uint32_t)(cred->cap_permitted >> 32 * i);
        data[i].inheritable = (uint32_t)(cred->cap_inheritable >> 32 * i);
    }
    rcu_read_unlock();
    return data_user != 0 ? copy_to_user(data_user, data, words * sizeof(data[0])) : 0;
}

SYSCALL2(capset, uintptr_t, header_user, uintptr_t, data_user)
{
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    uint32_t words;
    int error = capability_words(header_user, &header, &words);
    if (error != 0)
        return error;
    if (header.pid != 0 && header.pid != task_current()->tid)
        return -EPERM;
    if (copy_from_user(data, data_user, words * sizeof(data[0])) != 0)
        return -EFAULT;
    uint64_t effective = (data[0].effective | (uint64_t)data[1].effective << 32) & CAPABILITIES_ALL;
    uint64_t permitted = (data[0].permitted | (uint64_t)data[1].permitted << 32) & CAPABILITIES_ALL;
    uint64_t inheritable =
        (data[0].inheritable | (uint64_t)data[1].inheritable << 32) & CAPABILITIES_ALL;
    const struct credentials *old = credentials_current();
    if (!capable(CAP_SETPCAP) && (inheritable & ~(old->cap_inheritable | old->cap_permitted)) != 0)
        return -EPERM;
    if ((inheritable & ~(old->cap_inheritable | old->cap_bounding)) != 0 ||
        (permitted & ~old->cap_permitted) != 0 || (effective & ~permitted) != 0)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    fresh->cap_effective = effective;
    fresh->cap_permitted = permitted;
    fresh->cap_inheritable = inheritable;
    fresh->cap_ambient &= permitted & inheritable;
    credentials_commit(fresh);
    return 0;
}
