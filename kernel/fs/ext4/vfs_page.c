// SPDX-License-Identifier: MIT
// Pages of files from and to the disk.
//
// Pages that are whole blocks in one run go in one request. A page whose blocks (smaller than it)
// lie in several places is read and written piece by piece, waiting: rare, but for the last page of
// a file, whose end takes no blocks.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/file/page_io.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/vfs.h"
#include "mm/slab.h"

#define ALLOCATION_TRIES 1000

static uint32_t blocks_per_page(const struct ext4_fs *fs)
{
    return (uint32_t)PAGE_SIZE >> fs->block_bits;
}
static uint64_t sector_of(const struct ext4_fs *fs, uint64_t block)
{
    return block << (fs->block_bits - BLOCK_SECTOR_SHIFT);
}

// ---- reading ----

static int read_pieces(struct ext4_mount *mount, struct ext4_node *node, struct page *page)
{
    const struct ext4_fs *fs = mount->fs;
    const uint32_t count = blocks_per_page(fs);
    const uint64_t first = page->index * count;
    for (uint32_t at = 0; at < count;) {
        struct ext4_run run;
        uint8_t *to = (uint8_t *)page_to_virt(page) + (at << fs->block_bits);
        rwlock_read_lock(&node->map_lock);
        int error = ext4_map_find(node, (uint32_t)(first + at), count - at, &run);
        rwlock_read_unlock(&node->map_lock);
        if (error == 0 && (run.physical == 0 || run.unwritten))
            memset(to, 0, (size_t)run.count << fs->block_bits);
        else if (error == 0)
            error = block_transfer(mount->volume, BLOCK_READ, sector_of(fs, run.physical), to,
                sector_of(fs, run.count), BLOCK_SYNC);
        if (error != 0)
            return error;
        at += run.count;
    }
    return 0;
}

// A run of pages that are read alike; how many of `count` it was.
static size_t read_run(struct ext4_mount *mount, struct page_cache *cache, struct page **pages,
    size_t count, struct block_plug *plug)
{
    struct ext4_fs *fs = mount->fs;
    struct ext4_node *node = ext4_node_of(cache->owner);
    const uint32_t per_page = blocks_per_page(fs);
    const uint64_t first = pages[0]->index * per_page;
    struct ext4_run run = {.count = UINT32_MAX};
    int error = 0;
    if (first + count * per_page < EXT4_BLOCKS_MAX) {
        rwlock_read_lock(&node->map_lock);
        error = ext4_map_find(node, (uint32_t)first, (uint32_t)(count * per_page), &run);
        rwlock_read_unlock(&node->map_lock);
    }
    size_t whole = MIN((size_t)(run.count / per_page), count);
    if (error == 0 && whole != 0 && run.physical != 0 && !run.unwritten) {
        block_pages_submit(plug, mount->volume, BLOCK_READ, sector_of(fs, run.physical),
            sector_of(fs, fs->block_count), cache, pages, whole);
        return whole;
    }
    if (error == 0 && whole == 0) {
        whole = 1;
        error = read_pieces(mount, node, pages[0]);
    } else {
        whole = error != 0 ? 1 : whole;
        for (size_t i = 0; i < whole && error == 0; i++)
            memset(page_to_virt(pages[i]), 0, PAGE_SIZE);
    }
    for (size_t i = 0; i < whole; i++)
        page_cache_read_done(pages[i], error);
    return whole;
}

static void read_pages(struct page_cache *cache, struct page **pages, size_t count)
{
    const struct inode *inode = cache->owner;
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    struct block_plug plug;
    block_plug_begin(&plug);
    for (size_t at = 0; at < count;)
        at += read_run(mount, cache, pages + at, count - at, &plug);
    block_plug_end(&plug);
}

// ---- writing ----

// A request of data: what its end has to tell.
struct data_write {
    struct page_cache *cache;
    struct ext4_node *node;
    bool ordered;
    uint32_t requests; // under way, and one for the submitter; atomic
};

