// SPDX-License-Identifier: MIT
// A stream connection between the two ends of AF_VSOCK, as pure code: its states, and how much each
// end may send (virtio 1.2, section 5.10.6). Nothing here sends, waits or locks.
//
// Theory. Each packet says how large its sender's buffer is (buf_alloc) and how many bytes the
// sender's program has taken out of it so far (fwd_cnt). With the number of bytes sent so far the
// other end knows how much room is left. All three are counts modulo 2^32.
//
// The peer is not trusted: whatever it says changes its own connection alone, and never lets it
// have more bytes queued here than it was promised.
//
// Invariants (vsock_flow_is_valid()):
//   V1  received_bytes - forwarded_bytes is what is queued; it never exceeds
//       VSOCK_BUFFER_BYTES_MAX
//   V2  received_bytes is not past promised_bytes, the furthest that the peer was ever allowed to
//       go: a smaller buffer takes no promise back
//   V3  nothing is sent or queued unless the connection is VSOCK_OPEN
//   V4  a reset is never answered with a reset
//
// Context: any; the caller's lock.
#pragma once

#include "kernel/base/types.h"

#include <linux/virtio_vsock.h>

#define VSOCK_BUFFER_BYTES_MAX (UINT32_C(16) << 20) // what a program can have promised
#define VSOCK_BUFFER_BYTES     (UINT32_C(256) << 10)

enum vsock_state : uint8_t {
    VSOCK_CLOSED,
    VSOCK_LISTENING,
    VSOCK_CONNECTING, // a request is under way
    VSOCK_OPEN,
    VSOCK_OVER, // was open; what is queued can still be read
};

struct vsock_flow {
    enum vsock_state state;
    uint8_t own_end, peer_end;  // VIRTIO_VSOCK_SHUTDOWN_*: what either end has shut down
    int error;                  // why it failed, a positive errno, until a program is told
    uint32_t buffer_bytes;      // own
    uint32_t received_bytes;    // from the peer, ever
    uint32_t forwarded_bytes;   // of these to the program
    uint32_t told_bytes;        // forwarded_bytes as the peer last heard it
    uint32_t promised_bytes;    // received_bytes may go as far
    uint32_t sent_bytes;        // to the peer, ever
    uint32_t peer_buffer_bytes; // as it last said
    uint32_t peer_forwarded_bytes;
};

// What a packet leads to.
enum {
    VSOCK_DELIVER = BIT(0), // its payload is to be queued
    VSOCK_OPENED = BIT(1),  // the connection has come about
    VSOCK_ROOM = BIT(2),    // the peer can take more
    VSOCK_SHUT = BIT(3),    // the peer has shut down something
    VSOCK_ENDED = BIT(4),   // the connection has failed or is over: the peer is to be forgotten
};
struct vsock_verdict {
    uint32_t changes;
    uint16_t reply; // VIRTIO_VSOCK_OP_*; VIRTIO_VSOCK_OP_INVALID: none
};

// A packet of `packet_bytes` in all, which begins with this header: is it one, with all of its
// payload? Its type may still be one that is not supported.
[[nodiscard]] bool vsock_header_is_valid(
    const struct virtio_vsock_hdr *header, uint32_t packet_bytes);

void vsock_flow_init(struct vsock_flow *flow, uint32_t buffer_bytes);
// A request goes out to the peer.
void vsock_flow_connect(struct vsock_flow *flow);
// The peer's request, which is answered with VIRTIO_VSOCK_OP_RESPONSE: the flow, which is new, is
// open.
void vsock_flow_accept(struct vsock_flow *flow, const struct virtio_vsock_hdr *request);
// A valid header of a stream packet from the peer, for a flow that does not listen.
struct vsock_verdict vsock_flow_receive(
    struct vsock_flow *flow, const struct virtio_vsock_hdr *header);

// Bytes that the peer has room for.
uint32_t vsock_flow_room(const struct vsock_flow *flow);
// Takes up to `wanted_bytes` of the peer's room for a packet that will be sent; how many.
[[nodiscard]] uint32_t vsock_flow_send(struct vsock_flow *flow, uint32_t wanted_bytes);
// The program has taken out bytes of the queue. True: the peer is to be told
// (VIRTIO_VSOCK_OP_CREDIT_UPDATE).
[[nodiscard]] bool vsock_flow_forward(struct vsock_flow *flow, uint32_t len_bytes);
// A buffer of another size, up to VSOCK_BUFFER_BYTES_MAX. True: the peer is to be told.
[[nodiscard]] bool vsock_flow_resize(struct vsock_flow *flow, uint32_t buffer_bytes);
// Ends the connection with `error`; 0: in order.
void vsock_flow_end(struct vsock_flow *flow, int error);
// What each packet to the peer carries. Packets go out in the order of these calls.
void vsock_flow_fill(struct vsock_flow *flow, struct virtio_vsock_hdr *header);

// Bytes that are queued.
static inline uint32_t vsock_flow_queued(const struct vsock_flow *flow)
{
    return flow->received_bytes - flow->forwarded_bytes;
}
bool vsock_flow_is_valid(const struct vsock_flow *flow);
