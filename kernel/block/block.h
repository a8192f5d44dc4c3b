// SPDX-License-Identifier: MIT
// Block devices: the contract between those who have disks (drivers: virtio-blk, Xen's blkfront,
// NVMe, ram disk, loop) and those who want sectors (block special files, file systems).
//
// A driver makes a struct block_device with one or more queues and registers it. A user addresses a
// struct block_volume: the whole device or one of its partitions. Between them travel struct
// block_request: an operation, a range of sectors, and the physical memory (segments) that the
// device itself reads or writes. Nothing here copies data, except for the boot option block.copy.
//
// A request goes: block_submit() or a plug, which merges neighbours → the queue of the running CPU
// (waiting list or scheduler) → ops->queue() in batches, ops->commit() once → the device →
// block_queue_interrupt() or a poller, ops->poll() → block_request_complete() → request->end() on
// the CPU that submitted.
//
// A driver never takes the lock of a queue itself: the core calls it with the lock held and
// interrupts off, so that a queue's ring is touched by one CPU at a time.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/counter.h"
#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/timer.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"

#define BLOCK_SECTOR_SHIFT 9
#define BLOCK_SECTOR_BYTES 512u // unit of sector numbers, whatever the device's block size is

struct block_device;
struct block_volume;
struct block_queue;
struct block_request;
struct block_scheduler;

enum block_operation : uint8_t {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,        // what was completed before it was submitted survives a power cut
    BLOCK_DISCARD,      // the content may be forgotten
    BLOCK_WRITE_ZEROES, // reads as zeroes afterwards
    BLOCK_OPERATIONS,
};

#define BLOCK_FUA       BIT(0) // write: durable when it completes
#define BLOCK_SYNC      BIT(1) // somebody waits for it
#define BLOCK_POLLED    BIT(2) // the submitter polls (RWF_HIPRI)
#define BLOCK_NO_UNMAP  BIT(3) // write zeroes: the space stays allocated
#define BLOCK_SCHEDULED BIT(9) // the scheduler counts it as started; core's own
#define BLOCK_STARTED   BIT(8) // the driver has it; core's own

// A piece of physically contiguous memory.
struct block_segment {
    uint64_t phys;
    uint32_t len_bytes; // a multiple of the device's logical block, as is phys of the dma_alignment
    uint32_t reserved;
};

// Called once for each request when it is over; request->error is 0 or -errno (-EIO, -ENOSPC,
// -EOPNOTSUPP, -ENODEV...). Any context: must not sleep. May free the request, and submit others.
typedef void block_end_function(struct block_request *request);

// From block_request_create(). Neighbours that were merged travel as one: the driver gets the first
// of them, whose total_* count them all, and reads all segments through a block_cursor.
struct block_request {
    struct list_node node;        // of the list that has it: plug, queue, scheduler; driver's while
                                  // it is started
    struct block_volume *volume;  // fixed
    struct block_queue *queue;    // set when it is handed over
    struct block_request *merged; // next of the chain of neighbours, ascending
    struct block_request *last;   // of the chain; valid in its first
    uint64_t sector;              // relative to the volume; after submission to the device
    uint32_t sector_count;        // of this one alone
    uint32_t total_sectors;       // of the chain; valid in its first
    uint16_t total_segments;
    uint16_t segment_count, segment_capacity;
    enum block_operation operation;
    uint16_t flags;      // BLOCK_*
    uint16_t priority;   // as ioprio_set(2): class << 13 | level; 0: best effort, 4
    int32_t error;       // at end
    uint32_t owner;      // who is charged by the scheduler (a process); 0: the kernel
    uint32_t driver_tag; // the driver's, while it has the request
    uint16_t cpu;        // that submitted it
    uint64_t driver_data[3];
    uint64_t start_ns;  // when it was submitted; the core's
    void *copy_buffer;  // block.copy: where the data belongs
    uint64_t scheduled; // the scheduler's: deadline or virtual time
    block_end_function *end;
    void *context;                   // the submitter's
    struct block_segment segments[]; // segment_capacity elements
};

