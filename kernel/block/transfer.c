// SPDX-License-Identifier: MIT
// I/O of the kernel itself, one thing at a time, and waiting for it.
#include "kernel/base/assert.h"
#include "kernel/block/internal.h"
#include "kernel/core/errno.h"
#include "mm/page.h"

static void executed(struct block_request *request)
{
    completion_complete(request->context);
}

int block_execute(struct block_request *request)
{
    struct completion completion;
    completion_init(&completion);
    request->end = executed;
    request->context = &completion;
    request->flags |= BLOCK_SYNC;
    block_submit(request);
    completion_wait(&completion);
    return request->error;
}

// One request of at most what the device does at a time. Sectors done or -errno.
static int64_t transfer_piece(struct block_volume *volume, enum block_operation operation,
    uint64_t sector, char *buffer, uint64_t sectors, uint16_t flags)
{
    const struct block_limits *limits = &volume->device->limits;
    const uint32_t segments = buffer != NULL ? limits->max_segments : 0;
    struct block_request *request =
        block_request_create(volume, operation, sector, MIN(segments, 64u), flags, 0);
    if (request == NULL)
        return -ENOMEM;
    uint64_t done = 0;
    if (buffer == NULL && operation != BLOCK_FLUSH) {
        const uint32_t most = operation == BLOCK_DISCARD ? limits->max_discard_sectors
                                                         : limits->max_write_zeroes_sectors;
        done = MIN(sectors, MAX(most, 1u));
        block_request_set_sectors(request, (uint32_t)done);
    }
    while (buffer != NULL && done < sectors) {
        char *at = buffer + (done << BLOCK_SECTOR_SHIFT);
        const uint64_t in_page = PAGE_SIZE - (uintptr_t)at % PAGE_SIZE;
        const uint64_t piece = MIN(in_page, (sectors - done) << BLOCK_SECTOR_SHIFT);
        if (!block_request_add(request, virt_to_phys(at), (uint32_t)piece))
            break;
        done += piece >> BLOCK_SECTOR_SHIFT;
    }
    int error = block_execute(request);
    block_request_free(request);
    return error != 0 ? error : (int64_t)done;
}

int block_transfer(struct block_volume *volume, enum block_operation operation, uint64_t sector,
    void *buffer, uint64_t sectors, uint16_t flags)
{
    assert((buffer != NULL) == (operation == BLOCK_READ || operation == BLOCK_WRITE));
    if (operation == BLOCK_FLUSH && !volume->device->limits.write_cache)
        return 0;
    do {
        int64_t done = transfer_piece(volume, operation, sector, buffer, sectors, flags);
        if (done < 0)
            return (int)done;
        sector += (uint64_t)done;
        sectors -= MIN(sectors, (uint64_t)done);
        if (buffer != NULL)
            buffer = (char *)buffer + ((uint64_t)done << BLOCK_SECTOR_SHIFT);
    } while (sectors != 0);
    return 0;
}
