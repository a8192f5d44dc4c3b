// SPDX-License-Identifier: MIT
// Block special files, and what mounts need of them.
#pragma once

#include "kernel/block/block.h"

struct block_file;
struct page_cache;

// Before the first device is registered.
void block_file_init(void);
// The block special file that a path names, opened for a holder who does not share it with others
// (a file system; the same holder may come again). -ENOTBLK, -ENODEV, -EBUSY, -EROFS, and the
// errors of a path walk. Given back by block_file_close_exclusive().
[[nodiscard]] int block_file_open_exclusive(
    const char *path, bool write, const void *holder, struct block_file **result);
void block_file_close_exclusive(struct block_file *file, bool write, const void *holder);
struct block_volume *block_file_volume(struct block_file *file);
// The cache of the special file: for file systems' metadata, so that programs which read the device
// see the same.
struct page_cache *block_file_cache(struct block_file *file);
