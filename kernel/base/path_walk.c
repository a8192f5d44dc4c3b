// SPDX-License-Identifier: MIT
//
// Path components. Invariant between calls: `at` is the end or the first byte of a component, so
// that "is there another one?" needs no scanning, and the last component knows that it is the last.
//
// This is on the path of every open and stat: one pass over the bytes, eight at a time, and nothing
// is copied. The caller hashes the name while it is in the cache.
#include "kernel/base/path_walk.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>
#include <linux/limits.h>

static_assert(PATH_WALK_NAME_MAX == NAME_MAX);
static_assert(PATH_WALK_PATH_MAX == PATH_MAX);

// Any number of slashes is one slash (POSIX, 4.13).
static const char *skip_slashes(const char *at, const char *end)
{
    while (at < end && *at == '/') {
        at++;
    }
    return at;
}

// First slash in [at, end), or end. Eight bytes at a time: the usual name ends in the first word.
static const char *find_slash(const char *at, const char *end)
{
    const uint64_t ones = 0x0101010101010101ul;
    for (; end - at >= (ptrdiff_t)sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        word ^= ones * '/'; // slashes become zero bytes
        // High bit of every zero byte; bits above the lowest one may be wrong, but only that one
        // counts.
        uint64_t zeros = (word - ones) & ~word & (ones << 7);
        if (zeros != 0) {
            return at + bit_lowest(zeros) / 8;
        }
    }
    while (at < end && *at != '/') {
        at++;
    }
    return at;
}

// An empty path is an error for most calls (POSIX, 4.13); those that allow it look before they
// walk.
int path_walk_init(struct path_walk *walk, const char *path, size_t len)
{
    if (len == 0) {
        return -ENOENT;
    }
    if (len >= PATH_WALK_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    walk->end = path + len;
    walk->is_absolute = path[0] == '/';
    walk->at = skip_slashes(path, walk->end);
    return 0;
}

// A name that is too long is found only when the walk gets there: an earlier component that does
// not exist is the error that programs expect.
int path_walk_next(struct path_walk *walk, struct path_component *component)
{
    const char *name = walk->at;

    assert(!path_walk_at_end(walk));
    debug_assert(*name != '/');
    const char *end = find_slash(name, walk->end);
    size_t len = (size_t)(end - name);
    if (len > PATH_WALK_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    walk->at = skip_slashes(end, walk->end);
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
