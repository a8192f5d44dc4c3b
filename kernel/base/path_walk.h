// SPDX-License-Identifier: MIT
//
// The components of a path, one after the other. Slashes are skipped; "." and ".." are recognised
// but not resolved: only who knows the mounts and links can. Reads nothing outside [path, path +
// len).
//
//     error = path_walk_init(&walk, path, len);
//     while (!path_walk_at_end(&walk)) {
//         error = path_walk_next(&walk, &component);
//         ...
//     }
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/base/types.h"

#include <linux/errno.h>

#define PATH_WALK_NAME_MAX 255  // NAME_MAX of <linux/limits.h>
#define PATH_WALK_PATH_MAX 4096 // PATH_MAX, including the terminating 0

enum path_component_kind {
    PATH_COMPONENT_NAME,
    PATH_COMPONENT_DOT,
    PATH_COMPONENT_DOT_DOT,
};

struct path_component {
    const char *name; // not terminated
    size_t len;       // 1 .. PATH_WALK_NAME_MAX
    enum path_component_kind kind;
    bool is_last;           // no component follows
    bool must_be_directory; // a slash follows ("a/" as well as "a/b")
};

struct path_walk {
    const char *start;
    const char *at; // first byte of the next component, or end
    const char *end;
    bool is_absolute;
};

// 0; -ENOENT: the path is empty; -ENAMETOOLONG: len >= PATH_WALK_PATH_MAX. "/" has no components.
[[nodiscard]] int path_walk_init(struct path_walk *walk, const char *path, size_t len);

static inline bool path_walk_at_end(const struct path_walk *walk)
{
    return walk->at == walk->end;
}

// Any number of slashes is one slash (POSIX, 4.13). `at` is `end` or a slash or the beginning of a
// name.
static inline const char *path_walk_skip_slashes(const char *at, const char *end)
{
    while (at < end && *at == '/') {
        at++;
    }
    return at;
}

// Offset of the first slash among the eight bytes of the word, 8 for none.
static inline unsigned path_walk_slash_in(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101ul;
    word ^= ones * '/'; // slashes become zero bytes
    // High bit of every zero byte; bits above the lowest one may be wrong, but only that one
    // counts.
    uint64_t zeros = (word - ones) & ~word & (ones << 7);
    return zeros != 0 ? bit_lowest(zeros) / 8 : 8;
}

// First slash in [at, end), or end; the path begins at `start`. Eight bytes at a time: the usual
// name ends in the first word. The last bytes of a path are looked at in the word that ends with
// it.
static inline const char *path_walk_find_slash(const char *start, const char *at, const char *end)
{
    for (; end - at >= (ptrdiff_t)sizeof(uint64_t); at += sizeof(uint64_t)) {
        unsigned offset = path_walk_slash_in(load_unaligned_u64(at));
        if (offset != 8) {
            return at + offset;
        }
    }
    size_t left = (size_t)(end - at);
    if (left != 0 && end - start >= (ptrdiff_t)sizeof(uint64_t)) {
        unsigned offset = path_walk_slash_in(load_unaligned_u64(end - 8) >> (8 - left) * 8);
        return offset < left ? at + offset : end;
    }
    while (at < end && *at != '/') {
        at++;
    }
    return at;
}

// The next component (not at the end). 0, or -ENAMETOOLONG for a name longer than
// PATH_WALK_NAME_MAX.
//
// A name that is too long is found only when the walk gets there: an earlier component that does
// not exist is the error that programs expect.
[[nodiscard]] static __always_inline int path_walk_next(
    struct path_walk *walk, struct path_component *component)
{
    const char *name = walk->at;

    debug_assert(!path_walk_at_end(walk));
    debug_assert(*name != '/');
    const char *end = path_walk_find_slash(walk->start, name, walk->end);
    size_t len = (size_t)(end - name);
    if (len > PATH_WALK_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    walk->at = path_walk_skip_slashes(end, walk->end);
    *component = (struct path_component){
        .name = name,
        .len = len,
        .kind = PATH_COMPONENT_NAME,
        .is_last = walk->at == walk->end,
        .must_be_directory = end != walk->end,
    };
    if (len == 1 && name[0] == '.') {
        component->kind = PATH_COMPONENT_DOT;
    } else if (len == 2 && name[0] == '.' && name[1] == '.') {
        component->kind = PATH_COMPONENT_DOT_DOT;
    }
    return 0;
}
