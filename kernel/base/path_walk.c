// SPDX-License-Identifier: MIT
//
// Path components. Invariant between calls: `at` is the end or the first byte of a component, so
// that "is there another one?" needs no scanning, and the last component knows that it is the last.
//
// The step itself is inline in the header: it is on the path of every open and stat. One pass over
// the bytes, eight at a time, and nothing is copied. The caller hashes the name while it is in the
// cache.
#include "kernel/base/path_walk.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>
#include <linux/limits.h>

static_assert(PATH_WALK_NAME_MAX == NAME_MAX);
static_assert(PATH_WALK_PATH_MAX == PATH_MAX);

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
    walk->start = path;
    walk->end = path + len;
    walk->is_absolute = path[0] == '/';
    walk->at = path_walk_skip_slashes(path, walk->end);
    return 0;
}
