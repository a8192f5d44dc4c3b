// SPDX-License-Identifier: MIT
// Start-up of the file systems, in order.
#include "kernel/base/assert.h"
#include "kernel/core/log.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/device.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"

// Mounts a type on a directory of the root, which is made first.
static void vfs_mount_initial(const char *type, const char *name)
{
    int error = kernel_tree_directory(mount_root->root, name, 0755);
    assert(error == 0); // at boot
    struct path at = {.mount = mount_root, .dentry = dentry_lookup(mount_root->root, name, __builtin_strlen(name))};
    assert(at.dentry != NULL);
    error = mount_filesystem(type, type, &at, 0, false, "");
    dentry_put(at.dentry);
    if (error != 0)
        log_error("vfs: can't mount %s: error %d", type, -error);
}

void vfs_init(void)
{
    inode_init();
    dentry_init();
    file_init();
    tmpfs_init();
    mount_init();
    memfd_init();
    device_init();
    fs_context_initial = fs_context_create();
    assert(fs_context_initial != NULL); // at boot
    proc_init();
    sysfs_init();
    vfs_mount_initial("devtmpfs", "dev");
    vfs_mount_initial("proc", "proc");
    vfs_mount_initial("sysfs", "sys");
}
