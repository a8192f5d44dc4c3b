// SPDX-License-Identifier: MIT
// Path names of programs: the long ones.
#include "kernel/syscall/user_path.h"
#include "mm/slab.h"

int user_path_get_slow(struct user_path *path, uintptr_t user)
{
    char *text = kmalloc(PATH_WALK_PATH_MAX, 0);
    if (text == NULL)
        return -ENOMEM;
    int64_t len = user_copy_string(text, user, PATH_WALK_PATH_MAX);
    if (len < 0) {
        kfree(text);
        return (int)len;
    }
    path->text = text;
    path->len = (size_t)len;
    return 0;
}

void user_path_put_slow(struct user_path *path)
{
    kfree(path->text);
}

int user_path_walk(int dirfd, uintptr_t user, uint32_t walk_flags, struct path *result)
{
    USER_PATH(path);
    int error = user_path_get(&path, user);
    if (error != 0)
        return error;
    error = walk_path(dirfd, path.text, path.len, walk_flags, result);
    user_path_put(&path);
    return error;
}