static void data_put(struct data_write *write)
{
    if (__atomic_sub_fetch(&write->requests, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    ext4_content_write_end(write->node, write->ordered);
    kfree(write);
}

static void data_end(struct block_request *request)
{
    struct data_write *write = request->context;
    struct page_cache *cache = write->cache;
    const int error = request->error;
    // First what the node is told: it lives as long as one of its pages is being written.
    if (error != 0 && write->ordered)
        ext4_abort(write->node->fs, error, "data that a commit needs could not be written");
    data_put(write);
    for (uint32_t i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];
        struct page *page = pfn_to_page(segment->phys >> PAGE_SHIFT);
        for (uint64_t j = 0; j < DIV_ROUND_UP(segment->len_bytes, PAGE_SIZE); j++)
            page_cache_write_done(cache, page + j, error);
    }
    block_request_free(request);
}

static struct block_request *new_request(
    struct ext4_mount *mount, uint64_t sector, size_t pages, struct data_write *write)
{
    struct block_request *request = NULL;
    const size_t most = block_volume_limits(mount->volume)->max_segments;
    for (unsigned tries = 0; request == NULL && tries < ALLOCATION_TRIES; tries++) {
        request = block_request_create(
            mount->volume, BLOCK_WRITE, sector, (uint32_t)MIN(pages, most), 0, PAGE_ALLOC_ATOMIC);
        if (request == NULL)
            sched_yield();
    }
    if (request != NULL) {
        request->end = data_end;
        request->context = write;
        __atomic_fetch_add(&write->requests, 1, __ATOMIC_RELAXED);
    }
    return request;
}

// Pages of one run; the last one's part behind the end of the file is left out.
// They are on their way when it returns: the next run may need a commit, which waits for them.
static void write_whole(struct ext4_mount *mount, struct data_write *write, uint64_t physical,
    uint64_t bytes, struct page **pages)
{
    const size_t count = DIV_ROUND_UP(bytes, PAGE_SIZE);
    struct block_request *request = NULL;
    struct block_plug plug;
    block_plug_begin(&plug);
    uint64_t sector = sector_of(mount->fs, physical);
    for (size_t i = 0; i < count; i++, sector += PAGE_SIZE / BLOCK_SECTOR_BYTES) {
        const uint32_t len = (uint32_t)MIN(PAGE_SIZE, bytes - i * PAGE_SIZE);
        const uint64_t phys = page_to_phys(pages[i]);
        if (request != NULL && block_request_add(request, phys, len))
            continue;
        if (request != NULL)
            block_plug_add(&plug, request);
        request = new_request(mount, sector, count - i, write);
        if (request == NULL) {
            page_cache_write_done(write->cache, pages[i], -ENOMEM);
            if (write->ordered)
                ext4_abort(mount->fs, -ENOMEM, "no memory for data that a commit needs");
            continue;
        }
        const bool fits = block_request_add(request, phys, len);
        assert(fits); // a page always does
    }
    if (request != NULL)
        block_plug_add(&plug, request);
    block_plug_end(&plug);
    data_put(write);
}

// Blocks [first, first + count) of a page, waiting for each run.
static int write_pieces(struct ext4_mount *mount, struct ext4_node *node, const uint8_t *from,
    uint32_t first, uint32_t count, uint64_t size)
{
    struct ext4_fs *fs = mount->fs;
    int error = 0;
    while (count != 0 && error == 0) {
        struct ext4_run run;
        bool ordered;
        error = ext4_content_write_begin(node, first, count, size, &run, &ordered);
        if (error != 0)
            break;
        error = block_transfer(mount->volume, BLOCK_WRITE, sector_of(fs, run.physical),
            (void *)(uintptr_t)from, sector_of(fs, run.count), BLOCK_SYNC);
        if (error != 0 && ordered)
            ext4_abort(fs, error, "data that a commit needs could not be written");
        ext4_content_write_end(node, ordered);
        from += (size_t)run.count << fs->block_bits;
        first += run.count;
        count -= run.count;
    }
    return error;
}

static void note_error(struct inode *inode, int error)
{
    __atomic_store_n(&ext4_inode_of(inode)->write_error, error, __ATOMIC_RELAXED);
}

// A run of pages that lie within the file. How many of `count` it was.
static size_t write_run(struct ext4_mount *mount, struct page_cache *cache, struct page **pages,
    size_t count, uint64_t size)
{
    struct ext4_fs *fs = mount->fs;
    struct ext4_node *node = ext4_node_of(cache->owner);
    const uint32_t per_page = blocks_per_page(fs);
    const uint32_t first = (uint32_t)(pages[0]->index * per_page);
    const uint64_t end =
        MIN((uint64_t)first + count * per_page, DIV_ROUND_UP(size, fs->block_bytes));
    const uint32_t blocks = (uint32_t)(end - first);
    struct data_write *write = kmalloc(sizeof(*write), PAGE_ALLOC_ATOMIC);
    struct ext4_run run;
    int error = 0;
    bool ordered = false;
    if (write == NULL) {
        error =
            write_pieces(mount, node, page_to_virt(pages[0]), first, MIN(blocks, per_page), size);
        goto one;
    }
    error = ext4_content_write_begin(node, first, blocks, size, &run, &ordered);
    if (error == 0 && (run.count == blocks || run.count >= per_page)) {
        if (run.count != blocks)
            run.count -= run.count % per_page;
        *write =
            (struct data_write){.cache = cache, .node = node, .ordered = ordered, .requests = 1};
        write_whole(mount, write, run.physical, (uint64_t)run.count << fs->block_bits, pages);
        return DIV_ROUND_UP(run.count, per_page);
    }
    kfree(write);
    if (error == 0) { // several runs within one page
        const uint32_t in_page = MIN(blocks, per_page);
        const uint8_t *from = page_to_virt(pages[0]);
        error = block_transfer(mount->volume, BLOCK_WRITE, sector_of(fs, run.physical),
            (void *)(uintptr_t)from, sector_of(fs, run.count), BLOCK_SYNC);
        if (error != 0 && ordered)
            ext4_abort(fs, error, "data that a commit needs could not be written");
        ext4_content_write_end(node, ordered);
        if (error == 0)
            error = write_pieces(mount, node, from + ((size_t)run.count << fs->block_bits),
                first + run.count, in_page - run.count, size);
    }
one:
    if (error != 0)
        note_error(cache->owner, error);
    page_cache_write_done(cache, pages[0], error);
    return 1;
}

static void write_pages(struct page_cache *cache, struct page **pages, size_t count)
{
    const struct inode *inode = cache->owner;
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    const uint64_t size = __atomic_load_n(&cache->size_bytes, __ATOMIC_ACQUIRE);
    for (size_t at = 0; at < count;) {
        const uint64_t start = pages[at]->index * PAGE_SIZE;
        if (start >= size) { // truncated meanwhile
            page_cache_write_done(cache, pages[at++], 0);
            continue;
        }
        size_t within = 1;
        while (at + within < count && pages[at + within]->index * PAGE_SIZE < size)
            within++;
        // Behind the end of the file the disk has zeroes, whatever a mapping has put there.
        const uint64_t last = pages[at + within - 1]->index * PAGE_SIZE;
        if (size - last < PAGE_SIZE)
            memset((char *)page_to_virt(pages[at + within - 1]) + (size - last), 0,
                PAGE_SIZE - (size - last));
        at += write_run(mount, cache, pages + at, within, size);
    }
}

const struct page_cache_ops ext4_cache_ops = {.read_pages = read_pages, .write_pages = write_pages};
