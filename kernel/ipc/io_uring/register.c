// SPDX-License-Identifier: MIT
// io_uring_register(2): buffers, files, eventfd, what is supported.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/ipc/eventfd.h"
#include "kernel/ipc/io_uring/internal.h"
#include "mm/address_space.h"
#include "mm/slab.h"

#define BUFFER_MAX_BYTES (UINT64_C(1) << 30)
#define PIN_BATCH        16

// ---- buffers ----

static void buffer_free(struct uring_buffer *buffer)
{
    if (buffer == NULL)
        return;
    for (size_t i = 0; i < buffer->pages; i++)
        page_put(virt_to_page(buffer->segments[i].iov_base));
    kfree(buffer);
}

static int pin(struct uring_buffer *buffer, size_t pages)
{
    const uintptr_t base = ALIGN_DOWN(buffer->address, PAGE_SIZE);
    const uintptr_t end = buffer->address + buffer->len_bytes;
    while (buffer->pages < pages) {
        struct page *batch[PIN_BATCH];
        const size_t wanted = MIN(pages - buffer->pages, (size_t)PIN_BATCH);
        const int64_t got =
            vm_pin(thread_current()->space, base + buffer->pages * PAGE_SIZE, wanted, true, batch);
        if (got <= 0)
            return -EFAULT;
        for (int64_t i = 0; i < got; i++) {
            const uintptr_t at = base + buffer->pages * PAGE_SIZE;
            const uintptr_t start = MAX(at, buffer->address);
            const uintptr_t stop = MIN(at + PAGE_SIZE, end);
            buffer->segments[buffer->pages++] =
                (struct iovec){.iov_base = (char *)page_to_virt(batch[i]) + start % PAGE_SIZE,
                    .iov_len = stop - start};
        }
    }
    return 0;
}

static int buffer_create(const struct iovec *vector, struct uring_buffer **result)
{
    const uintptr_t address = (uintptr_t)vector->iov_base;
    const size_t len = vector->iov_len;
    *result = NULL;
    if (address == 0 && len == 0)
        return 0; // an empty place
    if (address == 0 || len == 0 || len > BUFFER_MAX_BYTES || !user_range_ok(address, len))
        return -EFAULT;
    const size_t pages = DIV_ROUND_UP(address % PAGE_SIZE + len, PAGE_SIZE);
    struct uring_buffer *buffer = kzalloc(sizeof(*buffer) + pages * sizeof(buffer->segments[0]));
    if (buffer == NULL)
        return -ENOMEM;
    buffer->address = address;
    buffer->len_bytes = len;
    int error = pin(buffer, pages);
    if (error != 0)
        buffer_free(buffer);
    else
        *result = buffer;
    return error;
}

static void buffers_free(struct uring *ring)
{
    for (uint32_t i = 0; i < ring->buffer_count; i++)
        buffer_free(ring->buffers[i]);
    kfree(ring->buffers);
    ring->buffers = NULL;
    ring->buffer_count = 0;
}

static int register_buffers(struct uring *ring, uintptr_t argument, uint32_t count)
{
    if (ring->buffers != NULL)
        return -EBUSY;
    if (count == 0 || count > URING_BUFFERS_MAX)
        return -EINVAL;
    ring->buffers = kzalloc(count * sizeof(struct uring_buffer *));
    if (ring->buffers == NULL)
        return -ENOMEM;
    int error = 0;
    for (uint32_t i = 0; i < count && error == 0; i++) {
        struct iovec vector;
        error = copy_from_user(&vector, argument + i * sizeof(vector), sizeof(vector));
        if (error == 0)
            error = buffer_create(&vector, &ring->buffers[i]);
        ring->buffer_count = i + 1;
    }
    if (error != 0)
        buffers_free(ring);
    return error;
}

// ---- files ----

static void files_free(struct uring *ring)
{
    for (uint32_t i = 0; i < ring->file_count; i++)
        if (ring->files[i] != NULL)
            file_put(ring->files[i]);
    kfree(ring->files);
    ring->files = NULL;
    ring->file_count = 0;
}

// -1: an empty place.
static int get_registered(int32_t fd, struct file **result)
{
    bool borrowed;
    *result = NULL;
    if (fd == -1)
        return 0;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    if (borrowed)
        file_get(file);
    if (io_uring_check(file) == 0) { // rings that keep each other would never go
        file_put(file);
        return -EBADF;
    }
    *result = file;
    return 0;
}

static int register_files(struct uring *ring, uintptr_t argument, uint32_t count)
{
    if (ring->files != NULL)
        return -EBUSY;
    if (count == 0)
        return -EINVAL;
    if (count > URING_FILES_MAX)
        return -EMFILE;
    ring->files = kzalloc(count * sizeof(struct file *));
    if (ring->files == NULL)
        return -ENOMEM;
    int error = 0;
    for (uint32_t i = 0; i < count && error == 0; i++) {
        int32_t fd;
        error = copy_from_user(&fd, argument + i * sizeof(fd), sizeof(fd));
        if (error == 0)
            error = get_registered(fd, &ring->files[i]);
        ring->file_count = i + 1;
    }
    if (error != 0)
        files_free(ring);
    return error;
}

