// SPDX-License-Identifier: MIT
// Character and block devices, and devtmpfs.
//
// Devices register themselves, before or after the file systems exist. The list is searched by
// number when a device node is opened (an xarray: major and minor make the index), wherever the
// node lies. devtmpfs is one tmpfs superblock, shared by all its mounts, in which registering a
// device makes a node.
#include "kernel/fs/device.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/base/xarray.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"
#include "mm/slab.h"
#include <linux/magic.h>

struct registered_device {
    struct character_device device;
    uint32_t opens; // calls of its open operation that are under way; atomic
};

static struct wait_queue open_wait =
    WAIT_QUEUE_INIT(open_wait, "device: open"); // unregistering waits for `opens`
static struct mutex devices_lock = MUTEX_INIT(devices_lock, "device: list");
static struct xarray
    devices; // block << 32 | major << 20 | minor: struct registered_device; devices_lock, RCU
static struct superblock *devtmpfs, *devpts; // written once at boot

static uint64_t device_index(bool block, uint32_t major, uint32_t minor)
{
    return (uint64_t)block << 32 | (uint64_t)major << 20 | minor;
}

// Where the node of a device lies: terminals ("pts/N") have a file system of their own.
static struct dentry *device_node_root(const char **name)
{
    if (!string_starts_with(*name, "pts/"))
        return devtmpfs->root;
    *name += 4;
    return devpts->root;
}

static int device_make_node(const struct character_device *device)
{
    struct device_number number = {.major = device->major, .minor = device->minor};
    const char *name = device->name;
    struct dentry *root = device_node_root(&name);
    int error = kernel_tree_node(
        root, name, (device->block ? S_IFBLK : S_IFCHR) | (device->mode & 07777), number);
    if (error == 0 && (device->uid != 0 || device->gid != 0))
        error = kernel_tree_chown(root, name, device->uid, device->gid);
    return error;
}

static void device_remove_node(const struct character_device *device)
{
    const char *name = device->name;
    struct dentry *root = device_node_root(&name);
    (void)kernel_tree_remove(root, name); // -ENOENT: a program has removed the node
}

int device_register(const struct character_device *device)
{
    struct registered_device *copy = kzalloc(sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    copy->device = *device;
    mutex_lock(&devices_lock);
    int error =
        xarray_insert(&devices, device_index(device->block, device->major, device->minor), copy);
    if (error == 0 && devtmpfs != NULL && device->name != NULL) {
        error = device_make_node(device);
        if (error != 0)
            (void)xarray_erase(&devices, device_index(device->block, device->major, device->minor));
    }
    mutex_unlock(&devices_lock);
    if (error != 0) {
        rcu_synchronize();
        kfree(copy);
    }
    return error;
}

void device_unregister(const struct character_device *device)
{
    mutex_lock(&devices_lock);
    struct registered_device *copy =
        xarray_erase(&devices, device_index(device->block, device->major, device->minor));
    if (devtmpfs != NULL && device->name != NULL)
        device_remove_node(device);
    mutex_unlock(&devices_lock);
    assert(copy != NULL);
    rcu_synchronize(); // whoever found it has counted itself in `opens`
    wait_event(&open_wait, __atomic_load_n(&copy->opens, __ATOMIC_ACQUIRE) == 0);
    kfree(copy);
}

int device_open(struct file *file)
{
    const struct device_number number = file->inode->device;
    const bool block = S_ISBLK(file->inode->mode);
    rcu_read_lock();
    struct registered_device *found =
        xarray_load(&devices, device_index(block, number.major, number.minor));
    if (found != NULL)
        __atomic_fetch_add(&found->opens, 1, __ATOMIC_ACQUIRE);
    rcu_read_unlock();
    if (found == NULL)
        return -ENXIO;
    const struct character_device *device = &found->device;
    file->ops = device->ops;
    file->private_data = device->context;
    file->mode |= device->ops->seek != NULL ? FILE_SEEKABLE : FILE_STREAM;
    int error = device->open != NULL ? device->open(file) : 0;
    if (__atomic_sub_fetch(&found->opens, 1, __ATOMIC_SEQ_CST) == 0)
        wait_wake_all(&open_wait);
    return error;
}

void device_for_each(
    void (*visit)(const struct character_device *device, void *context), void *context)
{
    uint64_t index;
    struct registered_device *entry;
    mutex_lock(&devices_lock);
    xarray_for_each(&devices, index, entry) visit(&entry->device, context);
    mutex_unlock(&devices_lock);
}

static int devtmpfs_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    superblock_get(devtmpfs);
    *result = devtmpfs;
    return 0;
}

// One instance for all mounts; options (gid, mode, ptmxmode, newinstance) don't change it.
static int devpts_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    superblock_get(devpts);
    *result = devpts;
    return 0;
}

static void device_make_links(void)
{
    static const struct {
        const char *name, *target;
    } links[] = {
        {"fd", "/proc/self/fd"},
        {"stdin", "/proc/self/fd/0"},
        {"stdout", "/proc/self/fd/1"},
        {"stderr", "/proc/self/fd/2"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        int error = kernel_tree_link(devtmpfs->root, links[i].name, links[i].target);
        assert(error == 0); // at boot
    }
}

void device_init(void)
{
    static struct filesystem_type devtmpfs_type = {
        .name = "devtmpfs", .user_mountable = true, .mount = devtmpfs_mount};
    static struct filesystem_type devpts_type = {
        .name = "devpts", .user_mountable = true, .mount = devpts_mount};
    const struct filesystem_type *tmpfs = filesystem_find("tmpfs");
    assert(tmpfs != NULL);
    filesystem_register(&devtmpfs_type);
    filesystem_register(&devpts_type);
    const struct mount_request request = {"", "mode=755,nr_inodes=0,nr_blocks=0", false};
    int error = tmpfs->mount(&devtmpfs_type, &request, &devtmpfs);
    if (error == 0)
        error = tmpfs->mount(&devpts_type, &request, &devpts);
    assert(error == 0); // at boot
    devpts->magic = DEVPTS_SUPER_MAGIC;
    mutex_lock(&devices_lock);
    uint64_t index;
    struct registered_device *entry;
    xarray_for_each(&devices, index, entry)
    {
        error = entry->device.name != NULL ? device_make_node(&entry->device) : 0;
        assert(error == 0);
    }
    mutex_unlock(&devices_lock);
    device_make_links();
    error = kernel_tree_directory(devtmpfs->root, "pts", 0755);
    if (error == 0)
        error = kernel_tree_directory(devtmpfs->root, "shm", 01777);
    if (error == 0)
        error = kernel_tree_node(
            devpts->root, "ptmx", S_IFCHR | 0666, (struct device_number){.major = 5, .minor = 2});
    assert(error == 0);
    device_register_memory();
}
