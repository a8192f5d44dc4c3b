// SPDX-License-Identifier: MIT
// The control queue of virtio-net (virtio 1.2, 5.1.6.5): one command at a time, waited for.

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "mm/page.h"
#include "sched/sched.h"
#include "virtio/net/internal.h"

#include <linux/errno.h>

#define DATA_OFFSET   16
#define ANSWER_OFFSET 2048
#define ANSWER_NONE   0xff
#define TIMEOUT_NS    (1000 * NS_PER_MS)
#define NAP_NS        (100 * NS_PER_US)

int net_card_command(
    struct net_card *card, uint8_t class, uint8_t command, const void *data, uint32_t len_bytes)
{
    assert(len_bytes <= ANSWER_OFFSET - DATA_OFFSET);
    if (card->control == NULL || virtio_device_is_broken(card->device))
        return -EOPNOTSUPP;
    uint8_t *page = card->control_page;
    uint64_t address = virt_to_phys(page);
    struct virtio_ring *ring = &card->control->ring;
    page[0] = class;
    page[1] = command;
    memcpy(page + DATA_OFFSET, data, len_bytes);
    page[ANSWER_OFFSET] = ANSWER_NONE;
    struct virtio_segment segments[] = {
        {address, 2}, {address + DATA_OFFSET, len_bytes}, {address + ANSWER_OFFSET, 1}};
    if (virtio_ring_add(ring, segments, 2, 1, card, NULL) != 0)
        return -EIO;
    virtio_queue_commit(card->control);
    uint64_t deadline_ns = time_monotonic_ns() + TIMEOUT_NS;
    while (!virtio_ring_has_used(ring)) {
        if (time_monotonic_ns() > deadline_ns) {
            // The page stays the device's.
            virtio_device_break(card->device, "its control queue does not answer");
            return -EIO;
        }
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        (void)sched_block(time_monotonic_ns() + NAP_NS);
    }
    void *token;
    uint32_t written_bytes;
    if (virtio_queue_take(card->control, &token, &written_bytes) != 1)
        return -EIO;
    return atomic_load_relaxed(&page[ANSWER_OFFSET]) == VIRTIO_NET_OK ? 0 : -EIO;
}
