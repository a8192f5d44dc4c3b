// SPDX-License-Identifier: MIT
// Extended attributes in memory.
#include "kernel/fs/xattr.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/xattr.h>

struct xattr {
    struct list_node node; // in *inode->xattrs; under inode->lock
    const char *name;      // behind the value
    size_t size;
    uint8_t value[];
};

static bool xattr_is_trusted(const char *name)
{
    return string_starts_with(name, XATTR_TRUSTED_PREFIX);
}

// Is there such a class on this file system, and may the task use it? 0, -EOPNOTSUPP or `refusal`.
static int xattr_check_class(const struct inode *inode, const char *name, bool write, int refusal)
{
    bool trusted = xattr_is_trusted(name);
    bool security = string_starts_with(name, XATTR_SECURITY_PREFIX);
    if (inode->superblock == NULL || !(inode->superblock->flags & SUPERBLOCK_XATTR) ||
        (!trusted && !security))
        return -EOPNOTSUPP;
    if (trusted && name[XATTR_TRUSTED_PREFIX_LEN] == 0)
        return -EINVAL;
    if ((trusted || write) && !capable(CAP_SYS_ADMIN))
        return refusal;
    return 0;
}

static struct xattr *xattr_find(const struct inode *inode, const char *name)
{
    struct xattr *xattr;
    if (inode->xattrs == NULL)
        return NULL;
    list_for_each_entry (xattr, inode->xattrs, node) {
        if (strcmp(xattr->name, name) == 0)
            return xattr;
    }
    return NULL;
}

int64_t xattr_get(struct inode *inode, const char *name, void *buffer, size_t size)
{
    int error = xattr_check_class(inode, name, false, -ENODATA);
    if (error != 0)
        return error;
    rwlock_read_lock(&inode->lock);
    const struct xattr *xattr = xattr_find(inode, name);
    int64_t result = -ENODATA;
    if (xattr != NULL) {
        result = (int64_t)xattr->size;
        if (size != 0 && size < xattr->size)
            result = -ERANGE;
        else if (size != 0)
            memcpy(buffer, xattr->value, xattr->size);
    }
    rwlock_read_unlock(&inode->lock);
    return result;
}

static struct xattr *xattr_create(const char *name, const void *value, size_t size)
{
    struct xattr *xattr = kmalloc(sizeof(*xattr) + size + strlen(name) + 1, 0);
    if (xattr == NULL)
        return NULL;
    char *text = (char *)xattr->value + size;
    memcpy(xattr->value, value, size);
    memcpy(text, name, strlen(name) + 1);
    xattr->name = text;
    xattr->size = size;
    xattr->node = (struct list_node){};
    return xattr;
}

int xattr_set(struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
    int error = xattr_check_class(inode, name, true, -EPERM);
    if (error != 0)
        return error;
    struct xattr *xattr = xattr_create(name, value, size);
    struct list_node *list = kmalloc(sizeof(*list), 0); // in case it is the first one
    if (xattr == NULL || list == NULL) {
        kfree(xattr);
        kfree(list);
        return -ENOMEM;
    }
    rwlock_write_lock(&inode->lock);
    struct xattr *old = xattr_find(inode, name);
    if (old != NULL && flags & XATTR_CREATE)
        error = -EEXIST;
    else if (old == NULL && flags & XATTR_REPLACE)
        error = -ENODATA;
    if (error == 0) {
        if (inode->xattrs == NULL) {
            list_init(list);
            inode->xattrs = list;
            list = NULL;
        }
        if (old != NULL)
            list_remove(&old->node);
        list_add_tail(inode->xattrs, &xattr->node);
        xattr = old; // to be freed
    }
    rwlock_write_unlock(&inode->lock);
    kfree(xattr);
    kfree(list);
    if (error == 0)
        inode_touch_changed(inode);
    return error;
}

int xattr_remove(struct inode *inode, const char *name)
{
    int error = xattr_check_class(inode, name, true, -EPERM);
    if (error != 0)
        return error;
    rwlock_write_lock(&inode->lock);
    struct xattr *xattr = xattr_find(inode, name);
    if (xattr != NULL)
        list_remove(&xattr->node);
    rwlock_write_unlock(&inode->lock);
    if (xattr == NULL)
        return -ENODATA;
    kfree(xattr);
    inode_touch_changed(inode);
    return 0;
}

int64_t xattr_list(struct inode *inode, char *buffer, size_t size)
{
    bool all = capable(CAP_SYS_ADMIN);
    int64_t done = 0;
    rwlock_read_lock(&inode->lock);
    struct xattr *xattr;
    if (inode->xattrs != NULL) {
        list_for_each_entry (xattr, inode->xattrs, node) {
            size_t len = strlen(xattr->name) + 1;
            if (!all && xattr_is_trusted(xattr->name))
                continue;
            if (size != 0 && (size_t)done + len > size) {
                done = -ERANGE;
                break;
            }
            if (size != 0)
                memcpy(buffer + done, xattr->name, len);
            done += (int64_t)len;
        }
    }
    rwlock_read_unlock(&inode->lock);
    return done;
}

void xattrs_destroy(struct list_node *xattrs)
{
    struct xattr *xattr, *following;
    list_for_each_entry_safe (xattr, following, xattrs, node) {
        list_remove(&xattr->node);
        kfree(xattr);
    }
    kfree(xattrs);
}
