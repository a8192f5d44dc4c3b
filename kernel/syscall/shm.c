// SPDX-License-Identifier: MIT
// System V shared memory: arguments are translated here, the work is done in kernel/ipc/shm.c.
#include "kernel/ipc/shm.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/syscall/syscall.h"
#include <limits.h>
#include <linux/ipc.h>

SYSCALL3(shmget, int32_t, key, size_t, size_bytes, int, flags)
{
    return shm_get(key, size_bytes, flags);
}

SYSCALL3(shmat, int, id, uintptr_t, address, int, flags)
{
    return shm_attach(id, address, flags);
}

SYSCALL1(shmdt, uintptr_t, address)
{
    return shm_detach(address);
}

static int64_t put_description(uintptr_t user, int id, bool by_index, bool any)
{
    struct shmid64_ds about;
    int64_t result = shm_describe(id, by_index, any, &about);
    if (result < 0)
        return result;
    int error = copy_to_user(user, &about, sizeof(about));
    return error != 0 ? error : result;
}

static int64_t put_limits(uintptr_t user)
{
    struct shm_info usage;
    int64_t last = shm_usage(&usage);
    struct shminfo64 limits = {
        .shmmax = SHMMAX, .shmmin = SHMMIN, .shmmni = SHMMNI, .shmseg = SHMSEG, .shmall = SHMALL};
    int error = copy_to_user(user, &limits, sizeof(limits));
    return error != 0 ? error : last;
}

static int64_t put_usage(uintptr_t user)
{
    struct shm_info usage;
    int64_t last = shm_usage(&usage);
    int error = copy_to_user(user, &usage, sizeof(usage));
    return error != 0 ? error : last;
}

static int64_t set_description(int id, uintptr_t user)
{
    struct shmid64_ds about;
    int error = copy_from_user(&about, user, sizeof(about));
    return error != 0 ? error : shm_change(id, &about);
}

SYSCALL3(shmctl, int, id, int, command, uintptr_t, buffer)
{
    if (command < 0 || id < 0)
        return -EINVAL;
    switch (command & ~IPC_64) {
    case IPC_RMID:
        return shm_remove(id);
    case IPC_SET:
        return set_description(id, buffer);
    case IPC_STAT:
        return put_description(buffer, id, false, false);
    case SHM_STAT:
        return put_description(buffer, id, true, false);
    case SHM_STAT_ANY:
        return put_description(buffer, id, true, true);
    case IPC_INFO:
        return put_limits(buffer);
    case SHM_INFO:
        return put_usage(buffer);
    case SHM_LOCK:
    case SHM_UNLOCK:
        return shm_lock(id, (command & ~IPC_64) == SHM_LOCK);
    default:
        return -EINVAL;
    }
}
