// SPDX-License-Identifier: MIT
// Reading and writing files whose content lies on a device, through a page cache that has
// read_pages and write_pages: block special files, files of disk file systems.
#pragma once

#include "kernel/fs/file.h"

struct page_cache;

// Bytes from *offset, which advances, to at most `size`; reads ahead by file->read_ahead, windows
// of at most `read_ahead_pages`. flags: RWF_NOWAIT: -EAGAIN instead of waiting for the device.
int64_t cached_file_read(struct file *file, struct page_cache *cache, struct io_iter *to,
    uint64_t *offset, uint64_t size, size_t read_ahead_pages);
// Bytes copied into the cache at *offset, which advances. The caller has made sure that the pages
// have a place on the device, holds whatever lock keeps other writers away, and changes the size.
// `valid_end`: what lies behind is zero without being read (a file that grows).
int64_t cached_file_write(
    struct page_cache *cache, struct io_iter *from, uint64_t *offset, uint64_t valid_end);
