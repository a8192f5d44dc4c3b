// SPDX-License-Identifier: MIT
// Files whose content is made when they are read.
//
// The text is made when a read starts at offset 0 (or there is none yet) and kept with the open
// file, so that a program which reads in small pieces gets one consistent text, and one that
// rewinds gets a new one.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/map.h"
#include "kernel/fs/proc.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define TEXT_FIRST_BYTES 1024
#define TEXT_MAX_BYTES   ((size_t)16 << 20)

struct proc_reader {
    struct mutex lock; // buffer
    struct proc_buffer buffer;
    bool made;
    proc_show_function *show;
};

static bool proc_buffer_reserve(struct proc_buffer *buffer, size_t more)
{
    size_t wanted = buffer->len + more;
    if (buffer->failed)
        return false;
    if (wanted <= buffer->capacity)
        return true;
    size_t capacity = MAX(buffer->capacity * 2, (size_t)TEXT_FIRST_BYTES);
    while (capacity < wanted)
        capacity *= 2;
    char *data = capacity <= TEXT_MAX_BYTES ? kmalloc(capacity, 0) : NULL;
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    memcpy(data, buffer->data, buffer->len);
    kfree(buffer->data);
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void proc_append(struct proc_buffer *buffer, const void *bytes, size_t len)
{
    if (!proc_buffer_reserve(buffer, len))
        return;
    memcpy(buffer->data + buffer->len, bytes, len);
    buffer->len += len;
}

void proc_printf(struct proc_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t room = buffer->capacity - buffer->len;
        va_start(arguments, format);
        int len =
            fmt_vsnprintf(room != 0 ? buffer->data + buffer->len : NULL, room, format, arguments);
        va_end(arguments);
        if ((size_t)len < room) {
            buffer->len += (size_t)len;
            return;
        }
        if (!proc_buffer_reserve(buffer, (size_t)len + 1))
            return;
    }
}

void proc_append_escaped(struct proc_buffer *buffer, const char *text, const char *special)
{
    for (; *text != 0; text++) {
        if (strchr(special, *text) != NULL)
            proc_printf(buffer, "\\%03o", (unsigned char)*text);
        else
            proc_append(buffer, text, 1);
    }
}

int proc_reader_open(struct file *file, proc_show_function *show)
{
    struct proc_reader *reader = kzalloc(sizeof(*reader));
    if (reader == NULL)
        return -ENOMEM;
    mutex_init(&reader->lock);
    reader->show = show;
    file->private_data = reader;
    return 0;
}

static int proc_reader_make(struct proc_reader *reader, struct inode *inode)
{
    reader->buffer.len = 0;
    reader->buffer.failed = false;
    int error = reader->show(&reader->buffer, inode);
    if (error == 0 && reader->buffer.failed)
        error = -ENOMEM;
    reader->made = error == 0;
    return error;
}

int64_t proc_reader_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct proc_reader *reader = file->private_data;
    mutex_lock(&reader->lock);
    int64_t done = 0;
    if (*offset == 0 || !reader->made)
        done = proc_reader_make(reader, file->inode);
    if (done == 0 && *offset < reader->buffer.len) {
        size_t wanted = MIN(to->count, reader->buffer.len - *offset);
        done = (int64_t)iter_copy_to(to, reader->buffer.data + *offset, wanted);
        if (done == 0 && wanted != 0)
            done = -EFAULT;
        else
            *offset += (uint64_t)done;
    }
    mutex_unlock(&reader->lock);
    return done;
}

int64_t proc_reader_seek(struct file *file, int64_t offset, int whence)
{
    if (whence != SEEK_SET && whence != SEEK_CUR)
        return -EINVAL; // the end is not known before it is made
    return file_seek_sized(file, offset, whence, 0);
}

void proc_reader_release(struct file *file)
{
    struct proc_reader *reader = file->private_data;
    kfree(reader->buffer.data);
    kfree(reader);
}

const struct file_ops proc_reader_ops = {
    .read = proc_reader_read,
    .seek = proc_reader_seek,
    .release = proc_reader_release,
};

char *proc_copy_written(struct io_iter *from, size_t *len, int *error)
{
    size_t size = MIN(from->count, PAGE_SIZE - 1);
    char *text = kmalloc(size + 1, 0);
    *error = -ENOMEM;
    if (text == NULL)
        return NULL;
    *len = iter_copy_from(from, text, size);
    text[*len] = 0;
    if (*len != size) {
        kfree(text);
        *error = -EFAULT;
        return NULL;
    }
    *error = 0;
    return text;
}
