// SPDX-License-Identifier: MIT
// Stream connections of AF_VSOCK: states and credit. Theory in flow.h.
#include "kernel/net/vsock/flow.h"

#include "kernel/base/assert.h"

#include <linux/errno.h>

#define BOTH_ENDS (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

// The peer hears of room when it believes that less than this is left.
#define LOW_BYTES (UINT32_C(64) << 10)

static_assert(sizeof(struct virtio_vsock_hdr) == 44);

bool vsock_header_is_valid(const struct virtio_vsock_hdr *header, uint32_t packet_bytes)
{
    return packet_bytes >= sizeof(*header) && header->len <= packet_bytes - sizeof(*header) &&
           (header->len == 0 || header->op == VIRTIO_VSOCK_OP_RW) &&
           header->op != VIRTIO_VSOCK_OP_INVALID && header->op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST;
}

static void promise(struct vsock_flow *flow)
{
    uint32_t until = flow->forwarded_bytes + flow->buffer_bytes;
    if ((int32_t)(until - flow->promised_bytes) > 0)
        flow->promised_bytes = until;
}

void vsock_flow_init(struct vsock_flow *flow, uint32_t buffer_bytes)
{
    assert(buffer_bytes <= VSOCK_BUFFER_BYTES_MAX);
    *flow = (struct vsock_flow){.buffer_bytes = buffer_bytes};
}

void vsock_flow_connect(struct vsock_flow *flow)
{
    assert(flow->state == VSOCK_CLOSED);
    vsock_flow_init(flow, flow->buffer_bytes);
    flow->state = VSOCK_CONNECTING;
}

static void note_credit(struct vsock_flow *flow, const struct virtio_vsock_hdr *header)
{
    flow->peer_buffer_bytes = header->buf_alloc;
    flow->peer_forwarded_bytes = header->fwd_cnt;
}

void vsock_flow_accept(struct vsock_flow *flow, const struct virtio_vsock_hdr *request)
{
    assert(flow->state == VSOCK_CLOSED);
    flow->state = VSOCK_OPEN;
    note_credit(flow, request);
}

void vsock_flow_end(struct vsock_flow *flow, int error)
{
    assert(error >= 0);
    bool is_orderly = flow->state == VSOCK_OPEN && error == 0;
    flow->state = is_orderly ? VSOCK_OVER : VSOCK_CLOSED;
    flow->error = error;
    if (is_orderly)
        flow->peer_end = BOTH_ENDS;
}

static struct vsock_verdict receive_connecting(
    struct vsock_flow *flow, const struct virtio_vsock_hdr *header)
{
    if (header->op == VIRTIO_VSOCK_OP_RESPONSE) {
        flow->state = VSOCK_OPEN;
        note_credit(flow, header);
        return (struct vsock_verdict){.changes = VSOCK_OPENED};
    }
    bool is_refused = header->op == VIRTIO_VSOCK_OP_RST;
    vsock_flow_end(flow, is_refused ? ECONNRESET : EPROTO);
    return (struct vsock_verdict){.changes = VSOCK_ENDED,
        .reply = is_refused ? VIRTIO_VSOCK_OP_INVALID : VIRTIO_VSOCK_OP_RST};
}

static struct vsock_verdict receive_data(struct vsock_flow *flow, uint32_t len_bytes)
{
    if (len_bytes > flow->promised_bytes - flow->received_bytes) {
        // 5.10.6.3: more than there is room for.
        vsock_flow_end(flow, EPROTO);
        return (struct vsock_verdict){.changes = VSOCK_ENDED, .reply = VIRTIO_VSOCK_OP_RST};
    }
    flow->received_bytes += len_bytes;
    if (!(flow->own_end & VIRTIO_VSOCK_SHUTDOWN_RCV))
        return (struct vsock_verdict){.changes = len_bytes != 0 ? VSOCK_DELIVER : 0};
    // Nobody will read it. The peer goes on until it hears of that.
    bool is_told = vsock_flow_forward(flow, len_bytes);
    return (struct vsock_verdict){
        .reply = is_told ? VIRTIO_VSOCK_OP_CREDIT_UPDATE : VIRTIO_VSOCK_OP_INVALID};
}

static struct vsock_verdict receive_shutdown(struct vsock_flow *flow, uint32_t flags)
{
    flow->peer_end |= flags & BOTH_ENDS;
    struct vsock_verdict verdict = {.changes = VSOCK_SHUT};
    // 5.10.6.6: both directions are shut down; answered when nothing is left to be read.
    if (flow->peer_end == BOTH_ENDS && vsock_flow_queued(flow) == 0) {
        vsock_flow_end(flow, 0);
        verdict.changes |= VSOCK_ENDED;
        verdict.reply = VIRTIO_VSOCK_OP_RST;
    }
    return verdict;
}

