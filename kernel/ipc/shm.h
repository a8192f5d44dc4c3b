// SPDX-License-Identifier: MIT
// System V shared memory (shmget(2), shmat(2), shmdt(2), shmctl(2)). Task context; may sleep.
#pragma once

#include "kernel/base/types.h"
#include <asm/shmbuf.h>
#include <linux/shm.h>

// Id of the segment with this key, made if `flags` say so (IPC_CREAT, IPC_EXCL, mode bits).
// -EINVAL, -ENOENT, -EEXIST, -EACCES, -ENOSPC, -ENOMEM (huge pages, which there are none of, too).
int64_t shm_get(int32_t key, size_t size_bytes, int flags);

// Maps the segment into the running program. Its address, or -EINVAL, -EIDRM, -EACCES, -ENOMEM.
int64_t shm_attach(int id, uintptr_t address, int flags);

// Takes away what shm_attach() mapped at `address`. -EINVAL.
[[nodiscard]] int shm_detach(uintptr_t address);

// Describes a segment: by id, or with `by_index` by its place in the table (SHM_STAT), which needs
// no right to read it with `any`. Its id, or -EINVAL, -EIDRM, -EACCES.
int64_t shm_describe(int id, bool by_index, bool any, struct shmid64_ds *about);

// Owner, group and mode from `about` (IPC_SET). -EINVAL, -EIDRM, -EPERM.
[[nodiscard]] int shm_change(int id, const struct shmid64_ds *about);

// The segment goes away when nobody has it attached; until then it keeps its id but has no key.
// -EINVAL, -EIDRM, -EPERM.
[[nodiscard]] int shm_remove(int id);

// SHM_LOCK and SHM_UNLOCK. There is no swap, so that only rights are checked and the mode shows it.
[[nodiscard]] int shm_lock(int id, bool lock);

// Greatest index in use (0 if there is none), as IPC_INFO and SHM_INFO return it.
int64_t shm_usage(struct shm_info *usage);
