// SPDX-License-Identifier: MIT
// Block special files: what the files of this folder share.
#pragma once

#include "kernel/block/block.h"
#include "kernel/block/file/direct_io.h"
#include "kernel/fs/file.h"
#include "mm/page_cache.h"

// What stands behind the special files of one volume. Lives from the volume's appearance until it
// has gone and the last file is closed.
struct block_file {
    struct block_volume *volume; // with a reference
    struct page_cache cache;
    struct mutex lock; // opens, writers, holder; order: device->lock before it
    uint32_t opens;
    uint32_t writers;
    const void *holder;        // who has it exclusively (O_EXCL, a mount); NULL: nobody
    uint32_t holds;            // of that holder
    bool gone;                 // the volume has been removed; under lock
    uint32_t read_ahead_pages; // written by anybody
    uint32_t block_bytes;      // BLKBSZSET
};

static inline struct block_file *block_file_of(const struct file *file)
{
    return file->private_data;
}
// -ENODEV once the device has been removed, -EIO when it has broken.
[[nodiscard]] int block_file_check(const struct block_file *file);
[[nodiscard]] int block_file_sync(struct block_file *file); // pages, then the device's cache

// direct.c; block_direct_transfer() is in direct_io.h
int64_t block_direct_submit(struct file *file, struct file_io *io);
// ioctl.c
int64_t block_file_ioctl(struct file *file, uint32_t command, uintptr_t argument);
int64_t block_file_fallocate(struct file *file, int mode, uint64_t offset, uint64_t len);
// sysfs.c
[[nodiscard]] int block_sysfs_add(struct block_file *file);
void block_sysfs_remove(struct block_file *file);
void block_proc_register(void);
// loop.c
void block_loop_register(void);
