// SPDX-License-Identifier: MIT
// process_vm_readv and process_vm_writev: copies between two processes.
//
// The data passes through a small buffer: reading the other side can fault, and so can writing the
// own one, and neither may happen while something of the other's is held.
#include "kernel/fs/iter.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/process_vm.h"
#include "kernel/syscall/syscall.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/uio.h>

#define BOUNCE_BYTES PAGE_SIZE

bool process_vm_allowed(struct task *task)
{
    if (task->process == process_current() || capable(CAP_SYS_PTRACE))
        return true;
    const struct credentials *own = credentials_current();
    rcu_read_lock();
    const struct credentials *other = rcu_load(task->cred);
    bool same = own->uid == other->uid && own->uid == other->euid && own->uid == other->suid &&
                own->gid == other->gid && own->gid == other->egid && own->gid == other->sgid;
    rcu_read_unlock();
    return same;
}

// One remote piece. Returns bytes moved; less than len_bytes: a fault on one of the sides, or the
// local side is full.
static size_t transfer(struct address_space *space, struct io_iter *local, uintptr_t remote,
    size_t len_bytes, char *bounce, bool write)
{
    size_t done = 0;
    while (done < len_bytes && local->count != 0) {
        size_t chunk = MIN(MIN(len_bytes - done, BOUNCE_BYTES), local->count);
        size_t moved;
        if (write) {
            moved = iter_copy_from(local, bounce, chunk);
            moved = vm_write_remote(space, remote + done, bounce, moved);
        } else {
            moved = vm_read_remote(space, remote + done, bounce, chunk);
            moved = iter_copy_to(local, bounce, moved);
        }
        done += moved;
        if (moved < chunk)
            break;
    }
    return done;
}

static int64_t transfer_all(struct address_space *space, struct io_iter *local,
    uintptr_t remote_vector, size_t remote_count, bool write)
{
    char *bounce = kmalloc(BOUNCE_BYTES, 0);
    if (bounce == NULL)
        return -ENOMEM;
    int64_t total = 0;
    for (size_t i = 0; i < remote_count && local->count != 0; i++) {
        struct iovec piece;
        if (copy_from_user(&piece, remote_vector + i * sizeof(piece), sizeof(piece)) != 0) {
            total = total != 0 ? total : -EFAULT;
            break;
        }
        size_t wanted = MIN(piece.iov_len, local->count);
        size_t moved = transfer(space, local, (uintptr_t)piece.iov_base, wanted, bounce, write);
        total += (int64_t)moved;
        if (moved < wanted) {
            total = total != 0 ? total : -EFAULT;
            break;
        }
    }
    kfree(bounce);
    return total;
}

static int64_t process_vm(int32_t pid, uintptr_t local_vector, size_t local_count,
    uintptr_t remote_vector, size_t remote_count, uint64_t flags, bool write)
{
    if (flags != 0 || local_count > UIO_MAXIOV || remote_count > UIO_MAXIOV)
        return -EINVAL;
    struct iovec segments[ITER_INLINE_SEGMENTS];
    struct io_iter local;
    int error = iter_init_user_vector(&local, local_vector, local_count, segments);
    if (error != 0)
        return error;
    int64_t result = -ESRCH;
    struct task *task = task_find_get(pid);
    if (task != NULL) {
        struct address_space *space = task_space_get(task);
        if (space != NULL) {
            result = process_vm_allowed(task)
                         ? transfer_all(space, &local, remote_vector, remote_count, write)
                         : -EPERM;
            address_space_put(space);
        }
        task_put(task);
    }
    iter_release(&local, segments);
    return result;
}

SYSCALL6(process_vm_readv, int32_t, pid, uintptr_t, local_vector, size_t, local_count, uintptr_t,
    remote_vector, size_t, remote_count, uint64_t, flags)
{
    return process_vm(pid, local_vector, local_count, remote_vector, remote_count, flags, false);
}

SYSCALL6(process_vm_writev, int32_t, pid, uintptr_t, local_vector, size_t, local_count, uintptr_t,
    remote_vector, size_t, remote_count, uint64_t, flags)
{
    return process_vm(pid, local_vector, local_count, remote_vector, remote_count, flags, true);
}
