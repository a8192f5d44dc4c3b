// SPDX-License-Identifier: MIT
//
// Path components. Invariant between calls: `at` is the end or the first byte of a component.
#include "kernel/base/path_walk.h"

#include "kernel/base/assert.h"

#include <linux/errno.h>
#include <linux/limits.h>

static_assert(PATH_WALK_NAME_MAX == NAME_MAX);
static_assert(PATH_WALK_PATH_MAX == PATH_MAX);

static const char *skip_slashes(const char *at, const char *end)
{
    while (at < end && *at == '/') {
        at++;
    }
    return at;
}

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

int path_walk_next(struct path_walk *walk, struct path_component *component)
{
    const char *name = walk->at;
    const char *end = name;

    assert(!path_walk_at_end(walk));
    debug_assert(*name != '/');
    while (end < walk->end && *end != '/') {
        end++;
    }
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
