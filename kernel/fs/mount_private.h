// SPDX-License-Identifier: MIT
// What mount.c and mount_change.c share.
#pragma once

#include "kernel/fs/mount.h"

static inline bool mount_is_attached(const struct mount *mount)
{
    return mount->parent != mount;
}
// mount_lock held. Attaching takes references to mount and place; detaching hands those to the
// caller: put *was_at and the mount.
void mount_attach_locked(struct mount *mount, const struct path *at);
void mount_detach_locked(struct mount *mount, struct path *was_at);
bool mount_is_mountpoint(const struct dentry *dentry); // of any mount; mount_lock held
