// SPDX-License-Identifier: MIT
// prctl(2).
#include "kernel/base/string.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include "perf/perf.h"
#include "mm/address_space.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>

#define TIMER_SLACK_DEFAULT_NS 50000

// ---- names -------------------------------------------------------------------------------------

static int64_t set_name(uintptr_t user)
{
    char name[THREAD_NAME_BYTES] = {};
    int64_t len = user_copy_string(name, user, sizeof(name));
    if (len == -EFAULT)
        return -EFAULT;
    name[sizeof(name) - 1] = '\0';
    if (len == -ENAMETOOLONG && user_copy_in(name, user, sizeof(name) - 1) != 0)
        return -EFAULT;
    memcpy(thread_current()->name, name, sizeof(name));
    if (unlikely(perf_side_wanted))
        (void)perf_note_comm(thread_current(), 0);
    return 0;
}

// ---- capabilities ------------------------------------------------------------------------------

static int64_t bounding_drop(uintptr_t capability)
{
    if (!capable(CAP_SETPCAP))
        return -EPERM;
    if (capability > CAP_LAST_CAP)
        return -EINVAL;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    fresh->cap_bounding &= ~(UINT64_C(1) << capability);
    credentials_commit(fresh);
    return 0;
}

static int64_t ambient(uintptr_t operation, uintptr_t capability)
{
    const struct credentials *old = credentials_current();
    if (operation == PR_CAP_AMBIENT_CLEAR_ALL) {
        if (capability != 0)
            return -EINVAL;
    } else if (capability > CAP_LAST_CAP) {
        return -EINVAL;
    }
    uint64_t bit = operation == PR_CAP_AMBIENT_CLEAR_ALL ? 0 : UINT64_C(1) << capability;
    if (operation == PR_CAP_AMBIENT_IS_SET)
        return (old->cap_ambient & bit) != 0;
    if (operation == PR_CAP_AMBIENT_RAISE &&
        ((old->cap_permitted & bit) == 0 || (old->cap_inheritable & bit) == 0 ||
            (old->securebits & (1u << SECURE_NO_CAP_AMBIENT_RAISE)) != 0))
        return -EPERM;
    if (operation != PR_CAP_AMBIENT_RAISE && operation != PR_CAP_AMBIENT_LOWER &&
        operation != PR_CAP_AMBIENT_CLEAR_ALL)
        return -EINVAL;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    if (operation == PR_CAP_AMBIENT_RAISE)
        fresh->cap_ambient |= bit;
    else if (operation == PR_CAP_AMBIENT_LOWER)
        fresh->cap_ambient &= ~bit;
    else
        fresh->cap_ambient = 0;
    credentials_commit(fresh);
    return 0;
}

static int64_t set_securebits(uint32_t bits)
{
    const struct credentials *old = credentials_current();
    uint32_t locked = (old->securebits & SECURE_ALL_LOCKS) >> 1;
    if ((locked & (old->securebits ^ bits)) != 0 ||
        (old->securebits & SECURE_ALL_LOCKS & ~bits) != 0 ||
        (bits & ~(uint32_t)(SECURE_ALL_LOCKS | SECURE_ALL_BITS)) != 0 || !capable(CAP_SETPCAP))
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    fresh->securebits = bits;
    credentials_commit(fresh);
    return 0;
}

static int64_t set_keep_capabilities(uintptr_t on)
{
    const struct credentials *old = credentials_current();
    if (on > 1)
        return -EINVAL;
    if ((old->securebits & (1u << SECURE_KEEP_CAPS_LOCKED)) != 0)
        return -EPERM;
    struct credentials *fresh = credentials_copy();
    if (fresh == NULL)
        return -ENOMEM;
    fresh->securebits &= ~(1u << SECURE_KEEP_CAPS);
    fresh->securebits |= on != 0 ? 1u << SECURE_KEEP_CAPS : 0;
    credentials_commit(fresh);
    return 0;
}

