// SPDX-License-Identifier: MIT
// Memory balloon: virtio-balloon (virtio 1.2, section 5.5).
//
// A thread follows what the host wants: it takes pages from the allocator and gives them to the
// host, or asks for them back; it answers questions about memory; and it tells the host of free
// blocks, which mm/ says are there (mm/page_report.h). When memory is short, pages come back
// without being asked for (VIRTIO_BALLOON_F_DEFLATE_ON_OOM).
//
// The host is always told before a page is used again. Free page hinting, which is for migration,
// is refused.
//
// All rings and the list of pages are under `lock`, which may be held while the host works. Whoever
// is short of memory takes it, too: under it memory is allocated without waiting only.

#include "virtio/balloon/balloon.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "mm/page.h"
#include "mm/page_report.h"
#include "mm/slab.h"
#include "sched/sched.h"

#include <linux/errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

#define QUEUE_INFLATE    0
#define QUEUE_DEFLATE    1
#define QUEUE_STATISTICS 2
#define QUEUES_MAX       5
#define QUEUE_SIZE       32
#define BATCH            256 // pages in one message
#define REPORT_ORDER     9   // blocks that the host is told of: 2 MiB
#define REPORT_BLOCKS    32
#define ANSWER_NS        (10000 * NS_PER_MS)
#define RETRY_NS         (1000 * NS_PER_MS)
#define KEEP_PAGES       512 // left free above the reserve

#define WANT_SIZE       BIT(0) // the host wants another size
#define WANT_STATISTICS BIT(1)
#define WANT_REPORT     BIT(2)

COUNTER(virtio, balloon_inflated_pages);
COUNTER(virtio, balloon_deflated_pages);
COUNTER(virtio, balloon_reported_pages);

struct balloon {
    struct virtio_device *device;
    struct wait_queue wait;
    uint32_t wanted;   // WANT_*; atomic
    struct mutex lock; // everything below
    struct list_node pages;
    uint64_t page_count;
    uint32_t frames[BATCH]; // of the message under way
    struct virtio_balloon_stat statistics[VIRTIO_BALLOON_S_NR];
    struct virtio_queue *inflate, *deflate, *statistics_queue, *report;
};

static struct balloon *the_balloon; // set once: the allocator knows one

static void want(struct balloon *balloon, uint32_t what)
{
    atomic_fetch_or(&balloon->wanted, what);
    wait_wake_all(&balloon->wait);
}

static void used(struct virtio_queue *queue)
{
    struct balloon *balloon = queue->context;
    if (queue == balloon->statistics_queue)
        atomic_fetch_or(&balloon->wanted, (uint32_t)WANT_STATISTICS);
    wait_wake_all(&balloon->wait);
}

// Gives the device one buffer and waits until it is done with it. False: the device is broken, and
// may use the memory until it is reset. Lock held.
static bool tell(struct balloon *balloon, struct virtio_queue *queue,
    const struct virtio_segment *segments, uint32_t readable, uint32_t writable)
{
    void *token;
    uint32_t written_bytes;
    assert(mutex_is_held(&balloon->lock));
    if (virtio_device_is_broken(balloon->device) ||
        virtio_ring_add(&queue->ring, segments, readable, writable, balloon, NULL) != 0)
        return false;
    virtio_queue_commit(queue);
    int error = wait_event_state(&balloon->wait, virtio_ring_has_used(&queue->ring),
        THREAD_UNINTERRUPTIBLE, false, time_monotonic_ns() + ANSWER_NS);
    if (error != 0) {
        virtio_device_break(balloon->device, "the balloon is not answered");
        return false;
    }
    int taken = virtio_queue_take(queue, &token, &written_bytes);
    (void)virtio_ring_interrupt_enable(&queue->ring, 0); // nothing more is under way
    return taken == 1;
}

// Tells of frames[0..count).
static bool tell_frames(struct balloon *balloon, struct virtio_queue *queue, uint32_t count)
{
    struct virtio_segment segment = {
        virt_to_phys(balloon->frames), count * (uint32_t)sizeof(balloon->frames[0])};
    return tell(balloon, queue, &segment, 1, 0);
}

static void say_actual(struct balloon *balloon)
{
    balloon->device->transport->config_write(balloon->device,
        offsetof(struct virtio_balloon_config, actual), sizeof(uint32_t),
        (uint32_t)balloon->page_count);
}

// How many pages may be taken now: the balloon drives nobody out of memory.
static uint64_t spare_pages(void)
{
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    uint64_t keep = statistics.reserve_pages + KEEP_PAGES;
    return statistics.free_pages > keep ? statistics.free_pages - keep : 0;
}

