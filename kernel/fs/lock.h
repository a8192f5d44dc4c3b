// SPDX-License-Identifier: MIT
// Advisory locks: flock(2), and record locks of processes (POSIX) and of open file descriptions.
#pragma once

#include "kernel/base/types.h"
#include <linux/fcntl.h>

struct fd_table;
struct file;
struct file_lock_set;

enum file_lock_kind { FILE_LOCK_FLOCK, FILE_LOCK_POSIX, FILE_LOCK_OFD };

// flock(2): operation LOCK_SH, LOCK_EX, LOCK_UN. 0, -EAGAIN (without waiting), -ERESTARTSYS,
// -ENOMEM.
[[nodiscard]] int file_lock_flock(struct file *file, int operation, bool wait);
// A record lock of [start, end] (inclusive; INT64_MAX: to the end) of type F_RDLCK, F_WRLCK,
// F_UNLCK. 0, -EAGAIN, -EDEADLK, -ERESTARTSYS, -ENOMEM.
[[nodiscard]] int file_lock_record(
    struct file *file, enum file_lock_kind kind, int type, uint64_t start, uint64_t end, bool wait);
// F_GETLK: the first lock that stands in the way, or type F_UNLCK. pid -1 for OFD locks.
void file_lock_test(struct file *file, enum file_lock_kind kind, int *type, uint64_t *start,
    uint64_t *end, int32_t *pid);
// A descriptor of `table` is closed: the process's record locks on the inode go away.
void file_locks_close(struct file *file, struct fd_table *table);
// The last reference to the file goes away: its flock and OFD locks.
void file_locks_release(struct file *file);
void file_locks_destroy(struct file_lock_set *locks); // with the inode
