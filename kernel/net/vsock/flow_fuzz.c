// SPDX-License-Identifier: MIT
// A hostile peer: any headers, at any moment. No more is ever queued than was promised, a reset is
// not answered with one, and a connection that is over stays so.

#include "kernel/base/assert.h"
#include "kernel/net/vsock/flow.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint32_t next(struct input *input, uint32_t bytes)
{
    uint32_t value = 0;
    while (bytes-- != 0 && input->at < input->end)
        value = value << 8 | *input->at++;
    return value;
}

static void peer_sends(struct vsock_flow *flow, struct input *input)
{
    struct virtio_vsock_hdr header = {.op = (uint16_t)(next(input, 1) % 9),
        .len = next(input, 1),
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .flags = next(input, 1),
        .buf_alloc = next(input, 4),
        .fwd_cnt = next(input, 4)};
    header.len <<= next(input, 1) % 25;
    if (!vsock_header_is_valid(&header, (uint32_t)sizeof(header) + next(input, 4) / 2))
        return;
    enum vsock_state before = flow->state;
    uint32_t queued_before = vsock_flow_queued(flow);
    struct vsock_verdict verdict = vsock_flow_receive(flow, &header);
    assert(header.op != VIRTIO_VSOCK_OP_RST || verdict.reply != VIRTIO_VSOCK_OP_RST);
    if (before != VSOCK_OPEN && before != VSOCK_CONNECTING)
        assert(flow->state == before && verdict.changes == 0);
    if (verdict.changes & VSOCK_DELIVER)
        assert(vsock_flow_queued(flow) == queued_before + header.len);
    else
        assert(vsock_flow_queued(flow) == queued_before);
    assert(!(verdict.changes & VSOCK_ENDED) || flow->state != VSOCK_OPEN);
    if (verdict.reply != VIRTIO_VSOCK_OP_INVALID)
        vsock_flow_fill(flow, &header);
}

static void program_acts(struct vsock_flow *flow, struct input *input, uint32_t action)
{
    struct virtio_vsock_hdr header = {};
    bool is_told = false;
    if (action == 0 && flow->state == VSOCK_OPEN) {
        uint32_t room = vsock_flow_room(flow), wanted = next(input, 3);
        assert(vsock_flow_send(flow, wanted) == MIN(room, wanted));
        is_told = true;
    } else if (action == 1) {
        is_told = vsock_flow_forward(flow, MIN(next(input, 3), vsock_flow_queued(flow)));
    } else if (action == 2) {
        is_told = vsock_flow_resize(flow, next(input, 4) % (VSOCK_BUFFER_BYTES_MAX + 1));
    } else if (action == 3) {
        flow->own_end |= next(input, 1) & VIRTIO_VSOCK_SHUTDOWN_RCV;
    } else if (action == 4 && flow->state == VSOCK_CLOSED) {
        vsock_flow_connect(flow);
        is_told = true;
    }
    if (is_told)
        vsock_flow_fill(flow, &header);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input input = {bytes, bytes + size};
    struct vsock_flow flow;
    struct virtio_vsock_hdr header = {.op = VIRTIO_VSOCK_OP_REQUEST};
    vsock_flow_init(&flow, next(&input, 3) % (VSOCK_BUFFER_BYTES_MAX + 1));
    if (next(&input, 1) & 1)
        vsock_flow_accept(&flow, &header);
    else
        vsock_flow_connect(&flow);
    vsock_flow_fill(&flow, &header);
    while (input.at < input.end) {
        uint32_t action = next(&input, 1) % 10;
        if (action >= 5)
            peer_sends(&flow, &input);
        else
            program_acts(&flow, &input, action);
        assert(vsock_flow_is_valid(&flow));
    }
    return 0;
}