static struct vsock_verdict receive_open(
    struct vsock_flow *flow, const struct virtio_vsock_hdr *header)
{
    struct vsock_verdict verdict = {};
    uint32_t room_before = vsock_flow_room(flow);
    if (header->op == VIRTIO_VSOCK_OP_RST) {
        vsock_flow_end(flow, 0);
        return (struct vsock_verdict){.changes = VSOCK_SHUT | VSOCK_ENDED};
    }
    note_credit(flow, header);
    if (header->op == VIRTIO_VSOCK_OP_RW)
        verdict = receive_data(flow, header->len);
    else if (header->op == VIRTIO_VSOCK_OP_SHUTDOWN)
        verdict = receive_shutdown(flow, header->flags);
    else if (header->op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
        verdict.reply = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    if (vsock_flow_room(flow) > room_before)
        verdict.changes |= VSOCK_ROOM;
    return verdict;
}

struct vsock_verdict vsock_flow_receive(
    struct vsock_flow *flow, const struct virtio_vsock_hdr *header)
{
    assert(flow->state != VSOCK_LISTENING);
    if (flow->state == VSOCK_CONNECTING)
        return receive_connecting(flow, header);
    if (flow->state == VSOCK_OPEN)
        return receive_open(flow, header);
    bool is_reset = header->op == VIRTIO_VSOCK_OP_RST;
    return (struct vsock_verdict){
        .reply = is_reset ? VIRTIO_VSOCK_OP_INVALID : VIRTIO_VSOCK_OP_RST};
}

uint32_t vsock_flow_room(const struct vsock_flow *flow)
{
    // The peer may have made its buffer smaller, or say what cannot be: then there is none.
    uint32_t under_way_bytes = flow->sent_bytes - flow->peer_forwarded_bytes;
    return under_way_bytes < flow->peer_buffer_bytes ? flow->peer_buffer_bytes - under_way_bytes
                                                     : 0;
}

uint32_t vsock_flow_send(struct vsock_flow *flow, uint32_t wanted_bytes)
{
    assert(flow->state == VSOCK_OPEN);
    uint32_t len_bytes = MIN(wanted_bytes, vsock_flow_room(flow));
    flow->sent_bytes += len_bytes;
    return len_bytes;
}

bool vsock_flow_forward(struct vsock_flow *flow, uint32_t len_bytes)
{
    assert(len_bytes <= vsock_flow_queued(flow));
    flow->forwarded_bytes += len_bytes;
    if (flow->state != VSOCK_OPEN || flow->forwarded_bytes == flow->told_bytes)
        return false;
    // Seldom: when the peer believes that little is left, and then not for every few bytes.
    uint32_t unheard_bytes = flow->forwarded_bytes - flow->told_bytes;
    uint32_t used_bytes = flow->received_bytes - flow->told_bytes;
    uint32_t left_bytes = used_bytes < flow->buffer_bytes ? flow->buffer_bytes - used_bytes : 0;
    return left_bytes <= MIN(LOW_BYTES, flow->buffer_bytes / 2) &&
           (unheard_bytes >= flow->buffer_bytes / 4 || vsock_flow_queued(flow) == 0);
}

bool vsock_flow_resize(struct vsock_flow *flow, uint32_t buffer_bytes)
{
    assert(buffer_bytes <= VSOCK_BUFFER_BYTES_MAX);
    bool is_other = flow->buffer_bytes != buffer_bytes;
    flow->buffer_bytes = buffer_bytes;
    return is_other && flow->state == VSOCK_OPEN;
}

void vsock_flow_fill(struct vsock_flow *flow, struct virtio_vsock_hdr *header)
{
    promise(flow);
    flow->told_bytes = flow->forwarded_bytes;
    header->type = VIRTIO_VSOCK_TYPE_STREAM;
    header->buf_alloc = flow->buffer_bytes;
    header->fwd_cnt = flow->forwarded_bytes;
}

bool vsock_flow_is_valid(const struct vsock_flow *flow)
{
    return flow->buffer_bytes <= VSOCK_BUFFER_BYTES_MAX &&
           flow->promised_bytes - flow->told_bytes <= VSOCK_BUFFER_BYTES_MAX &&
           flow->received_bytes - flow->told_bytes <= flow->promised_bytes - flow->told_bytes &&
           flow->forwarded_bytes - flow->told_bytes <= flow->received_bytes - flow->told_bytes &&
           (flow->own_end | flow->peer_end | BOTH_ENDS) == BOTH_ENDS && flow->error >= 0;
}
