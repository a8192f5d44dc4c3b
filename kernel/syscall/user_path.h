// SPDX-License-Identifier: MIT
// Path names of programs, copied in. Short ones (nearly all) stay on the stack.
#pragma once

#include "kernel/fs/namei.h"
#include "kernel/syscall/syscall.h"

#define USER_PATH_INLINE 208

struct user_path {
    char *text; // NUL-terminated: inline_text or its own memory
    size_t len;
    char inline_text[USER_PATH_INLINE];
};
// Not zeroed by the compiler at every call: only the bytes copied in are ever read.
#define USER_PATH(name) struct user_path name __attribute__((uninitialized))

// 0, -EFAULT, -ENAMETOOLONG (PATH_MAX), -ENOMEM. An empty path is fine here.
[[nodiscard]] int user_path_get_slow(struct user_path *path, uintptr_t user);
[[nodiscard]] static inline int user_path_get(struct user_path *path, uintptr_t user)
{
    int64_t len = user_copy_string(path->inline_text, user, USER_PATH_INLINE);
    path->text = path->inline_text;
    path->len = (size_t)len;
    if (likely(len >= 0))
        return 0;
    return len == -ENAMETOOLONG ? user_path_get_slow(path, user) : (int)len;
}
void user_path_put_slow(struct user_path *path);
static inline void user_path_put(struct user_path *path)
{
    if (unlikely(path->text != path->inline_text))
        user_path_put_slow(path);
}
static inline struct name user_path_name(const struct user_path *path, int dirfd)
{
    return (struct name){.dirfd = dirfd, .text = path->text, .len = path->len};
}
// Copies the path in and walks it. 0 with references in *result, or -errno.
[[nodiscard]] int user_path_walk(
    int dirfd, uintptr_t user, uint32_t walk_flags, struct path *result);
