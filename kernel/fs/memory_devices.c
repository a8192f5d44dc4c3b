// SPDX-License-Identifier: MIT
// /dev/null, zero, full, random, urandom and kmsg.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/random.h"
#include "kernel/fs/device.h"
#include "kernel/fs/file.h"
#include "kernel/fs/map.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define MEMORY_MAJOR 1
#define RANDOM_PIECE 256

static int64_t null_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    return 0;
}

static int64_t null_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    size_t count = from->count;
    iter_advance(from, count);
    return (int64_t)count;
}

static int64_t null_seek(struct file *file, int64_t offset, int whence)
{
    return file->offset = 0;
}

static int64_t zero_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    size_t done = 0;
    while (to->count != 0) {
        size_t piece = MIN(to->count, (size_t)1 << 20); // so that a kill is noticed
        size_t cleared = iter_clear(to, piece);
        done += cleared;
        if (cleared != piece)
            return done != 0 ? (int64_t)done : -EFAULT;
        if (thread_signal_pending(thread_current()))
            break;
    }
    return (int64_t)done;
}

static int zero_map(struct file *file, struct vm_map_request *request)
{
    request->cache = NULL; // anonymous memory, private or shared
    request->cache_index = 0;
    return 0;
}

static int64_t full_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    return from->count != 0 ? -ENOSPC : 0;
}

static int64_t random_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    uint8_t buffer[RANDOM_PIECE];
    size_t done = 0;
    while (to->count != 0) {
        size_t piece = MIN(to->count, sizeof(buffer));
        random_fill(buffer, piece);
        size_t copied = iter_copy_to(to, buffer, piece);
        done += copied;
        if (copied != piece) {
            if (done == 0)
                return -EFAULT;
            break;
        }
        if (thread_signal_pending(thread_current()))
            break;
    }
    return (int64_t)done;
}

static int64_t random_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    uint8_t buffer[RANDOM_PIECE];
    size_t done = 0;
    while (from->count != 0) {
        size_t copied = iter_copy_from(from, buffer, MIN(from->count, sizeof(buffer)));
        if (copied == 0)
            return done != 0 ? (int64_t)done : -EFAULT;
        random_contribute(buffer, copied);
        done += copied;
    }
    return (int64_t)done;
}

// A line written becomes a record of the log. "<N>" in front is its level.
static int64_t kmsg_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    char text[512];
    size_t total = from->count;
    size_t len = iter_copy_from(from, text, MIN(total, sizeof(text) - 1));
    if (len == 0)
        return total == 0 ? 0 : -EFAULT;
    text[len] = 0;
    if (text[len - 1] == '\n')
        text[len - 1] = 0;
    const char *start = text;
    enum log_level level = LOG_NOTICE;
    if (text[0] == '<' && text[1] >= '0' && text[1] <= '7' && text[2] == '>') {
        level = (enum log_level)(text[1] - '0');
        start += 3;
    }
    log_write(level, "%s", start);
    iter_advance(from, from->count);
    return (int64_t)total;
}

// The log as text, from the file's position in it.
static int64_t kmsg_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    size_t size = log_size();
    char *text = kmalloc(size + 1, 0);
    if (text == NULL)
        return -ENOMEM;
    size_t len = log_read(text, size, false);
    int64_t done = 0;
    if (*offset < len) {
        done = (int64_t)iter_copy_to(to, text + *offset, MIN(to->count, len - *offset));
        *offset += (uint64_t)done;
        if (done == 0 && to->count != 0)
            done = -EFAULT;
    } else if (file->flags & O_NONBLOCK) {
        done = -EAGAIN;
    }
    kfree(text);
    return done;
}

static int64_t kmsg_seek(struct file *file, int64_t offset, int whence)
{
    if (offset != 0)
        return -ESPIPE;
    file->offset = whence == SEEK_SET ? 0 : log_size();
    return 0;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .seek = null_seek};
static const struct file_ops zero_ops = {
    .read = zero_read, .write = null_write, .seek = null_seek, .map = zero_map};
static const struct file_ops full_ops = {
    .read = zero_read, .write = full_write, .seek = null_seek, .map = zero_map};
static const struct file_ops random_ops = {
    .read = random_read, .write = random_write, .seek = null_seek};
static const struct file_ops kmsg_ops = {.read = kmsg_read, .write = kmsg_write, .seek = kmsg_seek};

void device_register_memory(void)
{
    static const struct character_device devices[] = {
        {.name = "null", .major = MEMORY_MAJOR, .minor = 3, .mode = 0666, .ops = &null_ops},
        {.name = "zero", .major = MEMORY_MAJOR, .minor = 5, .mode = 0666, .ops = &zero_ops},
        {.name = "full", .major = MEMORY_MAJOR, .minor = 7, .mode = 0666, .ops = &full_ops},
        {.name = "random", .major = MEMORY_MAJOR, .minor = 8, .mode = 0666, .ops = &random_ops},
        {.name = "urandom", .major = MEMORY_MAJOR, .minor = 9, .mode = 0666, .ops = &random_ops},
        {.name = "kmsg", .major = MEMORY_MAJOR, .minor = 11, .mode = 0644, .ops = &kmsg_ops},
    };
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        int error = device_register(&devices[i]);
        assert(error == 0); // at boot
    }
}
