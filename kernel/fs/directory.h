// SPDX-License-Identifier: MIT
// Listing directories: getdents asks a directory's iterate operation, which offers entry after
// entry to an emitter.
#pragma once

#include "kernel/base/types.h"

struct file;

struct directory_emitter {
    uint64_t position; // cookie of the next entry wanted; iterate moves it behind what was taken
    // Takes one entry; `next` is the position behind it. False: no room, stop.
    bool (*emit)(struct directory_emitter *emitter, const char *name, size_t len, uint64_t next,
        uint64_t inode, uint32_t type);
};

// Offers an entry at `cookie` and moves on; false: stop. type: DT_* as S_IFMT >> 12.
static inline bool directory_emit(struct directory_emitter *emitter, const char *name, size_t len,
    uint64_t cookie, uint64_t inode, uint32_t type)
{
    if (!emitter->emit(emitter, name, len, cookie + 1, inode, type))
        return false;
    emitter->position = cookie + 1;
    return true;
}
// "." and ".." at cookies 0 and 1. False: stop.
bool directory_emit_dots(struct file *file, struct directory_emitter *emitter);
// The file_ops.iterate of directories that consist of persistent dentries; seek for any directory.
int directory_iterate_children(struct file *file, struct directory_emitter *emitter);
int64_t directory_seek(struct file *file, int64_t offset, int whence);
