// SPDX-License-Identifier: MIT
//
// Packing a program of the host into an initial file system, with what it needs to start.
#pragma once

#include "tools/lodger/cpio.h"

// Adds the host's program `source` as `path`. An ELF program brings its interpreter and its
// libraries along, found as the host's ld.so would find them, but without running anything:
// DT_RUNPATH and DT_RPATH with $ORIGIN, /etc/ld.so.conf, the default folders. A `#!` script brings
// its interpreter. Returns NULL, or the reason why that program cannot run, as an allocated string
// for the user.
[[nodiscard]] char *program_pack(struct cpio *cpio, const char *path, const char *source);

// The same for the program at `path` of the root file system that lies in `folder`: interpreter and
// libraries come from there too, and every file keeps its path.
[[nodiscard]] char *program_pack_from(struct cpio *cpio, const char *folder, const char *path);
