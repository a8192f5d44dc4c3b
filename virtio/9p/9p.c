// SPDX-License-Identifier: MIT
// Folders of the host: virtio's 9P transport (device id 9; the configuration is struct
// virtio_9p_config of linux/virtio_9p.h).
//
// One queue. A request is one buffer: the message and the data that it carries, then room for the
// answer and its data, wherever they lie. Requests for which the ring has no room wait in `waiting`
// until something comes back.

#include "virtio/9p/9p.h"

#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/fs/9p/transport.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/virtio_9p.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#define QUEUE_SIZE   128
#define SEGMENTS_MAX (P9_PIECES_MAX + 2)

COUNTER(virtio, p9_requests);

struct share {
    struct p9_transport transport;
    struct virtio_device *device;
    struct spinlock lock;     // what follows, and the ring; taken with interrupts off
    struct list_node waiting; // requests that found no room
    char tag[P9_TAG_NAME_MAX + 1];
};

// Into the ring, not yet published. 0, -ENOSPC, -EIO.
static int add(struct share *share, struct p9_request *request)
{
    struct virtio_segment segments[SEGMENTS_MAX];
    uint32_t readable = 0, count = 0;
    segments[count++] =
        (struct virtio_segment){virt_to_phys(request->message), request->message_bytes};
    for (uint32_t i = 0; !request->pieces_are_reply && i < request->piece_count; i++)
        segments[count++] =
            (struct virtio_segment){request->pieces[i].phys, request->pieces[i].len_bytes};
    readable = count;
    segments[count++] = (struct virtio_segment){virt_to_phys(request->reply), request->reply_size};
    for (uint32_t i = 0; request->pieces_are_reply && i < request->piece_count; i++)
        segments[count++] =
            (struct virtio_segment){request->pieces[i].phys, request->pieces[i].len_bytes};

    struct virtio_indirect indirect = {.capacity = count};
    if (virtio_has_feature(share->device, VIRTIO_RING_F_INDIRECT_DESC))
        indirect.table =
            kmalloc(count * sizeof(struct vring_desc), PAGE_ALLOC_ATOMIC); // else: descriptors
    if (indirect.table != NULL)
        indirect.address = virt_to_phys(indirect.table);
    request->transport_data = indirect.table;
    const int error = virtio_ring_add(&share->device->queues[0].ring, segments, readable,
        count - readable, request, indirect.table != NULL ? &indirect : NULL);
    if (error != 0) {
        kfree(indirect.table);
        request->transport_data = NULL;
    }
    return error;
}

// Sends what waits, as far as there is room. Under the lock.
static void send_waiting(struct share *share)
{
    while (!list_is_empty(&share->waiting)) {
        struct p9_request *request = list_entry(share->waiting.next, struct p9_request, node);
        if (add(share, request) != 0)
            break;
        list_remove(&request->node);
        counter_add(virtio, p9_requests, 1);
    }
    virtio_queue_commit(&share->device->queues[0]);
}

static int submit(struct p9_transport *transport, struct p9_request *request)
{
    struct share *share = container_of(transport, struct share, transport);
    int error = 0;
    const uint64_t flags = spin_lock_irqsave(&share->lock);
    if (virtio_device_is_broken(share->device)) {
        error = -EIO;
    } else {
        list_add_tail(&share->waiting, &request->node);
        send_waiting(share);
    }
    spin_unlock_irqrestore(&share->lock, flags);
    return error;
}

// The requests of a list are over.
static void finish(struct list_node *list)
{
    while (!list_is_empty(list)) {
        struct p9_request *request = list_entry(list->next, struct p9_request, node);
        list_remove(&request->node);
        kfree(request->transport_data);
        request->done(request);
    }
}

static void used(struct virtio_queue *queue)
{
    struct share *share = queue->context;
    struct list_node finished = LIST_INIT(finished);
    void *token;
    uint32_t written_bytes;
    const uint64_t flags = spin_lock_irqsave(&share->lock);
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            struct p9_request *request = token;
            request->reply_bytes = written_bytes;
            list_add_tail(&finished, &request->node);
        }
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
    if (!virtio_device_is_broken(share->device))
        send_waiting(share);
    spin_unlock_irqrestore(&share->lock, flags);
    finish(&finished);
}

static void broken(struct virtio_device *device)
{
    struct share *share = device->driver_data;
    struct list_node failed = LIST_INIT(failed);
    struct p9_request *request;
    const uint64_t flags = spin_lock_irqsave(&share->lock);
    while ((request = virtio_ring_outstanding(&device->queues[0].ring)) != NULL)
        list_add_tail(&failed, &request->node);
    while (!list_is_empty(&share->waiting)) {
        request = list_entry(share->waiting.next, struct p9_request, node);
        list_remove(&request->node);
        list_add_tail(&failed, &request->node);
    }
    spin_unlock_irqrestore(&share->lock, flags);
    list_for_each_entry (request, &failed, node)
        request->error = -EIO;
    finish(&failed);
}

// The tag of the configuration space: 0, or -EINVAL: none that could be used.
static int read_tag(struct virtio_device *device, char *tag)
{
    if (!virtio_has_feature(device, VIRTIO_9P_MOUNT_TAG))
        return -EINVAL;
    const uint64_t len = virtio_config_field(device, struct virtio_9p_config, tag_len);
    if (len == 0 || len > P9_TAG_NAME_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < len; i++) {
        tag[i] = (char)virtio_config_read(
            device, (uint32_t)offsetof(struct virtio_9p_config, tag) + i, 1);
        if (tag[i] == 0)
            return -EINVAL;
    }
    tag[len] = 0;
    return 0;
}

static int probe(struct virtio_device *device)
{
    struct share *share = kzalloc(sizeof(*share));
    if (share == NULL)
        return -ENOMEM;
    spin_lock_init(&share->lock);
    list_init(&share->waiting);
    share->device = device;
    int error = read_tag(device, share->tag);
    if (error != 0)
        log_error("%s: a shared folder without a usable tag", device->name);
    struct virtio_queue_setup setup = {.size_max = QUEUE_SIZE, .used = used, .context = share};
    if (error == 0)
        error = virtio_queues_create(device, &setup, 1);
    if (error != 0) {
        kfree(share);
        return error;
    }
    share->transport = (struct p9_transport){.tag = share->tag, .submit = submit};
    device->driver_data = share;
    virtio_device_ready(device);
    p9_transport_register(&share->transport);
    log_info("%s: shared folder \"%s\"", device->name, share->tag);
    return 0;
}

const struct virtio_driver virtio_9p_driver = {
    .name = "virtio-9p",
    .type = VIRTIO_ID_9P,
    .features = BIT(VIRTIO_9P_MOUNT_TAG),
    .probe = probe,
    .broken = broken,
};
