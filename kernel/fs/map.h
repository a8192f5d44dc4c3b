// SPDX-License-Identifier: MIT
// Parts that file systems put their file_ops together from.
#pragma once

#include "kernel/fs/file.h"

struct page_cache;
struct vm_map_request;

// lseek(2) of a file of a known size, without SEEK_DATA and SEEK_HOLE. The position is locked where
// it has to be.
int64_t file_seek_sized(struct file *file, int64_t offset, int whence, uint64_t size);
// Completes a request to map `cache`, whose page numbers are those of the file; the area keeps the
// file open.
// -EPERM: execution from a mount that forbids it.
[[nodiscard]] int file_map_cache(
    struct file *file, struct page_cache *cache, struct vm_map_request *request);
// How many bytes a regular file may be written at `offset`: cuts from->count. 0, -EFBIG (with
// SIGXFSZ).
[[nodiscard]] int file_write_limit(struct file *file, struct io_iter *from, uint64_t offset);
struct vm_area;
// The file that an area maps, or NULL: it maps none. Its space is locked.
struct file *file_of_area(const struct vm_area *area);
uint64_t process_limit_file_bytes(void); // RLIMIT_FSIZE
// Cuts a write at `offset` to what RLIMIT_FSIZE and the file system's largest size allow. 0, or
// -EFBIG: nothing (the signal has been sent).
[[nodiscard]] int file_write_limit(struct file *file, struct io_iter *from, uint64_t offset);
