// SPDX-License-Identifier: MIT
// From places to path names: getcwd, /proc, mount tables.
//
// The text is put together from its end, going up. That happens in an RCU section without
// references; a rename or a change of mounts meanwhile shows in the two sequence counters, and it
// is done again.
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/task.h"

static bool text_prepend(char *buffer, char **at, const char *text, size_t len)
{
    if ((size_t)(*at - buffer) < len)
        return false;
    *at -= len;
    memcpy(*at, text, len);
    return true;
}

// One attempt. The result is NULL when the buffer is too small.
static char *path_text_try(const struct path *path, const struct path *root, char *buffer,
    char *end, struct path_text *info)
{
    char *at = end;
    struct dentry *dentry = path->dentry;
    struct mount *mount = path->mount;
    bool any = false;
    for (;;) {
        if (root != NULL && dentry == root->dentry && mount == root->mount)
            break;
        if (dentry == mount->root || dentry_is_root(dentry)) {
            struct mount *parent = mount->parent;
            if (parent == mount) {
                info->reachable = root == NULL || mount == mount_root;
                if (root != NULL && mount != root->mount)
                    info->reachable = false;
                break;
            }
            dentry = mount->mountpoint;
            mount = parent;
            if (dentry == NULL)
                break; // taken off meanwhile: the sequence tells
            continue;
        }
        uint32_t len = dentry->name_len;
        const char *name = __atomic_load_n(&dentry->name, __ATOMIC_ACQUIRE);
        if (!text_prepend(buffer, &at, name, strnlen(name, len)) ||
            !text_prepend(buffer, &at, "/", 1))
            return NULL;
        any = true;
        dentry = dentry->parent;
    }
    if (!any && !text_prepend(buffer, &at, "/", 1))
        return NULL;
    return at;
}

char *path_to_text(const struct path *path, const struct path *root, char *buffer, size_t size,
    struct path_text *info)
{
    struct path task_root = {};
    struct path_text local;
    if (info == NULL)
        info = &local;
    if (root == NULL && !(thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE)) &&
        task_current()->fs != NULL) {
        fs_context_path_get(task_current()->fs, true, &task_root);
        root = &task_root;
    }
    char *end = buffer + size;
    char *result = NULL;
    info->deleted = dentry_is_removed(path->dentry);
    if (text_prepend(buffer, &end, "", 1) &&
        (!info->deleted || text_prepend(buffer, &end, " (deleted)", 10))) {
        uint32_t renames, mounts;
        do {
            info->reachable = true;
            rcu_read_lock();
            renames = seqcount_read_begin(&dentry_rename_sequence);
            mounts = seqcount_read_begin(&mount_sequence);
            result = path_text_try(path, root, buffer, end, info);
            rcu_read_unlock();
        } while (seqcount_read_retry(&dentry_rename_sequence, renames) ||
                 seqcount_read_retry(&mount_sequence, mounts));
    }
    if (task_root.dentry != NULL)
        path_put(&task_root);
    return result;
}

char *file_path(const struct file *file, char *buffer, size_t size)
{
    if (file->path.dentry != NULL && file->path.mount != NULL)
        return path_to_text(&file->path, NULL, buffer, size, NULL);
    int len;
    const char *name = file->anonymous_name != NULL ? file->anonymous_name : "file";
    if (file->path.dentry != NULL) // memfd: a name in no directory
        len = fmt_snprintf(buffer, size, "/%s (deleted)", file->path.dentry->name);
    else if (strcmp(name, "pipe") == 0 || strcmp(name, "socket") == 0)
        len = fmt_snprintf(buffer, size, "%s:[%lu]", name, (unsigned long)file_number(file));
    else
        len = fmt_snprintf(buffer, size, "anon_inode:[%s]", name);
    return (size_t)len < size ? buffer : NULL;
}
