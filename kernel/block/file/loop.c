// SPDX-License-Identifier: MIT
// Loop devices: a file as a block device.
//
// A device that is bound to a file has a thread that does its requests one after the other with the
// file's own read and write; a request's memory is handed to them as it is, so that between the
// request and the file there is one copy, the one that the file's cache needs.
//
// Locks: `control` is held while devices are made, bound and released; `lock` of a device protects
// its list of requests and is taken with interrupts off, within the queue's lock.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/block/file/internal.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/register.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/major.h>

#define LOOP_DEVICES_MAX   256
#define LOOP_QUEUE_DEPTH   128
#define LOOP_CONTROL_MINOR 237
#define LOOP_FLAGS_KNOWN   (LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO)

struct loop {
    struct block_device *device;
    uint32_t number;
    uint32_t opens;            // under `control`
    struct file *file;         // NULL: not bound; written under `control` with the thread stopped
    struct loop_info64 info;   // under `control`
    bool read_only;            // the file is not open for writing
    struct spinlock lock;      // the following
    struct list_node requests; // to be done
    struct list_node done;     // finished by the thread, not yet taken by poll
    bool bound, stop;
    struct wait_queue wait; // the thread
    struct completion stopped;
};

static struct mutex control = MUTEX_INIT(control, "loop: control");
static struct loop *loops[LOOP_DEVICES_MAX]; // under `control`

// ---- the device ----

static uint32_t loop_queue(
    struct block_queue *queue, struct block_request **requests, uint32_t count)
{
    struct loop *loop = queue->device->driver_data;
    spin_lock(&loop->lock);
    const bool bound = loop->bound;
    for (uint32_t i = 0; i < count && bound; i++)
        list_add_tail(&loop->requests, &requests[i]->node);
    spin_unlock(&loop->lock);
    for (uint32_t i = 0; i < count && !bound; i++)
        block_request_complete(requests[i], -EIO);
    return count;
}

static void loop_commit(struct block_queue *queue)
{
    struct loop *loop = queue->device->driver_data;
    wait_wake_all(&loop->wait);
}

static uint32_t loop_poll(struct block_queue *queue)
{
    struct loop *loop = queue->device->driver_data;
    struct list_node done;
    uint32_t count = 0;
    list_init(&done);
    spin_lock(&loop->lock);
    list_splice_tail(&done, &loop->done);
    spin_unlock(&loop->lock);
    for (;;) {
        struct block_request *request =
            list_pop_head_entry_or_null(&done, struct block_request, node);
        if (request == NULL)
            return count;
        block_request_complete(request, request->error);
        count++;
    }
}

// ---- the thread ----

static int transfer_segments(struct loop *loop, struct block_request *request)
{
    struct block_cursor cursor = block_cursor_begin(request);
    const struct block_segment *segment;
    uint64_t offset = loop->info.lo_offset + (request->sector << BLOCK_SECTOR_SHIFT);
    while ((segment = block_cursor_next(&cursor)) != NULL) {
        char *memory = phys_to_virt(segment->phys);
        int64_t done = request->operation == BLOCK_WRITE
                           ? file_write_kernel(loop->file, memory, segment->len_bytes, offset)
                           : file_read_kernel(loop->file, memory, segment->len_bytes, offset);
        if (done < 0)
            return (int)done;
        if (done != segment->len_bytes && request->operation == BLOCK_WRITE)
            return -EIO;
        memset(memory + done, 0, segment->len_bytes - (size_t)done); // the file has become shorter
        offset += segment->len_bytes;
    }
    return 0;
}

