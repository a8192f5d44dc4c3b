// SPDX-License-Identifier: MIT
//
// Any bytes as a path: the components, put together again with single slashes, are the path without
// its superfluous ones.
#include "kernel/base/assert.h"
#include "kernel/base/path_walk.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

// Next byte of the path that is not a superfluous slash: one that follows a slash, or the last
// ones.
static size_t skip_superfluous(const char *path, size_t size, size_t at)
{
    while (at < size && path[at] == '/' && (at + 1 == size || path[at + 1] == '/')) {
        at++;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *path = (const char *)bytes;
    struct path_walk walk;
    struct path_component component;
    int error = path_walk_init(&walk, path, size);

    if (error != 0) {
        assert(error == (size == 0 ? -ENOENT : -ENAMETOOLONG));
        return 0;
    }
    size_t at = skip_superfluous(path, size, 0);
    while (!path_walk_at_end(&walk)) {
        error = path_walk_next(&walk, &component);
        if (error != 0) {
            assert(error == -ENAMETOOLONG);
            return 0;
        }
        if (path[at] == '/') {
            at++;
        }
        assert(component.name == path + at);
        assert(component.len >= 1);
        assert(component.len <= PATH_WALK_NAME_MAX);
        assert(component.is_last == path_walk_at_end(&walk));
        assert(memchr(component.name, '/', component.len) == nullptr);
        at = skip_superfluous(path, size, at + component.len);
    }
    assert(at == size);
    return 0;
}
