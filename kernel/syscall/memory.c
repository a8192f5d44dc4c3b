// SPDX-License-Identifier: MIT
// Memory: mmap and its relatives, mlock, membarrier. Arguments are translated here, the work is
// done in mm/.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/mutex.h"
#include "kernel/fs/file.h"
#include "kernel/process/credentials.h"
#include "kernel/process/profile.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include "mm/address_space.h"
#include <linux/capability.h>
#include <linux/mman.h>
#include <linux/resource.h>

static struct address_space *own_space(void)
{
    return thread_current()->space;
}

// The space keeps copies of the limits that its operations need: setrlimit may have changed them.
static struct address_space *own_space_with_limits(void)
{
    struct address_space *space = own_space();
    space->limit_as_bytes = process_limit(RLIMIT_AS);
    space->limit_data_bytes = process_limit(RLIMIT_DATA);
    space->limit_stack_bytes = process_limit(RLIMIT_STACK);
    space->limit_memlock_bytes = capable(CAP_IPC_LOCK) ? UINT64_MAX : process_limit(RLIMIT_MEMLOCK);
    return space;
}

static uint32_t access_of(int prot)
{
    uint32_t access = 0;
    if (prot & PROT_READ)
        access |= VM_READ;
    if (prot & PROT_WRITE)
        access |= VM_WRITE;
    if (prot & PROT_EXEC)
        access |= VM_EXEC;
    return access;
}

// ---- mmap ----

#define MAP_KNOWN                                                                                  \
    (MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_DENYWRITE | MAP_EXECUTABLE |       \
        MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB |       \
        MAP_SYNC | MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_UNINITIALIZED)

// MAP_HUGETLB: there is a pool of 2 MiB pages, for private memory. 0 or -errno.
static int check_pool_flags(int type, int flags)
{
    const uint32_t size = (uint32_t)flags & (uint32_t)MAP_HUGE_MASK << MAP_HUGE_SHIFT;
    if (size == (uint32_t)MAP_HUGE_1GB && arch_cpu_has(ARCH_1G_PAGES))
        return -ENOMEM; // that pool is empty
    if (size != 0 && size != (uint32_t)MAP_HUGE_2MB)
        return -EINVAL;
    if (!(flags & MAP_ANONYMOUS))
        return -EINVAL; // no file of ours is made of such pages
    return type == MAP_PRIVATE ? 0 : -ENOMEM;
}

// Flags of the new area from those of mmap. 0 or -errno.
static int map_flags(struct vm_map_request *request, int prot, int flags)
{
    int type = flags & MAP_TYPE;
    if (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE)
        return -EINVAL;
    if (type == MAP_SHARED_VALIDATE &&
        ((flags & MAP_ANONYMOUS) || (flags & ~MAP_KNOWN) || (flags & MAP_SYNC)))
        return (flags & MAP_ANONYMOUS) ? -EINVAL : -EOPNOTSUPP;
    request->flags = access_of(prot);
    if (flags & MAP_HUGETLB) {
        int error = check_pool_flags(type, flags);
        if (error != 0)
            return error;
        request->flags |= VM_POOL;
    }
    if (type == MAP_PRIVATE)
        request->flags |= VM_MAYWRITE;
    else
        request->flags |= VM_SHARED;
    if (flags & MAP_GROWSDOWN)
        request->flags |= VM_GROWSDOWN;
    if (flags & MAP_LOCKED)
        request->flags |= VM_LOCKED;
    if (flags & MAP_NORESERVE)
        request->flags |= VM_NORESERVE;
    if (flags & MAP_STACK)
        request->flags |= VM_NOHUGE; // a thread's stack: a few pages of 8 MiB are used
    request->fixed_noreplace = (flags & MAP_FIXED_NOREPLACE) != 0;
    request->fixed = (flags & MAP_FIXED) && !request->fixed_noreplace;
    request->low_2g = (flags & MAP_32BIT) != 0;
    request->populate = (flags & MAP_POPULATE) && !(flags & MAP_NONBLOCK);
    return 0;
}

static int64_t map_file(
    struct vm_map_request *request, struct file *file, uint64_t offset, int prot, int flags)
{
    int error = map_flags(request, prot, flags);
    if (error != 0)
        return error;
    if (!(file->mode & FILE_READ))
        return -EACCES;
    if (request->flags & VM_SHARED) {
        if ((request->flags & VM_WRITE) && !(file->mode & FILE_WRITE))
            return -EACCES;
        if (file->mode & FILE_WRITE)
            request->flags |= VM_MAYWRITE;
    }
    if (request->flags & VM_GROWSDOWN)
        return -EINVAL;
    if (file->ops->map == NULL)
        return -ENODEV;
    if (range_exceeds(offset, request->len_bytes, INT64_MAX))
        return -EOVERFLOW;
    request->cache_index = offset >> PAGE_SHIFT;
    error = file->ops->map(file, request);
    if (error != 0)
        return error;
    int64_t address = vm_map(own_space_with_limits(), request);
    if (address > 0 && (prot & PROT_EXEC))
        profile_map((uintptr_t)address, request->len_bytes);
    return address;
}

