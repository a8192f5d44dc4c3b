// SPDX-License-Identifier: MIT
// O_DIRECT: between a program's pages and a volume, for block special files and files of disk file
// systems.
#pragma once

#include "kernel/fs/iter.h"

struct block_file;

// Reads or writes iter->count bytes at `offset` of the volume and waits. Pages of the special
// file's own cache are kept in step. Bytes done; -EINVAL: alignment; -EFAULT, -EIO. Task context.
int64_t block_direct_transfer(
    struct block_file *file, struct io_iter *iter, uint64_t offset, bool write);
