// SPDX-License-Identifier: MIT
// The ring that a program maps. The program may write into all of it: head, size and addresses are
// the kernel's own; data_tail is read once for each record and only decides whether there is room.
#include "perf/event/buffer.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "mm/slab.h"

#include <linux/perf_event.h>

static unsigned order_of(uint64_t pages)
{
    return pages <= 1 ? 0 : bit_highest(pages - 1) + 1;
}

struct perf_buffer *perf_buffer_create(uint64_t data_pages, bool overwrite)
{
    assert(data_pages == 0 || IS_POWER_OF_TWO(data_pages));
    if (order_of(data_pages) > PAGE_ORDER_MAX)
        return NULL;
    struct perf_buffer *buffer = kzalloc(sizeof(*buffer) + (1 + data_pages) * sizeof(uint64_t));
    if (buffer == NULL)
        return NULL;
    buffer->page = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    if (data_pages != 0)
        buffer->data = page_alloc_kernel(order_of(data_pages), PAGE_ALLOC_ZERO);
    if (buffer->page == NULL || (data_pages != 0 && buffer->data == NULL)) {
        if (buffer->page != NULL)
            page_free_kernel(buffer->page, 0);
        kfree(buffer);
        return NULL;
    }
    spin_lock_init(&buffer->lock);
    buffer->refcount = 1;
    buffer->bytes = data_pages * PAGE_SIZE;
    buffer->overwrite = overwrite;
    buffer->watermark = buffer->bytes / 2;
    buffer->frames[0] = virt_to_phys(buffer->page);
    for (uint64_t i = 0; i < data_pages; i++)
        buffer->frames[1 + i] = virt_to_phys(buffer->data) + i * PAGE_SIZE;
    buffer->page->size = offsetof(struct perf_event_mmap_page, __reserved);
    buffer->page->cap_bit0_is_deprecated = 1;
    buffer->page->data_offset = PAGE_SIZE;
    buffer->page->data_size = buffer->bytes;
    return buffer;
}

void perf_buffer_get(struct perf_buffer *buffer)
{
    atomic_fetch_add_relaxed(&buffer->refcount, 1u);
}

void perf_buffer_put(struct perf_buffer *buffer)
{
    if (atomic_fetch_sub(&buffer->refcount, 1u) != 1)
        return;
    page_free_kernel(buffer->page, 0);
    if (buffer->data != NULL)
        page_free_kernel(buffer->data, order_of(buffer->bytes / PAGE_SIZE));
    kfree(buffer);
}

// ---- mapping ------------------------------------------------------------------------------------

static struct perf_buffer *buffer_of(const struct vm_area *area)
{
    return container_of((uint64_t(*)[])area->backing, struct perf_buffer, frames);
}

static void area_open(struct vm_area *area)
{
    perf_buffer_get(buffer_of(area));
}

static void area_close(struct vm_area *area)
{
    perf_buffer_put(buffer_of(area));
}

static void area_name(struct vm_area *area, char *text, size_t size)
{
    strlcpy(text, "anon_inode:[perf_event]", size);
}

static const struct vm_area_ops buffer_area_ops = {
    .open = area_open, .close = area_close, .name = area_name};

int perf_buffer_map(struct perf_buffer *buffer, struct vm_map_request *request)
{
    assert(request->len_bytes == buffer->bytes + PAGE_SIZE);
    request->flags |= VM_FIXED_PAGES | VM_DONTFORK | VM_DONTDUMP;
    request->cache = NULL;
    request->cache_index = 0;
    request->backing = buffer->frames;
    request->ops = &buffer_area_ops;
    return 0;
}

// ---- writing ------------------------------------------------------------------------------------

static void copy_in(struct perf_buffer *buffer, const void *record, uint32_t len)
{
    uint64_t offset = buffer->head & (buffer->bytes - 1);
    uint64_t first = MIN((uint64_t)len, buffer->bytes - offset);
    memcpy(buffer->data + offset, record, first);
    memcpy(buffer->data, (const uint8_t *)record + first, len - first);
}

bool perf_buffer_write(struct perf_buffer *buffer, const void *record, uint32_t len, bool *wake)
{
    bool fits = false;
    spin_lock(&buffer->lock);
    uint64_t used = buffer->head - atomic_load_acquire(&buffer->page->data_tail);
    if (!buffer->paused && len <= buffer->bytes)
        fits = buffer->overwrite || (used <= buffer->bytes && len <= buffer->bytes - used);
    if (fits) {
        copy_in(buffer, record, len);
        buffer->head += len;
        atomic_store_release(&buffer->page->data_head, buffer->head);
    } else if (!buffer->paused) {
        buffer->lost++;
    }
    *wake = buffer->head - buffer->woken >= buffer->watermark && fits;
    if (*wake)
        buffer->woken = buffer->head;
    spin_unlock_no_resched(&buffer->lock);
    return fits;
}

uint64_t perf_buffer_take_lost(struct perf_buffer *buffer)
{
    if (likely(atomic_load_relaxed(&buffer->lost) == atomic_load_relaxed(&buffer->lost_told)))
        return 0;
    spin_lock(&buffer->lock);
    uint64_t lost = buffer->lost - buffer->lost_told;
    buffer->lost_told = buffer->lost;
    spin_unlock_no_resched(&buffer->lock);
    return lost;
}
