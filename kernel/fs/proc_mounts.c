// SPDX-License-Identifier: MIT
// /proc/PID/mounts, mountinfo, mountstats: the tree of mounts as the task sees it from its root.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

#define ESCAPED " \t\n\\#"

static void mounts_show_flags(struct proc_buffer *buffer, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *text;
    } names[] = {
        {MOUNT_NOSUID, ",nosuid"},
        {MOUNT_NODEV, ",nodev"},
        {MOUNT_NOEXEC, ",noexec"},
        {MOUNT_NOATIME, ",noatime"},
        {MOUNT_NODIRATIME, ",nodiratime"},
        {MOUNT_RELATIME, ",relatime"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (flags & names[i].flag)
            proc_printf(buffer, "%s", names[i].text);
}

static void mounts_show_options(
    struct proc_buffer *buffer, struct superblock *superblock, char *scratch)
{
    scratch[0] = 0;
    if (superblock->ops != NULL && superblock->ops->show_options != NULL)
        superblock->ops->show_options(superblock, scratch, PAGE_SIZE);
    proc_printf(buffer, "%s", scratch);
}

static void mounts_show_line(
    struct proc_buffer *buffer, struct mount *mount, const char *at, char *scratch)
{
    bool read_only =
        mount->flags & MOUNT_READ_ONLY || mount->superblock->flags & SUPERBLOCK_READ_ONLY;
    proc_append_escaped(buffer, mount->source, ESCAPED);
    proc_printf(buffer, " ");
    proc_append_escaped(buffer, at, ESCAPED);
    proc_printf(buffer, " %s %s", mount->superblock->type->name, read_only ? "ro" : "rw");
    mounts_show_flags(buffer, mount->flags);
    mounts_show_options(buffer, mount->superblock, scratch);
    proc_printf(buffer, " 0 0\n");
}

static void mounts_show_info_line(
    struct proc_buffer *buffer, struct mount *mount, const char *at, char *scratch)
{
    const struct superblock *superblock = mount->superblock;
    struct path root = {.mount = mount_root, .dentry = mount->root};
    proc_printf(buffer, "%u %u %u:%u ", mount->id, mount->parent->id, superblock->device.major,
        superblock->device.minor);
    // The part of the file system that is mounted: the way from its root.
    if (dentry_is_root(mount->root)) {
        proc_printf(buffer, "/");
    } else {
        proc_printf(buffer, "/");
        proc_append_escaped(buffer, root.dentry->name, ESCAPED);
    }
    proc_printf(buffer, " ");
    proc_append_escaped(buffer, at, ESCAPED);
    proc_printf(buffer, " %s", mount->flags & MOUNT_READ_ONLY ? "ro" : "rw");
    mounts_show_flags(buffer, mount->flags);
    proc_printf(buffer, " - %s ", superblock->type->name);
    proc_append_escaped(buffer, mount->source, ESCAPED);
    proc_printf(buffer, " %s", superblock->flags & SUPERBLOCK_READ_ONLY ? "ro" : "rw");
    mounts_show_options(buffer, mount->superblock, scratch);
    proc_printf(buffer, "\n");
}

static void mounts_show_stats_line(
    struct proc_buffer *buffer, struct mount *mount, const char *at, char *scratch)
{
    proc_printf(buffer, "device ");
    proc_append_escaped(buffer, mount->source, ESCAPED);
    proc_printf(buffer, " mounted on ");
    proc_append_escaped(buffer, at, ESCAPED);
    proc_printf(buffer, " with fstype %s\n", mount->superblock->type->name);
}

typedef void mounts_line(
    struct proc_buffer *buffer, struct mount *mount, const char *at, char *scratch);

static int mounts_show_all(struct proc_buffer *buffer, struct inode *inode, mounts_line *line)
{
    struct task *task = proc_inode_task(inode);
    struct path root;
    spin_lock(&task->alloc_lock);
    struct fs_context *fs = task->fs;
    if (fs != NULL)
        fs_context_get(fs);
    spin_unlock(&task->alloc_lock);
    if (fs == NULL)
        return -EINVAL;
    fs_context_path_get(fs, true, &root);
    fs_context_put(fs);
    char *memory = kmalloc(2 * PAGE_SIZE, 0);
    if (memory != NULL) {
        struct mount *mount;
        mutex_lock(&mount_lock);
        list_for_each_entry (mount, &mount_list, list_node) {
            struct path place = {.mount = mount, .dentry = mount->root};
            struct path_text info;
            const char *at = path_to_text(&place, &root, memory, PAGE_SIZE, &info);
            if (at != NULL && info.reachable)
                line(buffer, mount, at, memory + PAGE_SIZE);
        }
        mutex_unlock(&mount_lock);
        kfree(memory);
    }
    path_put(&root);
    return memory != NULL ? 0 : -ENOMEM;
}

int proc_show_mounts(struct proc_buffer *buffer, struct inode *inode)
{
    return mounts_show_all(buffer, inode, mounts_show_line);
}

int proc_show_mountinfo(struct proc_buffer *buffer, struct inode *inode)
{
    return mounts_show_all(buffer, inode, mounts_show_info_line);
}

int proc_show_mountstats(struct proc_buffer *buffer, struct inode *inode)
{
    return mounts_show_all(buffer, inode, mounts_show_stats_line);
}
