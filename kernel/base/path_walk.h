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

#include "kernel/base/types.h"

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

// The next component (not at the end). 0, or -ENAMETOOLONG for a name longer than
// PATH_WALK_NAME_MAX.
[[nodiscard]] int path_walk_next(struct path_walk *walk, struct path_component *component);