static int do_request(struct loop *loop, struct block_request *request)
{
    const struct file_ops *ops = loop->file->ops;
    const uint64_t offset = loop->info.lo_offset + (request->sector << BLOCK_SECTOR_SHIFT);
    const uint64_t len = (uint64_t)request->total_sectors << BLOCK_SECTOR_SHIFT;
    switch (request->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return transfer_segments(loop, request);
    case BLOCK_FLUSH:
        return ops->sync != NULL ? ops->sync(loop->file, false) : 0;
    default:
        if (ops->fallocate == NULL)
            return -EOPNOTSUPP;
        return (int)ops->fallocate(loop->file,
            FALLOC_FL_KEEP_SIZE |
                (request->operation == BLOCK_DISCARD ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
            offset, len);
    }
}

static struct block_request *take_request(struct loop *loop, bool *stop)
{
    uint64_t flags = spin_lock_irqsave(&loop->lock);
    struct block_request *request =
        list_pop_head_entry_or_null(&loop->requests, struct block_request, node);
    *stop = loop->stop;
    spin_unlock_irqrestore(&loop->lock, flags);
    return request;
}

static void loop_thread(void *argument)
{
    struct loop *loop = argument;
    bool stop = false;
    for (;;) {
        struct block_request *request = NULL;
        wait_event(&loop->wait, (request = take_request(loop, &stop)) != NULL || stop);
        if (request == NULL)
            break;
        request->error = do_request(loop, request);
        uint64_t flags = spin_lock_irqsave(&loop->lock);
        list_add_tail(&loop->done, &request->node);
        spin_unlock_irqrestore(&loop->lock, flags);
        block_queue_interrupt(&loop->device->queues[0]);
    }
    completion_complete(&loop->stopped);
}

// ---- binding; `control` held ----

static uint64_t backing_bytes(const struct loop *loop)
{
    struct file *file = loop->file;
    struct inode *inode = file->inode;
    uint64_t size = inode_size(inode);
    if (S_ISBLK(inode->mode)) {
        struct block_volume *volume =
            block_volume_get_by_number(inode->device.major, inode->device.minor);
        size = volume != NULL ? block_volume_bytes(volume) : 0;
        if (volume != NULL)
            block_volume_put(volume);
    }
    size = size > loop->info.lo_offset ? size - loop->info.lo_offset : 0;
    if (loop->info.lo_sizelimit != 0)
        size = MIN(size, loop->info.lo_sizelimit);
    return size;
}

static void set_size(struct loop *loop)
{
    block_device_resize(loop->device, backing_bytes(loop) >> BLOCK_SECTOR_SHIFT);
}

static int set_info(struct loop *loop, const struct loop_info64 *info)
{
    if (info->lo_encrypt_type != 0 || (int64_t)info->lo_offset < 0 ||
        info->lo_offset % BLOCK_SECTOR_BYTES != 0)
        return -EINVAL;
    loop->info.lo_offset = info->lo_offset;
    loop->info.lo_sizelimit = info->lo_sizelimit;
    loop->info.lo_flags = info->lo_flags & LOOP_FLAGS_KNOWN;
    memcpy(loop->info.lo_file_name, info->lo_file_name, LO_NAME_SIZE);
    loop->info.lo_file_name[LO_NAME_SIZE - 1] = 0;
    return 0;
}

static int bind(struct loop *loop, int fd, const struct loop_info64 *info)
{
    bool borrowed;
    if (loop->file != NULL)
        return -EBUSY;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    if (borrowed)
        file_get(file);
    const struct inode *inode = file->inode;
    int error = inode != NULL && (S_ISREG(inode->mode) || S_ISBLK(inode->mode)) ? 0 : -EINVAL;
    if (error == 0 && S_ISBLK(inode->mode) && inode->device.major == LOOP_MAJOR)
        error = -EINVAL; // loops on loops could be rings
    if (error == 0)
        error = set_info(loop, info);
    if (error != 0) {
        file_put(file);
        return error;
    }
    loop->file = file;
    loop->read_only = !(file->mode & FILE_WRITE) || (loop->info.lo_flags & LO_FLAGS_READ_ONLY);
    loop->stop = false;
    completion_init(&loop->stopped);
    error = kthread_create(NULL, loop->device->name, loop_thread, loop);
    if (error != 0) {
        loop->file = NULL;
        file_put(file);
        return error;
    }
    loop->device->limits.read_only = loop->read_only;
    loop->bound = true;
    set_size(loop);
    return 0;
}

static int unbind(struct loop *loop)
{
    if (loop->file == NULL)
        return -ENXIO;
    block_device_resize(loop->device, 0);
    uint64_t flags = spin_lock_irqsave(&loop->lock);
    loop->bound = false;
    loop->stop = true;
    spin_unlock_irqrestore(&loop->lock, flags);
    wait_wake_all(&loop->wait);
    completion_wait(&loop->stopped); // after everything that it was given
    file_put(loop->file);
    loop->file = NULL;
    loop->device->limits.read_only = false;
    memset(&loop->info, 0, sizeof(loop->info));
    return 0;
}

// ---- ioctls of the device ----

static int get_status(struct loop *loop, uintptr_t argument)
{
    if (loop->file == NULL)
        return -ENXIO;
    struct loop_info64 info = loop->info;
    uint32_t major, minor;
    uint64_t inode;
    vfs_identity(loop->file, &major, &minor, &inode);
    info.lo_inode = inode;
    info.lo_device = (uint64_t)major << 8 | minor;
    info.lo_number = loop->number;
    if (loop->read_only)
        info.lo_flags |= LO_FLAGS_READ_ONLY;
    return copy_to_user(argument, &info, sizeof(info));
}

static int set_status(struct loop *loop, uintptr_t argument)
{
    struct loop_info64 info;
    if (loop->file == NULL)
        return -ENXIO;
    if (copy_from_user(&info, argument, sizeof(info)) != 0)
        return -EFAULT;
    int error = set_info(loop, &info);
    if (error == 0)
        set_size(loop);
    return error;
}

static int configure(struct loop *loop, uintptr_t argument)
{
    struct loop_config config;
    if (copy_from_user(&config, argument, sizeof(config)) != 0)
        return -EFAULT;
    if (config.block_size != 0 && config.block_size != BLOCK_SECTOR_BYTES)
        return -EINVAL;
    return bind(loop, (int)config.fd, &config.info);
}

static int64_t loop_command(struct loop *loop, uint32_t command, uintptr_t argument)
{
    static const struct loop_info64 none;
    switch (command) {
    case LOOP_SET_FD:
        return bind(loop, (int)argument, &none);
    case LOOP_CONFIGURE:
        return configure(loop, argument);
    case LOOP_CLR_FD:
        if (loop->file != NULL && loop->opens > 1) { // with the last one that is closed
            loop->info.lo_flags |= LO_FLAGS_AUTOCLEAR;
            return 0;
        }
        return unbind(loop);
    case LOOP_GET_STATUS64:
        return get_status(loop, argument);
    case LOOP_SET_STATUS64:
        return set_status(loop, argument);
    case LOOP_SET_CAPACITY:
        if (loop->file == NULL)
            return -ENXIO;
        set_size(loop);
        return 0;
    case LOOP_SET_DIRECT_IO: // a choice of how, not of what
        return loop->file != NULL ? 0 : -ENXIO;
    case LOOP_SET_BLOCK_SIZE:
        return argument == BLOCK_SECTOR_BYTES ? 0 : -EINVAL;
    default:
        return -ENOTTY;
    }
}

static int64_t loop_ioctl(struct block_device *device, uint32_t command, uintptr_t argument)
{
    if (command != LOOP_GET_STATUS64 && !capable(CAP_SYS_ADMIN))
        return -EPERM;
    mutex_lock(&control);
    int64_t result = loop_command(device->driver_data, command, argument);
    mutex_unlock(&control);
    return result;
}

static int loop_open(struct block_device *device, bool write)
{
    struct loop *loop = device->driver_data;
    mutex_lock(&control);
    loop->opens++;
    mutex_unlock(&control);
    return 0;
}

static void loop_close(struct block_device *device, bool write)
{
    struct loop *loop = device->driver_data;
    mutex_lock(&control);
    if (--loop->opens == 0 && (loop->info.lo_flags & LO_FLAGS_AUTOCLEAR))
        (void)unbind(loop);
    mutex_unlock(&control);
}

static void loop_release(struct block_device *device)
{
    kfree(device->driver_data);
}

static const struct block_device_ops loop_ops = {
    .queue = loop_queue,
    .commit = loop_commit,
    .poll = loop_poll,
    .open = loop_open,
    .close = loop_close,
    .ioctl = loop_ioctl,
    .release = loop_release,
};

// ---- /dev/loop-control ----

static int loop_create(uint32_t number)
{
    if (number >= LOOP_DEVICES_MAX)
        return -ENOSPC;
    if (loops[number] != NULL)
        return -EEXIST;
    struct loop *loop = kzalloc(sizeof(*loop));
    struct block_device *device = block_device_create(&loop_ops, 1);
    if (loop == NULL || device == NULL) {
        kfree(loop);
        if (device != NULL)
            block_device_put(device);
        return -ENOMEM;
    }
    loop->device = device;
    loop->number = number;
    spin_lock_init(&loop->lock);
    list_init(&loop->requests);
    list_init(&loop->done);
    wait_queue_init(&loop->wait);
    (void)fmt_snprintf(device->name, sizeof(device->name), "loop%u", number);
    device->limits = (struct block_limits){
        .max_segments = 128,
        .max_discard_sectors = 1 << 22,
        .discard_granularity_bytes = PAGE_SIZE,
        .max_write_zeroes_sectors = 1 << 22,
        .write_cache = true,
    };
    device->major = LOOP_MAJOR;
    device->minor = number;
    device->minors = 1;
    device->queue_depth = LOOP_QUEUE_DEPTH;
    device->driver_data = loop;
    int error = block_device_register(device);
    if (error != 0)
        block_device_put(device); // and the loop
    else
        loops[number] = loop;
    return error;
}

static int loop_remove(uint32_t number)
{
    if (number >= LOOP_DEVICES_MAX || loops[number] == NULL)
        return -ENODEV;
    struct loop *loop = loops[number];
    if (loop->opens != 0 || loop->file != NULL)
        return -EBUSY;
    loops[number] = NULL;
    block_device_unregister(loop->device);
    return 0;
}

static int64_t get_free(void)
{
    for (uint32_t i = 0; i < LOOP_DEVICES_MAX; i++) {
        int error = loops[i] == NULL ? loop_create(i) : 0;
        if (error != 0)
            return error;
        if (loops[i]->file == NULL)
            return i;
    }
    return -ENOSPC;
}

static int64_t control_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    int64_t result = -ENOSYS;
    if (!capable(CAP_SYS_ADMIN))
        return -EPERM;
    mutex_lock(&control);
    switch (command) {
    case LOOP_CTL_ADD:
        result = loop_create((uint32_t)argument);
        result = result == 0 ? (int64_t)argument : result;
        break;
    case LOOP_CTL_REMOVE:
        result = loop_remove((uint32_t)argument);
        break;
    case LOOP_CTL_GET_FREE:
        result = get_free();
        break;
    }
    mutex_unlock(&control);
    return result;
}

void block_loop_register(void)
{
    static const struct file_ops ops = {.ioctl = control_ioctl};
    static const struct character_device node = {.name = "loop-control",
        .major = 10,
        .minor = LOOP_CONTROL_MINOR,
        .mode = 0660,
        .ops = &ops};
    int error = device_register(&node);
    assert(error == 0); // at boot
}
