// SPDX-License-Identifier: MIT
//
// Writing an initial file system: a cpio archive in the "newc" format, the one Linux and this
// kernel read. Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
#pragma once

#include "tools/lodger/util.h"

#include <sys/types.h>

// An archive being written. Zero-initialised is empty.
struct cpio {
    struct buffer archive;
    struct strings paths; // everything added so far, without a leading slash
    uint32_t last_inode;
};

// All paths are absolute paths in the guest. Folders above an entry are added, with mode 0755,
// where they are missing. An entry that exists already is left alone and false is returned.
bool cpio_add_folder(struct cpio *cpio, const char *path, mode_t permissions);
bool cpio_add_file(
    struct cpio *cpio, const char *path, mode_t permissions, const void *data, size_t len_bytes);
bool cpio_add_symlink(struct cpio *cpio, const char *path, const char *target);
bool cpio_add_device(struct cpio *cpio, const char *path, mode_t type_and_permissions,
    unsigned major, unsigned minor);

// Adds the host's file `source`, with the given permissions. Returns 0 or a negative errno.
[[nodiscard]] int cpio_add_host_file(
    struct cpio *cpio, const char *path, mode_t permissions, const char *source);

bool cpio_contains(const struct cpio *cpio, const char *path);

// Writes the end of the archive; nothing may be added afterwards.
void cpio_finish(struct cpio *cpio);
void cpio_free(struct cpio *cpio);
