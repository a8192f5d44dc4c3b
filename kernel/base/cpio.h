// SPDX-License-Identifier: MIT
//
// Reader of cpio archives in the "newc" format (magic 070701, and 070702 with a checksum), as in
// Linux' Documentation/driver-api/early-userspace/buffer-format.rst: archives may follow each other
// with zero bytes between and behind them. Nothing is copied: names and data point into the
// archive. The bytes may be hostile; a path that leaves the root ("..", absolute) is the caller's
// to judge.
//
// Hard links: entries of one archive with the same ino and device and nlink > 1 are one file; newc
// stores the data with the last (or each) of them. Inode numbers start anew in each archive
// (cpio_entry.archive).
#pragma once

#include "kernel/base/types.h"

#define CPIO_NAME_MAX 4096 // including the terminating 0

struct cpio_entry {
    const char *name; // terminated; at least one character
    size_t name_len;  // strlen(name)
    uint32_t ino;
    uint32_t mode; // file type and permissions as in struct stat
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint32_t mtime; // seconds since 1970
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    const uint8_t *data; // contents of a regular file, target of a symbolic link (not terminated)
    size_t size;
    uint32_t archive; // which of the concatenated archives, from 0
};

struct cpio_reader {
    const uint8_t *bytes;
    size_t size;
    size_t offset;        // of the next header; after an error: of the header that is wrong
    size_t archive_start; // padding is relative to the beginning of each archive
    uint32_t archive;
    bool in_archive;    // between a first header and its trailer
    const char *reason; // after an error: what is wrong, a constant string
};

void cpio_reader_init(struct cpio_reader *reader, const void *bytes, size_t size);

// Next entry; trailers and padding are skipped. 0; -ENOENT at the end; -EINVAL: no cpio header or a
// bad field; -ENODATA: the archive is cut off (in the middle of an entry, or without a trailer).
// After an error the reader stays there.
[[nodiscard]] int cpio_next(struct cpio_reader *reader, struct cpio_entry *entry);
