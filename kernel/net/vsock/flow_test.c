// SPDX-License-Identifier: MIT
// Connections of AF_VSOCK: which packets there are, what each leads to in each state, that no end
// has more under way than was promised, and that two ends which talk never stand still.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <linux/errno.h>

#include "kernel/net/vsock/flow.h"

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static struct virtio_vsock_hdr packet(uint16_t op, uint32_t len)
{
    return (struct virtio_vsock_hdr){
        .type = VIRTIO_VSOCK_TYPE_STREAM, .op = op, .len = len, .buf_alloc = 1000};
}

static struct vsock_verdict receive(struct vsock_flow *flow, uint16_t op, uint32_t len)
{
    struct virtio_vsock_hdr header = packet(op, len);
    struct vsock_verdict verdict = vsock_flow_receive(flow, &header);
    assert_true(vsock_flow_is_valid(flow));
    return verdict;
}

static void expect(struct vsock_verdict verdict, uint32_t changes, uint16_t reply)
{
    assert_int_equal(verdict.changes, changes);
    assert_int_equal(verdict.reply, reply);
}

static struct vsock_flow open_flow(uint32_t buffer_bytes)
{
    struct vsock_flow flow;
    struct virtio_vsock_hdr out = {}, request = packet(VIRTIO_VSOCK_OP_REQUEST, 0);
    vsock_flow_init(&flow, buffer_bytes);
    vsock_flow_accept(&flow, &request);
    vsock_flow_fill(&flow, &out);
    assert_int_equal(out.buf_alloc, buffer_bytes);
    assert_int_equal(flow.state, VSOCK_OPEN);
    return flow;
}

static void headers(void **state)
{
    (void)state;
    const uint32_t header_bytes = sizeof(struct virtio_vsock_hdr);
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, 10);
    assert_true(vsock_header_is_valid(&header, header_bytes + 10));
    assert_true(vsock_header_is_valid(&header, header_bytes + 11));
    assert_false(vsock_header_is_valid(&header, header_bytes + 9));
    assert_false(vsock_header_is_valid(&header, header_bytes - 1));
    assert_false(vsock_header_is_valid(&header, 0));
    header.len = UINT32_MAX;
    assert_false(vsock_header_is_valid(&header, header_bytes + 9));
    for (uint16_t op = 0; op < 20; op++) {
        bool is_known = op >= VIRTIO_VSOCK_OP_REQUEST && op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST;
        header = packet(op, 0);
        assert_int_equal(vsock_header_is_valid(&header, header_bytes), is_known);
        header.len = 1; // a payload is for data alone
        assert_int_equal(
            vsock_header_is_valid(&header, header_bytes + 1), op == VIRTIO_VSOCK_OP_RW);
    }
}

