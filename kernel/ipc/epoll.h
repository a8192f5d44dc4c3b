// SPDX-License-Identifier: MIT
// epoll objects: the kernel half of epoll(7).
#pragma once

#include "kernel/base/types.h"
#include <linux/eventpoll.h>

struct file;

// A new interest list as a file with one reference. NULL: no memory. May sleep.
struct file *epoll_create(void);
bool file_is_epoll(const struct file *file);
// Adds, changes or removes `target`, known as descriptor `fd`. Errors as epoll_ctl(2). Both files
// are referenced by the caller. May sleep.
[[nodiscard]] int epoll_control(
    struct file *epoll_file, int operation, struct file *target, int fd, struct epoll_event event);
// Up to `maximum` ready events to the user array: their number, 0 at the deadline (0: don't wait),
// -EINTR, -EFAULT.
[[nodiscard]] int64_t epoll_wait_events(
    struct file *epoll_file, uintptr_t events, int maximum, uint64_t deadline_ns);

void epoll_init(void); // once, at start-up
