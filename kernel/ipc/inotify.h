// SPDX-License-Identifier: MIT
// inotify objects.
#pragma once

#include "kernel/base/types.h"
#include <linux/inotify.h>

struct file;
struct inode;

// An object without watches, as a file with one reference; open_flags: O_NONBLOCK. NULL: no memory.
struct file *inotify_create(uint32_t open_flags);
bool file_is_inotify(const struct file *file);
// Watches the inode, or changes the watch that there is; mask as inotify_add_watch(2), already
// checked. The watch descriptor,
// -EEXIST (IN_MASK_CREATE), -ENOSPC (too many), -ENOMEM. May sleep.
[[nodiscard]] int inotify_watch_add(struct file *file, struct inode *inode, uint32_t mask);
// -EINVAL: there is no such watch.
[[nodiscard]] int inotify_watch_remove(struct file *file, int descriptor);