// Steps through all segments of a (merged) request:
//   struct block_cursor cursor = block_cursor_begin(request);
//   while ((segment = block_cursor_next(&cursor)) != NULL) ...
struct block_cursor {
    const struct block_request *request;
    uint32_t index;
};
static inline struct block_cursor block_cursor_begin(const struct block_request *request)
{
    return (struct block_cursor){.request = request};
}
static inline const struct block_segment *block_cursor_next(struct block_cursor *cursor)
{
    while (cursor->request != NULL && cursor->index == cursor->request->segment_count) {
        cursor->request = cursor->request->merged;
        cursor->index = 0;
    }
    return cursor->request != NULL ? &cursor->request->segments[cursor->index++] : NULL;
}

// What a device can do. The driver fills it in before registration; zero in a max_* means no limit
// where there can be none, and "not supported" for discard and write zeroes.
struct block_limits {
    uint32_t logical_block_bytes;  // 512..4096, power of two; 0: 512
    uint32_t physical_block_bytes; // 0: as logical
    uint32_t io_min_bytes, io_opt_bytes;
    uint32_t max_sectors;       // of one request (merged); 0: 2560
    uint32_t max_segments;      // of one request (merged); at least 1
    uint32_t segment_max_bytes; // of one segment; 0: 1 MiB; at least a page
    bool segment_in_page;       // no segment crosses a page (Xen grants)
    bool segments_are_pages;    // all but the first begin at a page, all but the last end at one
                                // (NVMe's PRP lists)
    uint32_t dma_alignment;     // of addresses and lengths of segments, power of two; 0: 512
    uint32_t max_discard_sectors, discard_granularity_bytes;
    uint32_t max_write_zeroes_sectors;
    bool write_cache; // volatile: BLOCK_FLUSH means something
    bool fua;         // the driver implements BLOCK_FUA on writes
    bool read_only;
    bool rotational;
    bool synchronous; // ops->queue() completes every request itself (ram disk)
};

// Context of queue, commit, poll and interrupts: the queue's lock is held, interrupts are off. They
// must not sleep, and must not call block_submit().
struct block_device_ops {
    // Puts requests[0..count) in this order into the ring and returns how many of them fitted;
    // those that did not are offered again after the next completion, or when the driver calls
    // block_queue_interrupt(): it has to, if it had no request then. A request that the device
    // can never do is completed with an error at once (and counts as taken). Must not notify the
    // device: commit does.
    uint32_t (*queue)(struct block_queue *queue, struct block_request **requests, uint32_t count);
    // After one or more queue(): publishes and notifies the device once, if it has to be notified.
    // NULL: nothing to do.
    void (*commit)(struct block_queue *queue);
    // Takes everything from the ring that the device has finished: block_request_complete() for
    // each. How many that were. NULL: a synchronous device.
    uint32_t (*poll)(struct block_queue *queue);
    // Completion interrupts of the queue on or off. On: returns whether something was finished
    // meanwhile (then the core polls once more). NULL: the device has no such switch.
    bool (*interrupts)(struct block_queue *queue, bool on);
    // The rest is called in task context without locks and may sleep; all may be NULL.
    int (*open)(struct block_device *device, bool write); // first and further openers
    void (*close)(struct block_device *device, bool write);
    int64_t (*ioctl)(
        struct block_device *device, uint32_t command, uintptr_t argument); // [-ENOTTY]
    // The last reference is gone, after block_device_unregister(): frees driver data.
    void (*release)(struct block_device *device);
};

// One queue of a device: usually one per CPU.
struct block_queue {
    struct spinlock lock; // everything below; taken with interrupts off
    struct block_device *device;
    uint32_t index;
    uint32_t started;         // requests that the driver has
    struct list_node waiting; // those that it has not, in order; without a scheduler
    uint32_t waiting_count;   // in `waiting`
    struct list_node done;    // finished, their end() is still to be called
    void *driver_data;        // the driver's; fixed from registration on
    uint64_t busy_since_ns;   // since when started != 0; 0: it is not
    uint64_t busy_ns;         // total before that
    // Hybrid completion (completion.c).
    struct timer poll_timer; // looks instead of an interrupt while `polling`
    uint64_t last_ns;        // when something was found finished last
    uint32_t gap_ns;         // mean time between two ends
    uint32_t service_ns;     // mean time from submission to the end
    uint32_t pollers;        // threads that wait actively
    uint32_t idle_polls;     // looks of the timer in a row that found nothing
    bool polling;            // interrupts are off
} __attribute__((aligned(64)));

#define BLOCK_NAME_BYTES     32
#define BLOCK_PARTITIONS_MAX 128

