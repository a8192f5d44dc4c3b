// SPDX-License-Identifier: MIT
// Start-up of the file systems, in order.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/device.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/name_walk.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"

// Mounts a type on a directory.
static void vfs_mount_initial(const char *type, const char *name)
{
    struct path at;
    int error = walk_path(AT_FDCWD, name, strlen(name), WALK_FOLLOW, &at);
    if (error == 0) {
        error = mount_filesystem(type, type, &at, MOUNT_RELATIME | MOUNT_INITIAL, false, "");
        path_put(&at);
    }
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
    static const char *const directories[] = {"dev", "proc", "sys"};
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        int error = kernel_tree_directory(mount_root->root, directories[i], 0755);
        assert(error == 0); // at boot
    }
    vfs_mount_initial("devtmpfs", "/dev");
    vfs_mount_initial("devpts", "/dev/pts");
    vfs_mount_initial("proc", "/proc");
    vfs_mount_initial("sysfs", "/sys");
}
