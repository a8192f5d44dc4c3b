// SPDX-License-Identifier: MIT
// What namei.c and rename.c share.
#pragma once

#include "kernel/fs/namei.h"

// May the running task remove this entry? The directory is locked. 0, -EACCES, -EPERM, -ENOTDIR,
// -EISDIR, -EBUSY, -ENOENT.
[[nodiscard]] int namei_may_delete(
    struct inode *directory, const struct dentry *victim, bool is_directory);