struct block_device {
    char name[BLOCK_NAME_BYTES]; // "vda"; the driver's, before registration
    char serial[32];             // for /sys/block/X/serial; may be ""
    const struct block_device_ops *ops;
    struct block_limits limits;
    uint64_t sector_count; // read it through volume[0]; block_device_resize() changes it
    uint32_t major, minor; // of the whole device; partitions follow
    uint32_t minors;      // numbers reserved for device and partitions; those beyond get major 259.
                          // 0: the device, too; 1: no partitions
    uint32_t queue_depth; // requests that the driver can have at a time in a queue
    uint32_t queue_count; // fixed at creation
    uint32_t queues_used; // the first of them; block.copy: one
    struct block_queue *queues;
    void *driver_data;
    uint32_t refcount;                 // atomic
    uint32_t dead;                     // new requests are refused with -ENODEV; atomic
    struct block_scheduler *scheduler; // NULL until one was chosen; then until the end
    bool scheduling;                   // it gets new requests
    struct timer restart;              // when the scheduler lets something go again
    struct mutex lock;                 // volumes, scheduler
    struct block_volume *volume[1 + BLOCK_PARTITIONS_MAX]; // [0]: the device; under lock
    struct list_node node;                                 // list of all devices
    void *file_data;                                       // kernel/block/file's
};

// Per-queue numbers of a volume, under that queue's lock: /proc/diskstats.
struct block_statistics {
    uint64_t requests[BLOCK_OPERATIONS], merges[BLOCK_OPERATIONS], sectors[BLOCK_OPERATIONS],
        time_ns[BLOCK_OPERATIONS];
    int64_t in_flight;
};

// A device, or a partition of it.
struct block_volume {
    struct block_device *device;
    uint32_t partition; // 0: the whole device
    uint32_t major, minor;
    uint64_t start_sector;
    uint64_t sector_count; // atomic words: a resize changes them
    bool read_only;
    char name[BLOCK_NAME_BYTES];
    uint32_t refcount;                   // atomic
    char uuid[37];                       // of a GPT partition, or ""
    char label[37 * 3];                  // its name, UTF-8
    struct block_statistics *statistics; // [queue_count]
    void *file_data;                     // kernel/block/file's: page cache, /sys
    struct list_node holders;            // mounts and exclusive openers
};

// ---- for drivers: task context, may sleep unless said otherwise ----

// A device with its queues, one reference; the driver fills in name, limits, sector_count, major,
// minor, minors, queue_depth, driver_data and each queue's driver_data, then registers it.
// queue_count 0: one a CPU. NULL: no memory.
struct block_device *block_device_create(const struct block_device_ops *ops, uint32_t queue_count);
// Makes it known, reads its partition table (so the device must work), makes its nodes. 0, -ENOMEM,
// -EEXIST, -EINVAL (limits).
[[nodiscard]] int block_device_register(struct block_device *device);
// Takes it away, also while it is in use: refuses new requests, fails those that wait, waits until
// the driver has completed what it started (a driver whose hardware is gone completes them with
// -EIO from poll or from a call of block_queue_interrupt() before), then drops the driver's
// reference. Files that are open get -ENODEV.
void block_device_unregister(struct block_device *device);
// The device has broken: from now on every request fails with -EIO. Does not touch what the driver
// has started. Any context but NMI, no queue locked.
void block_device_fail(struct block_device *device);
// The device has another size now; partitions stay.
void block_device_resize(struct block_device *device, uint64_t sector_count);
void block_device_get(struct block_device *device);
void block_device_put(struct block_device *device);
// "vd", 27 → "vdab".
void block_device_letters(char *name, const char *prefix, uint32_t index);
// The queue that CPU `cpu` submits to: the driver directs the queue's interrupt to one of its CPUs.
static inline struct block_queue *block_queue_of_cpu(struct block_device *device, uint32_t cpu)
{
    uint32_t index = cpu;
    if (unlikely(index >= device->queues_used))
        index %= device->queues_used;
    return &device->queues[index];
}
// The device may have finished something: called by the driver's interrupt handler (interrupts
// off), or by anybody else without locks. Polls, starts what waits, ends what is finished.
void block_queue_interrupt(struct block_queue *queue);
// The same, soon: for who has found out under the lock of another queue. Any context but NMI.
void block_queue_look_soon(struct block_queue *queue);
// From ops->queue and ops->poll only: the driver is done with a request that it was given. error: 0
// or -errno.
void block_request_complete(struct block_request *request, int error);