static void connecting(void **state)
{
    (void)state;
    struct vsock_flow flow;
    struct virtio_vsock_hdr out = {};
    vsock_flow_init(&flow, 4096);
    vsock_flow_connect(&flow);
    vsock_flow_fill(&flow, &out);
    struct vsock_flow refused = flow, confused = flow;
    expect(receive(&flow, VIRTIO_VSOCK_OP_RESPONSE, 0), VSOCK_OPENED, 0);
    assert_int_equal(flow.state, VSOCK_OPEN);
    assert_int_equal(vsock_flow_room(&flow), 1000);
    // A second answer changes nothing.
    expect(receive(&flow, VIRTIO_VSOCK_OP_RESPONSE, 0), 0, 0);

    expect(receive(&refused, VIRTIO_VSOCK_OP_RST, 0), VSOCK_ENDED, 0);
    assert_int_equal(refused.state, VSOCK_CLOSED);
    assert_int_equal(refused.error, ECONNRESET);
    expect(receive(&refused, VIRTIO_VSOCK_OP_RST, 0), 0, 0);
    expect(receive(&refused, VIRTIO_VSOCK_OP_RW, 5), 0, VIRTIO_VSOCK_OP_RST);

    expect(receive(&confused, VIRTIO_VSOCK_OP_RW, 5), VSOCK_ENDED, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(confused.error, EPROTO);
    // And may be tried again.
    vsock_flow_connect(&confused);
    assert_int_equal(confused.error, 0);
}

static void credit(void **state)
{
    (void)state;
    struct vsock_flow flow = open_flow(4096);
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    assert_int_equal(vsock_flow_send(&flow, 600), 600);
    assert_int_equal(vsock_flow_send(&flow, 600), 400);
    assert_int_equal(vsock_flow_send(&flow, 600), 0);
    header.fwd_cnt = 1;
    expect(vsock_flow_receive(&flow, &header), VSOCK_ROOM, 0);
    assert_int_equal(vsock_flow_send(&flow, 600), 1);
    // A smaller buffer than is under way, and one that took out what was never sent.
    header.buf_alloc = 10;
    expect(vsock_flow_receive(&flow, &header), 0, 0);
    assert_int_equal(vsock_flow_room(&flow), 0);
    header.buf_alloc = 1000;
    header.fwd_cnt = 5000;
    expect(vsock_flow_receive(&flow, &header), 0, 0);
    assert_int_equal(vsock_flow_room(&flow), 0);
    expect(receive(&flow, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0), 0, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    // Counts go round.
    flow.sent_bytes = 5;
    flow.peer_forwarded_bytes = UINT32_MAX - 994; // 1000 are under way
    header.fwd_cnt = UINT32_MAX - 4;
    expect(vsock_flow_receive(&flow, &header), VSOCK_ROOM, 0);
    assert_int_equal(vsock_flow_room(&flow), 990);
}

static void promises(void **state)
{
    (void)state;
    struct vsock_flow flow = open_flow(4096);
    struct virtio_vsock_hdr out = {};
    expect(receive(&flow, VIRTIO_VSOCK_OP_RW, 4096), VSOCK_DELIVER, 0);
    expect(receive(&flow, VIRTIO_VSOCK_OP_RW, 0), 0, 0);
    // A smaller buffer: what was promised before may still come, and nothing else.
    assert_false(vsock_flow_forward(&flow, 96)); // too little to speak of
    assert_true(vsock_flow_forward(&flow, 1000));
    vsock_flow_fill(&flow, &out);
    assert_int_equal(out.fwd_cnt, 1096);
    assert_true(vsock_flow_resize(&flow, 256));
    vsock_flow_fill(&flow, &out);
    struct vsock_flow greedy = flow;
    expect(receive(&flow, VIRTIO_VSOCK_OP_RW, 1096), VSOCK_DELIVER, 0);
    expect(receive(&greedy, VIRTIO_VSOCK_OP_RW, 1097), VSOCK_ENDED, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(greedy.state, VSOCK_CLOSED);
    assert_int_equal(greedy.error, EPROTO);
    expect(receive(&flow, VIRTIO_VSOCK_OP_RW, 1), VSOCK_ENDED, VIRTIO_VSOCK_OP_RST);
    // A queue that was emptied is told of, however small.
    struct vsock_flow small = open_flow(1);
    expect(receive(&small, VIRTIO_VSOCK_OP_RW, 1), VSOCK_DELIVER, 0);
    assert_true(vsock_flow_forward(&small, 1));
}

static void ends(void **state)
{
    (void)state;
    struct vsock_flow flow = open_flow(4096), unread;
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 0);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND | 0x80;
    expect(vsock_flow_receive(&flow, &header), VSOCK_SHUT, 0);
    assert_int_equal(flow.peer_end, VIRTIO_VSOCK_SHUTDOWN_SEND);
    unread = flow;
    expect(receive(&unread, VIRTIO_VSOCK_OP_RW, 7), VSOCK_DELIVER, 0);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_RCV;
    expect(vsock_flow_receive(&flow, &header), VSOCK_SHUT | VSOCK_ENDED, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(flow.state, VSOCK_OVER);
    expect(vsock_flow_receive(&unread, &header), VSOCK_SHUT, 0);
    assert_int_equal(unread.state, VSOCK_OPEN);
    expect(receive(&unread, VIRTIO_VSOCK_OP_RST, 0), VSOCK_SHUT | VSOCK_ENDED, 0);
    assert_int_equal(unread.state, VSOCK_OVER);
    assert_int_equal(unread.peer_end, BOTH);
    assert_int_equal(vsock_flow_queued(&unread), 7);
    assert_false(vsock_flow_forward(&unread, 7)); // there is nobody to tell

    // What nobody reads any more is dropped, and still counted.
    struct vsock_flow deaf = open_flow(4096);
    deaf.own_end = VIRTIO_VSOCK_SHUTDOWN_RCV;
    expect(receive(&deaf, VIRTIO_VSOCK_OP_RW, 4000), 0, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(vsock_flow_queued(&deaf), 0);
}

// ---- two ends -----------------------------------------------------------------------------------

#define CHANNEL_PACKETS 64

struct end {
    struct vsock_flow flow;
    struct virtio_vsock_hdr channel[CHANNEL_PACKETS]; // to this end, oldest first
    uint32_t first, last;
    uint64_t delivered_bytes, sent_bytes;
};

static void put(struct end *from, struct end *to, uint16_t op, uint32_t len)
{
    struct virtio_vsock_hdr header = packet(op, len);
    vsock_flow_fill(&from->flow, &header);
    assert_true(to->last - to->first < CHANNEL_PACKETS);
    to->channel[to->last++ % CHANNEL_PACKETS] = header;
}

static void get(struct end *to, struct end *from)
{
    struct virtio_vsock_hdr *header = &to->channel[to->first++ % CHANNEL_PACKETS];
    struct vsock_verdict verdict = vsock_flow_receive(&to->flow, header);
    assert_true(vsock_flow_is_valid(&to->flow));
    assert_int_equal(to->flow.state, VSOCK_OPEN);
    if (verdict.changes & VSOCK_DELIVER)
        to->delivered_bytes += header->len;
    if (verdict.reply != VIRTIO_VSOCK_OP_INVALID)
        put(to, from, verdict.reply, 0);
}

static void step(struct end *own, struct end *other, uint32_t total_bytes)
{
    uint32_t choice = (uint32_t)rand();
    bool has_place = other->last - other->first < CHANNEL_PACKETS / 2;
    if (choice % 3 == 0 && own->first != own->last) {
        get(own, other);
    } else if (choice % 3 == 1 && has_place) {
        uint32_t left = total_bytes - (uint32_t)own->sent_bytes;
        uint32_t len = vsock_flow_send(&own->flow, MIN(left, 1 + (choice >> 8) % 3000));
        own->sent_bytes += len;
        if (len != 0)
            put(own, other, VIRTIO_VSOCK_OP_RW, len);
    } else if (has_place) {
        uint32_t queued = vsock_flow_queued(&own->flow);
        if (vsock_flow_forward(&own->flow, MIN(queued, (choice >> 8) % 4000)))
            put(own, other, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    }
}

static void two_ends(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    unsigned int seed = given != NULL ? (unsigned int)atoi(given) : 1;
    printf("SEED=%u\n", seed);
    srand(seed);
    for (int round = 0; round < 200; round++) {
        static struct end ends[2];
        for (int i = 0; i < 2; i++) {
            uint32_t buffer_bytes = 1 + (uint32_t)rand() % (round % 2 ? 300000 : 3000);
            ends[i] = (struct end){.flow = open_flow(buffer_bytes)};
        }
        for (int i = 0; i < 2; i++) // counts that will go round
            ends[i].flow.sent_bytes = ends[!i].flow.received_bytes = ends[!i].flow.forwarded_bytes =
                ends[!i].flow.told_bytes = UINT32_MAX - 2000;
        for (int i = 0; i < 2; i++) {
            ends[i].flow.promised_bytes = UINT32_MAX - 2000;
            put(&ends[i], &ends[!i], VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
        }
        // Whatever the order, everything arrives.
        uint32_t total_bytes = 20000;
        for (uint32_t steps = 0;
             ends[0].delivered_bytes < total_bytes || ends[1].delivered_bytes < total_bytes;
             steps++) {
            assert_true(steps < 3000000);
            step(&ends[steps & 1], &ends[!(steps & 1)], total_bytes);
        }
        assert_int_equal(ends[0].delivered_bytes, ends[1].sent_bytes);
        assert_int_equal(ends[1].delivered_bytes, ends[0].sent_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(connecting),
        cmocka_unit_test(credit),
        cmocka_unit_test(promises),
        cmocka_unit_test(ends),
        cmocka_unit_test(two_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
