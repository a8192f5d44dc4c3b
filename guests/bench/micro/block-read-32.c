// SPDX-License-Identifier: MIT
//
// Direct reads of 4 KiB blocks of a disk with 32 requests under way all the time, by Linux' AIO
// calls.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 32u

struct queue {
    struct disk disk;
    aio_context_t context;
    struct iocb requests[DEPTH];
    uint32_t numbers[DEPTH]; // of the blocks
    char *blocks;
    unsigned right;
};

// Sends off reads into the `count` slots that are named.
static void submit(struct queue *queue, const unsigned *slots, unsigned count)
{
    struct iocb *batch[DEPTH];
    for (unsigned i = 0; i < count; i++) {
        unsigned slot = slots[i];
        queue->numbers[slot] = disk_next(&queue->disk);
        queue->requests[slot] = (struct iocb){
            .aio_data = slot,
            .aio_lio_opcode = IOCB_CMD_PREAD,
            .aio_fildes = (uint32_t)queue->disk.file,
            .aio_buf = (uintptr_t)queue->blocks + (size_t)slot * DISK_BLOCK_BYTES,
            .aio_nbytes = DISK_BLOCK_BYTES,
            .aio_offset = (int64_t)queue->numbers[slot] * DISK_BLOCK_BYTES,
        };
        batch[i] = &queue->requests[slot];
    }
    for (unsigned done = 0; done < count;) {
        long taken = syscall(SYS_io_submit, queue->context, (long)(count - done), batch + done);
        if (taken <= 0) {
            bench_fail("io_submit");
        }
        done += (unsigned)taken;
    }
}

// Waits for what is finished. Returns how many; their slots are in `slots`.
static unsigned await(struct queue *queue, unsigned *slots)
{
    struct io_event events[DEPTH];
    long got =
        syscall(SYS_io_getevents, queue->context, 1l, (long)DEPTH, events, (struct timespec *)NULL);
    if (got <= 0) {
        bench_fail("io_getevents");
    }
    for (long i = 0; i < got; i++) {
        unsigned slot = (unsigned)events[i].data % DEPTH;
        char *block = queue->blocks + (size_t)slot * DISK_BLOCK_BYTES;
        queue->right +=
            events[i].res == DISK_BLOCK_BYTES && disk_holds(block, queue->numbers[slot]);
        memset(block, 0, sizeof(uint64_t));
        slots[i] = slot;
    }
    return (unsigned)got;
}

static void run(unsigned count)
{
    static struct queue queue;
    unsigned slots[DEPTH], started = DEPTH, finished = 0;

    memset(&queue, 0, sizeof(queue));
    disk_open(&queue.disk);
    if (syscall(SYS_io_setup, DEPTH, &queue.context) != 0) {
        bench_unsupported("io_setup");
    }
    queue.blocks = disk_buffer(DEPTH);
    count = count > DEPTH ? count : DEPTH;
    for (unsigned i = 0; i < DEPTH; i++) {
        slots[i] = i;
    }
    uint64_t start_ns = bench_now_ns();
    submit(&queue, slots, DEPTH);
    while (finished < count) {
        unsigned got = await(&queue, slots);
        finished += got;
        unsigned more = count - started < got ? count - started : got;
        if (more > 0) {
            submit(&queue, slots, more);
        }
        started += more;
    }
    uint64_t duration_ns = bench_now_ns() - start_ns;
    bench_require(queue.right == count, "what was read");
    syscall(SYS_io_destroy, queue.context);
    free(queue.blocks);
    disk_close(&queue.disk);
    bench_value((double)count * 1e9 / (double)(duration_ns > 0 ? duration_ns : 1));
}

BENCHMARK = {
    .name = "block-read-32",
    .group = "block",
    .what = "Random blocks of 4 KiB read from a disk with O_DIRECT and Linux' AIO calls, 32 "
            "requests at a time.",
    .omits = "Caches of this kernel; those of the host are warm. The check of the contents is in "
             "it.",
    .unit = "requests/s",
    .more_is_better = true,
    .disk = DISK_SIZE,
    .count = 2000,
    .run = run,
};