static int64_t capabilities(int option, uintptr_t a2, uintptr_t a3, uintptr_t a4, uintptr_t a5)
{
    const struct credentials *cred = credentials_current();
    switch (option) {
    case PR_CAPBSET_READ:
        return a2 > CAP_LAST_CAP ? -EINVAL : (int64_t)(cred->cap_bounding >> a2 & 1);
    case PR_CAPBSET_DROP:
        return bounding_drop(a2);
    case PR_CAP_AMBIENT:
        return a4 != 0 || a5 != 0 ? -EINVAL : ambient(a2, a3);
    case PR_GET_SECUREBITS:
        return cred->securebits;
    case PR_SET_SECUREBITS:
        return set_securebits((uint32_t)a2);
    case PR_GET_KEEPCAPS:
        return (cred->securebits & (1u << SECURE_KEEP_CAPS)) != 0;
    default:
        return set_keep_capabilities(a2);
    }
}

// ---- the rest ----------------------------------------------------------------------------------

// Whether the program's memory may be in huge pages.
static int64_t huge_pages(int option, uintptr_t a2, uintptr_t a3, uintptr_t a4, uintptr_t a5)
{
    struct address_space *space = thread_current()->space;
    if (a3 != 0 || a4 != 0 || a5 != 0 || (option == PR_GET_THP_DISABLE && a2 != 0))
        return -EINVAL;
    if (option == PR_GET_THP_DISABLE)
        return __atomic_load_n(&space->huge_disabled, __ATOMIC_RELAXED);
    __atomic_store_n(&space->huge_disabled, a2 != 0, __ATOMIC_RELAXED);
    return 0;
}

static int64_t process_options(int option, uintptr_t a2, uintptr_t a3, uintptr_t a4, uintptr_t a5)
{
    struct process *process = process_current();
    struct task *task = task_current();
    switch (option) {
    case PR_SET_CHILD_SUBREAPER:
        process->child_subreaper = a2 != 0;
        return 0;
    case PR_GET_CHILD_SUBREAPER:
        return user_put_u32(a2, process->child_subreaper);
    case PR_SET_DUMPABLE:
        if (a2 > 1)
            return -EINVAL;
        process->dumpable = a2 != 0;
        return 0;
    case PR_GET_DUMPABLE:
        return process->dumpable;
    case PR_SET_NO_NEW_PRIVS:
        if (a2 != 1 || a3 != 0 || a4 != 0 || a5 != 0)
            return -EINVAL;
        task->no_new_privileges = true;
        return 0;
    default: // PR_GET_NO_NEW_PRIVS
        if (a2 != 0 || a3 != 0 || a4 != 0 || a5 != 0)
            return -EINVAL;
        return task->no_new_privileges;
    }
}

SYSCALL5(prctl, int, option, uintptr_t, a2, uintptr_t, a3, uintptr_t, a4, uintptr_t, a5)
{
    struct task *task = task_current();
    switch (option) {
    case PR_SET_NAME:
        return set_name(a2);
    case PR_GET_NAME:
        return copy_to_user(a2, thread_current()->name, THREAD_NAME_BYTES);
    case PR_SET_PDEATHSIG:
        if (a2 > SIGNAL_COUNT)
            return -EINVAL;
        task->pdeath_signal = (uint8_t)a2;
        return 0;
    case PR_GET_PDEATHSIG:
        return user_put_u32(a2, task->pdeath_signal);
    case PR_SET_TIMERSLACK:
        task->thread.timer_slack_ns = (int64_t)a2 > 0 ? a2 : TIMER_SLACK_DEFAULT_NS;
        return 0;
    case PR_GET_TIMERSLACK:
        return (int64_t)task->thread.timer_slack_ns;
    case PR_SET_CHILD_SUBREAPER:
    case PR_GET_CHILD_SUBREAPER:
    case PR_SET_DUMPABLE:
    case PR_GET_DUMPABLE:
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
        return process_options(option, a2, a3, a4, a5);
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_CAP_AMBIENT:
    case PR_GET_SECUREBITS:
    case PR_SET_SECUREBITS:
    case PR_GET_KEEPCAPS:
    case PR_SET_KEEPCAPS:
        return capabilities(option, a2, a3, a4, a5);
    case PR_GET_TIMING:
        return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
        return a2 == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
    case PR_GET_TSC:
        return user_put_u32(a2, PR_TSC_ENABLE);
    case PR_GET_SECCOMP:
        return 0; // not filtered
    case PR_GET_THP_DISABLE:
    case PR_SET_THP_DISABLE:
        return huge_pages(option, a2, a3, a4, a5);
    default:
        return -EINVAL; // also as the answer of a kernel without that feature (PR_SET_VMA,
                        // PR_SET_MM, ...)
    }
}