// Up to `count` pages go to the host. How many; 0: there are none to spare.
static uint64_t inflate(struct balloon *balloon, uint64_t count)
{
    uint32_t got = 0;
    struct list_node taken = LIST_INIT(taken);
    count = MIN(MIN(count, (uint64_t)BATCH), spare_pages());
    while (got < count) {
        struct page *page = page_alloc(0, PAGE_ALLOC_ATOMIC | PAGE_ALLOC_USER);
        if (page == NULL)
            break;
        list_add_tail(&taken, &page->list);
        balloon->frames[got++] = (uint32_t)page_to_pfn(page);
    }
    // What a broken device may have stays out of use.
    list_splice_tail(&balloon->pages, &taken);
    balloon->page_count += got;
    if (got == 0 || !tell_frames(balloon, balloon->inflate, got))
        return 0;
    counter_add(virtio, balloon_inflated_pages, got);
    return got;
}

// Up to `count` pages come back. How many.
static uint64_t deflate(struct balloon *balloon, uint64_t count)
{
    uint32_t got = 0;
    struct list_node taken = LIST_INIT(taken);
    struct page *page;
    count = MIN(count, (uint64_t)BATCH);
    while (got < count &&
           (page = list_pop_head_entry_or_null(&balloon->pages, struct page, list)) != NULL) {
        list_add_tail(&taken, &page->list);
        balloon->frames[got++] = (uint32_t)page_to_pfn(page);
    }
    if (got == 0)
        return 0;
    if (!tell_frames(balloon, balloon->deflate, got)) {
        list_splice_tail(&balloon->pages, &taken);
        return 0;
    }
    balloon->page_count -= got;
    while ((page = list_pop_head_entry_or_null(&taken, struct page, list)) != NULL)
        page_free(page, 0);
    counter_add(virtio, balloon_deflated_pages, got);
    return got;
}

// Follows the host's wish. False: not to its end.
static bool adjust(struct balloon *balloon)
{
    for (;;) {
        uint64_t target =
            virtio_config_field(balloon->device, struct virtio_balloon_config, num_pages);
        uint64_t moved = 0;
        mutex_lock(&balloon->lock);
        bool done = target == balloon->page_count;
        if (target > balloon->page_count)
            moved = inflate(balloon, target - balloon->page_count);
        else if (!done)
            moved = deflate(balloon, balloon->page_count - target);
        if (moved != 0)
            say_actual(balloon);
        mutex_unlock(&balloon->lock);
        if (done || moved == 0)
            return done;
    }
}

// For the allocator.
static uint64_t release(uint64_t pages)
{
    struct balloon *balloon = the_balloon;
    uint64_t done = 0, moved;
    if (virtio_device_is_broken(balloon->device))
        return 0;
    mutex_lock(&balloon->lock);
    do {
        moved = deflate(balloon, MAX(pages, (uint64_t)BATCH));
        done += moved;
    } while (moved != 0 && done < pages);
    if (done != 0)
        say_actual(balloon);
    mutex_unlock(&balloon->lock);
    return done;
}

// 5.5.6.3: the buffer is the device's until it wants to know.
static void give_statistics(struct balloon *balloon)
{
    struct page_statistics pages;
    void *token;
    uint32_t written_bytes;
    struct virtio_queue *queue = balloon->statistics_queue;
    page_statistics_read(&pages);
    uint64_t available =
        pages.free_pages > pages.reserve_pages ? pages.free_pages - pages.reserve_pages : 0;
    const struct virtio_balloon_stat statistics[] = {
        {VIRTIO_BALLOON_S_SWAP_IN, 0},
        {VIRTIO_BALLOON_S_SWAP_OUT, 0},
        {VIRTIO_BALLOON_S_MEMFREE, pages.free_pages * PAGE_SIZE},
        {VIRTIO_BALLOON_S_MEMTOT, pages.total_pages * PAGE_SIZE},
        {VIRTIO_BALLOON_S_AVAIL, (available + pages.cache_pages) * PAGE_SIZE},
        {VIRTIO_BALLOON_S_CACHES, pages.cache_pages * PAGE_SIZE},
    };
    static_assert(sizeof(statistics) <= sizeof(balloon->statistics));
    mutex_lock(&balloon->lock);
    while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
    }
    if (queue->ring.free == queue->ring.config.size) {
        memcpy(balloon->statistics, statistics, sizeof(statistics));
        struct virtio_segment segment = {virt_to_phys(balloon->statistics), sizeof(statistics)};
        if (virtio_ring_add(&queue->ring, &segment, 1, 0, balloon, NULL) == 0)
            virtio_queue_commit(queue);
    }
    if (virtio_ring_interrupt_enable(&queue->ring, 0))
        want(balloon, WANT_STATISTICS);
    mutex_unlock(&balloon->lock);
}

// ---- free page reporting (5.5.6.7) ----

static void blocks_are_free(void)
{
    want(the_balloon, WANT_REPORT);
}