static int64_t update_files(struct uring *ring, uintptr_t argument, uint32_t count)
{
    struct io_uring_files_update update;
    if (ring->files == NULL)
        return -ENXIO;
    if (copy_from_user(&update, argument, sizeof(update)) != 0)
        return -EFAULT;
    if (update.resv != 0 || count == 0 || update.offset >= ring->file_count ||
        count > ring->file_count - update.offset)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        int32_t fd;
        struct file *file;
        int error = copy_from_user(&fd, update.fds + i * sizeof(fd), sizeof(fd));
        if (error == 0 && fd == IORING_REGISTER_FILES_SKIP)
            continue;
        if (error == 0)
            error = get_registered(fd, &file);
        if (error != 0)
            return i != 0 ? (int64_t)i : error;
        struct file **place = &ring->files[update.offset + i];
        if (*place != NULL)
            file_put(*place);
        *place = file;
    }
    return count;
}

// ---- the rest ----

static int register_eventfd(struct uring *ring, uintptr_t argument, uint32_t count)
{
    int32_t fd;
    struct file *file;
    if (ring->eventfd != NULL)
        return -EBUSY;
    if (count != 1)
        return -EINVAL;
    if (copy_from_user(&fd, argument, sizeof(fd)) != 0)
        return -EFAULT;
    int error = fd == -1 ? -EBADF : get_registered(fd, &file);
    if (error == 0)
        error = eventfd_check(file);
    if (error != 0)
        return error;
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    ring->eventfd = file;
    spin_unlock_irqrestore(&ring->done_lock, flags);
    return 0;
}

static int unregister_eventfd(struct uring *ring)
{
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    struct file *file = ring->eventfd;
    ring->eventfd = NULL;
    spin_unlock_irqrestore(&ring->done_lock, flags);
    if (file == NULL)
        return -ENXIO;
    file_put(file);
    return 0;
}

static int probe(uintptr_t argument, uint32_t count)
{
    struct io_uring_probe header;
    struct io_uring_probe_op operations[IORING_OP_LAST] = {};
    if (count > UINT8_MAX)
        return -EINVAL;
    if (copy_from_user(&header, argument, sizeof(header)) != 0)
        return -EFAULT;
    count = MIN(count, (uint32_t)IORING_OP_LAST);
    for (uint32_t i = 0; i < IORING_OP_LAST; i++)
        operations[i].op = (uint8_t)i;
    for (size_t i = 0; i < uring_operation_count; i++)
        operations[uring_operations[i]].flags = IO_URING_OP_SUPPORTED;
    header.last_op = IORING_OP_LAST - 1;
    header.ops_len = (uint8_t)count;
    if (copy_to_user(argument, &header, sizeof(header)) != 0)
        return -EFAULT;
    return copy_to_user(argument + sizeof(header), operations, count * sizeof(operations[0]));
}

void uring_unregister_all(struct uring *ring)
{
    buffers_free(ring);
    files_free(ring);
    if (ring->last_file != NULL)
        file_put(ring->last_file);
    ring->last_file = NULL;
}

// What is registered may only change while no request uses it.
static void wait_idle(struct uring *ring)
{
    wait_event(&ring->wait, atomic_load_relaxed(&ring->under_way) == 0);
}

static int64_t do_register(
    struct uring *ring, uint32_t operation, uintptr_t argument, uint32_t count)
{
    switch (operation) {
    case IORING_REGISTER_BUFFERS:
        return register_buffers(ring, argument, count);
    case IORING_UNREGISTER_BUFFERS:
        if (argument != 0 || count != 0)
            return -EINVAL;
        if (ring->buffers == NULL)
            return -ENXIO;
        wait_idle(ring);
        buffers_free(ring);
        return 0;
    case IORING_REGISTER_FILES:
        return register_files(ring, argument, count);
    case IORING_UNREGISTER_FILES:
        if (argument != 0 || count != 0)
            return -EINVAL;
        if (ring->files == NULL)
            return -ENXIO;
        files_free(ring);
        return 0;
    case IORING_REGISTER_FILES_UPDATE:
        return update_files(ring, argument, count);
    case IORING_REGISTER_EVENTFD:
    case IORING_REGISTER_EVENTFD_ASYNC: // what ends at once is told as well
        return register_eventfd(ring, argument, count);
    case IORING_UNREGISTER_EVENTFD:
        return unregister_eventfd(ring);
    case IORING_REGISTER_PROBE:
        return probe(argument, count);
    case IORING_REGISTER_ENABLE_RINGS:
        if (ring->enabled)
            return -EBADFD;
        ring->enabled = true;
        uring_poller_wake(ring);
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t io_uring_do_register(
    struct file *file, uint32_t operation, uintptr_t argument, uint32_t count)
{
    struct uring *ring = uring_of(file);
    mutex_lock(&ring->lock);
    int64_t result = do_register(ring, operation, argument, count);
    mutex_unlock(&ring->lock);
    return result;
}