// ---- for users ----

// A request with room for `segments` segments (1..block_volume_segments_max()); the caller sets end
// and context. `flags` BLOCK_*. allocation: PAGE_ALLOC_*. NULL: no memory.
struct block_request *block_request_create(struct block_volume *volume,
    enum block_operation operation, uint64_t sector, uint32_t segments, uint16_t flags,
    uint32_t allocation);
void block_request_free(struct block_request *request);
// Adds memory behind what it has, joining it to the last segment where it is contiguous. false: the
// device's limits or the capacity don't allow it in this request. phys and len fulfil the
// alignment.
[[nodiscard]] bool block_request_add(
    struct block_request *request, uint64_t phys, uint32_t len_bytes);
// For operations without memory: how many sectors they are about; at most what limits say.
static inline void block_request_set_sectors(struct block_request *request, uint32_t sectors)
{
    request->sector_count = sectors;
    request->total_sectors = sectors;
}

// Hands a request over; its end() will be called, perhaps before this returns. Range and read-only
// are checked here: they end with -EIO, -EROFS, -ENODEV, -EOPNOTSUPP. Any context but NMI and under
// a queue's lock.
void block_submit(struct block_request *request);

// Several requests that belong together: they are merged where they are neighbours, and the device
// is notified once. A plug lives on the stack; nothing of it starts before block_plug_end(), so
// don't wait for its requests before.
struct block_plug {
    struct list_node requests;
    uint32_t count;
};
void block_plug_begin(struct block_plug *plug);
void block_plug_add(struct block_plug *plug, struct block_request *request);
void block_plug_end(struct block_plug *plug);

// Submits and waits; the request is the caller's again. request->error is also returned. Task
// context. `end` and `context` are used by it.
[[nodiscard]] int block_execute(struct block_request *request);
// Waits actively until *pending is 0, if that is likely to be shorter than sleeping and being woken
// (measured), or in any case (`must`). False: sleep.
bool block_volume_wait_poll(struct block_volume *volume, const uint32_t *pending, bool must);
// While waiting for something that a request of this volume brings: takes what the queue of the
// running CPU has finished. True if it was anything.
bool block_volume_poll(struct block_volume *volume);
// One operation from or to kernel memory (direct map), or without (NULL) for flush, discard, zeroes
// (any number of sectors). Task context. 0 or -errno.
[[nodiscard]] int block_transfer(struct block_volume *volume, enum block_operation operation,
    uint64_t sector, void *buffer, uint64_t sectors, uint16_t flags);

static inline uint64_t block_volume_sectors(const struct block_volume *volume)
{
    return __atomic_load_n(&volume->sector_count, __ATOMIC_RELAXED);
}
static inline uint64_t block_volume_bytes(const struct block_volume *volume)
{
    return block_volume_sectors(volume) << BLOCK_SECTOR_SHIFT;
}
static inline const struct block_limits *block_volume_limits(const struct block_volume *volume)
{
    return &volume->device->limits;
}
bool block_volume_is_read_only(const struct block_volume *volume);
// By device number, with a reference; NULL: none.
struct block_volume *block_volume_get_by_number(uint32_t major, uint32_t minor);
void block_volume_get(struct block_volume *volume);
void block_volume_put(struct block_volume *volume);
// Sum of all queues.
void block_volume_statistics(
    struct block_volume *volume, struct block_statistics *sum, uint64_t *busy_ns);
// Devices in order of registration, with their references; NULL: first, and end.
struct block_device *block_device_next_get(struct block_device *device);

// Told about volumes as they come and go (device nodes, /sys); set once at start-up, before the
// first device. Task context, device->lock held.
extern int (*block_volume_added)(struct block_volume *volume);
extern void (*block_volume_removed)(struct block_volume *volume);
extern void (*block_volume_resized)(struct block_volume *volume);
// Fair scheduling among those who use the device, or none. 0 or -ENOMEM.
[[nodiscard]] int block_device_schedule(struct block_device *device, bool fair);
// Reads the partition table again. -EBUSY: a partition is in use.
[[nodiscard]] int block_device_scan(struct block_device *device);

// Every byte that an I/O path copies between two places in memory (page cache and user, bounce
// buffers); what a ram disk moves is not counted, there it is the device.
COUNTER_DECLARE(io, copied_bytes);
