// SPDX-License-Identifier: MIT
// Parts of file_ops that file systems share: positions, and mappings backed by an open file.
#include "kernel/fs/map.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/page_cache.h"
#include <linux/fs.h>

int64_t file_seek_sized(struct file *file, int64_t offset, int whence, uint64_t size)
{
    int64_t base = 0;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = (int64_t)file->offset;
        break;
    case SEEK_END:
        base = (int64_t)size;
        break;
    case SEEK_DATA: // without holes: all is data, and the hole is the end
    case SEEK_HOLE:
        if (offset < 0 || (uint64_t)offset >= size)
            return -ENXIO;
        if (whence == SEEK_HOLE)
            offset = (int64_t)size;
        break;
    default:
        return -EINVAL;
    }
    int64_t target;
    if (__builtin_add_overflow(base, offset, &target))
        return -EINVAL;
    if (target < 0)
        return -EINVAL;
    file->offset = (uint64_t)target;
    return target;
}

static void file_area_open(struct vm_area *area)
{
    file_get(area->backing);
}

static void file_area_close(struct vm_area *area)
{
    file_put(area->backing);
}

static void file_area_name(struct vm_area *area, char *buffer, size_t size)
{
    char *text = file_path(area->backing, buffer, size);
    if (text == NULL)
        buffer[0] = 0;
    else
        memmove(buffer, text, strlen(text) + 1);
}

static void file_area_identity(
    struct vm_area *area, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode)
{
    vfs_identity(area->backing, dev_major, dev_minor, inode);
}

static int file_area_mkwrite(struct vm_area *area, struct page *page)
{
    struct inode *inode = ((struct file *)area->backing)->inode;
    int error = 0;
    if (inode->ops != NULL && inode->ops->page_write != NULL)
        error = inode->ops->page_write(inode, page->index);
    if (error == 0)
        inode_touch_modified(inode);
    return error;
}

static const struct vm_area_ops file_area_ops = {
    .open = file_area_open,
    .close = file_area_close,
    .name = file_area_name,
    .identity = file_area_identity,
    .page_mkwrite = file_area_mkwrite,
};

int file_map_cache(struct file *file, struct page_cache *cache, struct vm_map_request *request)
{
    if (request->flags & VM_EXEC && file->path.mount != NULL &&
        file->path.mount->flags & MOUNT_NOEXEC)
        return -EPERM;
    request->cache = cache;
    request->backing = file;
    request->ops = &file_area_ops;
    return 0;
}

struct file *file_of_area(const struct vm_area *area)
{
    return area->ops == &file_area_ops ? area->backing : NULL;
}

uint64_t process_limit_file_bytes(void)
{
    return process_limit(RLIMIT_FSIZE);
}