SYSCALL6(
    mmap, uintptr_t, address, size_t, len_bytes, int, prot, int, flags, int, fd, uint64_t, offset)
{
    if (!IS_ALIGNED(offset, PAGE_SIZE))
        return -EINVAL;
    struct vm_map_request request = {.address = address,
        .len_bytes = len_bytes,
        .low_allowed = address < VM_MIN && capable(CAP_SYS_RAWIO)};
    if (flags & MAP_ANONYMOUS) {
        if (len_bytes == 0)
            return -EINVAL;
        int error = map_flags(&request, prot, flags);
        if (error != 0)
            return error;
        request.flags |= VM_MAYWRITE;
        return vm_map(own_space_with_limits(), &request);
    }
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = len_bytes == 0 ? -EINVAL : map_file(&request, file, offset, prot, flags);
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL2(munmap, uintptr_t, address, size_t, len_bytes)
{
    return vm_unmap(own_space(), address, len_bytes);
}

// PROT_GROWSDOWN: the range starts where the stack that holds it starts.
static int extend_to_stack_start(struct address_space *space, uintptr_t *address, size_t *len_bytes)
{
    int error = -EINVAL;
    rwlock_read_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, *address);
    if (area != NULL && area->start <= *address && (area->flags & VM_GROWSDOWN)) {
        *len_bytes += *address - area->start;
        *address = area->start;
        error = 0;
    }
    rwlock_read_unlock(&space->lock);
    return error;
}

SYSCALL3(mprotect, uintptr_t, address, size_t, len_bytes, int, prot)
{
    const int growth = PROT_GROWSDOWN | PROT_GROWSUP;
    if ((prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | growth)) ||
        (prot & growth) == growth)
        return -EINVAL;
    struct address_space *space = own_space();
    if ((prot & PROT_GROWSUP) && len_bytes != 0)
        return -EINVAL; // no area grows upwards
    if ((prot & PROT_GROWSDOWN) && len_bytes != 0) {
        int error = extend_to_stack_start(space, &address, &len_bytes);
        if (error != 0)
            return error;
    }
    int error = vm_protect(space, address, len_bytes, access_of(prot));
    if (error == 0 && (prot & PROT_EXEC))
        profile_map(address, len_bytes);
    return error;
}

SYSCALL5(
    mremap, uintptr_t, old, size_t, old_len, size_t, new_len, int, flags, uintptr_t, new_address)
{
    return vm_remap(own_space_with_limits(), old, old_len, new_len, flags, new_address);
}

SYSCALL3(madvise, uintptr_t, address, size_t, len_bytes, int, advice)
{
    return vm_advise(own_space(), address, len_bytes, advice);
}

SYSCALL1(brk, uintptr_t, new_end)
{
    return (int64_t)vm_brk(own_space_with_limits(), new_end);
}

SYSCALL3(msync, uintptr_t, address, size_t, len_bytes, int, flags)
{
    return vm_sync(own_space(), address, len_bytes, flags);
}

SYSCALL3(mincore, uintptr_t, address, size_t, len_bytes, uintptr_t, vector)
{
    return vm_incore(own_space(), address, len_bytes, vector);
}

// ---- mlock ----

static bool may_lock(void)
{
    return process_limit(RLIMIT_MEMLOCK) != 0 || capable(CAP_IPC_LOCK);
}

SYSCALL2(mlock, uintptr_t, address, size_t, len_bytes)
{
    return may_lock() ? vm_lock(own_space_with_limits(), address, len_bytes, true, false) : -EPERM;
}

SYSCALL3(mlock2, uintptr_t, address, size_t, len_bytes, int, flags)
{
    if (flags & ~MLOCK_ONFAULT)
        return -EINVAL;
    if (!may_lock())
        return -EPERM;
    return vm_lock(own_space_with_limits(), address, len_bytes, true, (flags & MLOCK_ONFAULT) != 0);
}

SYSCALL2(munlock, uintptr_t, address, size_t, len_bytes)
{
    return vm_lock(own_space_with_limits(), address, len_bytes, false, false);
}

SYSCALL1(mlockall, int, flags)
{
    if (flags == 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
        return -EINVAL;
    if (!may_lock())
        return -EPERM;
    return vm_lock_all(own_space_with_limits(), flags);
}

SYSCALL0(munlockall)
{
    return vm_lock_all(own_space_with_limits(), 0);
}