static void report(struct balloon *balloon)
{
    struct page *blocks[REPORT_BLOCKS];
    struct virtio_segment segments[REPORT_BLOCKS];
    size_t count, most = MIN(balloon->report->ring.config.size, (uint32_t)REPORT_BLOCKS);
    bool told = true;
    while (told && (count = page_report_isolate(blocks, most)) != 0) {
        uint64_t pages = 0;
        for (size_t i = 0; i < count; i++) {
            segments[i] = (struct virtio_segment){
                page_to_phys(blocks[i]), (uint32_t)(PAGE_SIZE << blocks[i]->order)};
            pages += 1ul << blocks[i]->order;
        }
        mutex_lock(&balloon->lock);
        told = tell(balloon, balloon->report, segments, 0, (uint32_t)count);
        mutex_unlock(&balloon->lock);
        if (!told)
            return; // the memory may be the device's: nobody gets it
        page_report_return(blocks, count, true);
        counter_add(virtio, balloon_reported_pages, pages);
    }
}

// ---- life ---------------------------------------------------------------------------------------

static void balloon_thread(void *argument)
{
    struct balloon *balloon = argument;
    bool is_done = true;
    while (!virtio_device_is_broken(balloon->device)) {
        uint64_t deadline_ns = is_done ? UINT64_MAX : time_monotonic_ns() + RETRY_NS;
        (void)wait_event_state(&balloon->wait,
            atomic_load_acquire(&balloon->wanted) != 0 || virtio_device_is_broken(balloon->device),
            THREAD_UNINTERRUPTIBLE, false, deadline_ns);
        uint32_t wanted = atomic_exchange(&balloon->wanted, 0u);
        if (virtio_device_is_broken(balloon->device))
            break;
        if ((wanted & WANT_SIZE) || !is_done)
            is_done = adjust(balloon);
        if (wanted & WANT_STATISTICS)
            give_statistics(balloon);
        if ((wanted & WANT_REPORT) && balloon->report != NULL)
            report(balloon);
    }
}

static int make_queues(struct balloon *balloon)
{
    struct virtio_device *device = balloon->device;
    struct virtio_queue_setup setups[QUEUES_MAX] = {};
    bool has_statistics = virtio_has_feature(device, VIRTIO_BALLOON_F_STATS_VQ);
    bool has_report = virtio_has_feature(device, VIRTIO_BALLOON_F_REPORTING);
    // The queue for hints is there where the device has them, whatever we make of it.
    uint32_t report_at = QUEUE_STATISTICS + has_statistics +
                         !!(device->offered & BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT));
    uint32_t count = has_report ? report_at + 1 : QUEUE_STATISTICS + has_statistics;
    struct virtio_queue_setup setup = {.size_max = QUEUE_SIZE, .used = used, .context = balloon};
    setups[QUEUE_INFLATE] = setups[QUEUE_DEFLATE] = setup;
    if (has_statistics)
        setups[QUEUE_STATISTICS] = setup;
    if (has_report)
        setups[report_at] = setup;
    int error = virtio_queues_create(device, setups, count);
    if (error != 0)
        return error;
    balloon->inflate = &device->queues[QUEUE_INFLATE];
    balloon->deflate = &device->queues[QUEUE_DEFLATE];
    balloon->statistics_queue = has_statistics ? &device->queues[QUEUE_STATISTICS] : NULL;
    balloon->report = has_report ? &device->queues[report_at] : NULL;
    return 0;
}

// What the allocator does for us is extra: without it the balloon works, too.
static void register_with_memory(struct balloon *balloon)
{
    int error = 0;
    if (virtio_has_feature(balloon->device, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
        error = page_balloon_register(release);
    if (error == 0 && balloon->report != NULL)
        error = page_report_register(REPORT_ORDER, blocks_are_free);
    if (error != 0)
        log_warning(
            "virtio: %s: memory knows no balloon (error %d)", balloon->device->name, -error);
}

static int probe(struct virtio_device *device)
{
    if (the_balloon != NULL)
        return -EBUSY;
    struct balloon *balloon = kzalloc(sizeof(*balloon));
    if (balloon == NULL)
        return -ENOMEM;
    balloon->device = device;
    wait_queue_init(&balloon->wait);
    mutex_init(&balloon->lock);
    list_init(&balloon->pages);
    int error = make_queues(balloon);
    if (error == 0)
        error = kthread_create(NULL, "balloon", balloon_thread, balloon);
    if (error != 0) {
        kfree(balloon);
        return error;
    }
    device->driver_data = the_balloon = balloon;
    virtio_device_ready(device);
    register_with_memory(balloon);
    want(balloon, WANT_SIZE | (balloon->statistics_queue != NULL ? WANT_STATISTICS : 0));
    return 0;
}

static void config_changed(struct virtio_device *device)
{
    want(device->driver_data, WANT_SIZE);
}

// Its pages may still be the host's: they stay where they are.
static void broken(struct virtio_device *device)
{
    wait_wake_all(&the_balloon->wait);
}

const struct virtio_driver virtio_balloon_driver = {
    .name = "virtio-balloon",
    .type = VIRTIO_ID_BALLOON,
    .features = BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST) | BIT(VIRTIO_BALLOON_F_STATS_VQ) |
                BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | BIT(VIRTIO_BALLOON_F_REPORTING),
    .probe = probe,
    .config_changed = config_changed,
    .broken = broken,
};
