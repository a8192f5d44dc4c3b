// SPDX-License-Identifier: MIT
// /proc: the superblock, the links self, thread-self and mounts, and kmsg.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/proc.h"
#include "kernel/process/task.h"
#include <linux/magic.h>

static bool running_is_task(void)
{
    return !(thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE));
}

static int64_t self_read_link(struct inode *inode, char *buffer, size_t size)
{
    return running_is_task() ? fmt_snprintf(buffer, size, "%d", process_current()->pid) : -ENOENT;
}

static int64_t thread_self_read_link(struct inode *inode, char *buffer, size_t size)
{
    if (!running_is_task())
        return -ENOENT;
    return fmt_snprintf(buffer, size, "%d/task/%d", process_current()->pid, task_current()->tid);
}

// Names that nobody uses any more hold on to their tasks, dead or alive.
#define UNUSED_NAMES_MAX 64

static const struct inode_ops self_inode_ops = {
    .read_link = self_read_link, .change = proc_change_refused};
static const struct inode_ops thread_self_inode_ops = {
    .read_link = thread_self_read_link, .change = proc_change_refused};

static int proc_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    superblock_get(proc_superblock);
    *result = proc_superblock;
    return 0;
}

void proc_init(void)
{
    static struct filesystem_type type = {
        .name = "proc", .user_mountable = true, .mount = proc_mount};
    struct superblock *superblock = proc_tree_create(&type, PROC_SUPER_MAGIC);
    assert(superblock != NULL); // at boot
    superblock->lru_limit = UNUSED_NAMES_MAX;
    superblock->root->inode->ops = &proc_root_inode_ops;
    superblock->root->inode->file_ops = &proc_root_ops;
    int error = proc_tree_link(superblock->root, "self", "", &self_inode_ops);
    if (error == 0)
        error = proc_tree_link(superblock->root, "thread-self", "", &thread_self_inode_ops);
    if (error == 0)
        error = proc_tree_link(superblock->root, "mounts", "self/mounts", NULL);
    assert(error == 0);
    proc_tree_publish(superblock);
    proc_system_register();
    proc_cpu_register();
    proc_fail_alloc_register();
    proc_sys_register();
    filesystem_register(&type);
}
