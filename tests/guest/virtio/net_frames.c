// SPDX-License-Identifier: MIT
//
// Claim: frames go out of a network card and come in, whole, with AF_PACKET sockets of both kinds;
// the card's settings can be read and changed. Method: QEMU's own network answers ARP requests for
// 10.0.2.2, whoever asks; several hundred are sent, some from memory in pieces, and each answer is
// checked.
#include "tests/guest/check.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define REQUESTS 300
#define WAIT_MS  2000

struct arp {
    uint16_t hardware, protocol;
    uint8_t hardware_len, protocol_len;
    uint16_t operation;
    uint8_t sender[6], sender_ip[4], target[6], target_ip[4];
} __attribute__((packed));

struct frame {
    struct ethhdr header;
    struct arp arp;
    uint8_t padding[60 - sizeof(struct ethhdr) - sizeof(struct arp)];
} __attribute__((packed));

static struct ifreq request = {.ifr_name = "eth0"};
static uint8_t own[6];
static int ifindex;

static struct frame question(uint8_t last)
{
    struct frame frame = {.header.h_proto = htons(ETH_P_ARP),
        .arp = {.hardware = htons(1),
            .protocol = htons(ETH_P_IP),
            .hardware_len = 6,
            .protocol_len = 4,
            .operation = htons(1),
            .sender_ip = {10, 0, 2, last},
            .target_ip = {10, 0, 2, 2}}};
    memset(frame.header.h_dest, 0xff, 6);
    memcpy(frame.header.h_source, own, 6);
    memcpy(frame.arp.sender, own, 6);
    return frame;
}

static bool is_answer(const struct arp *arp, uint8_t last)
{
    static const uint8_t gateway[4] = {10, 0, 2, 2};
    return arp->operation == htons(2) && memcmp(arp->sender_ip, gateway, 4) == 0 &&
           memcmp(arp->target, own, 6) == 0 && arp->target_ip[3] == last;
}

static bool wait_for(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, WAIT_MS) == 1;
}

// A domain's card appears when its back end has connected.
static void wait_for_card(int fd)
{
    for (int i = 0; i < 600 && ioctl(fd, SIOCGIFINDEX, &request) != 0; i++)
        usleep(100000);
}

static void settings(int fd)
{
    OK(ioctl(fd, SIOCGIFINDEX, &request));
    ifindex = request.ifr_ifindex;
    OK(ioctl(fd, SIOCGIFHWADDR, &request));
    memcpy(own, request.ifr_hwaddr.sa_data, 6);
    static const uint8_t expected[6] = {0x52, 0x54, 0, 0xab, 0xcd, 0xef};
    CHECK(memcmp(own, expected, 6) == 0);
    OK(ioctl(fd, SIOCGIFMTU, &request));
    CHECK_EQ(request.ifr_mtu, 1500);
    request.ifr_mtu = 20;
    ERR(EINVAL, ioctl(fd, SIOCSIFMTU, &request));
    request.ifr_mtu = 1400;
    OK(ioctl(fd, SIOCSIFMTU, &request));
    OK(ioctl(fd, SIOCGIFFLAGS, &request));
    CHECK((request.ifr_flags & IFF_UP) == 0);
    struct ifreq nobody = {.ifr_name = "eth7"};
    ERR(ENODEV, ioctl(fd, SIOCGIFINDEX, &nobody));
}

static void up(int fd)
{
    request.ifr_flags = IFF_UP | IFF_PROMISC;
    OK(ioctl(fd, SIOCSIFFLAGS, &request));
    OK(ioctl(fd, SIOCGIFFLAGS, &request));
    CHECK((request.ifr_flags & (IFF_UP | IFF_PROMISC | IFF_RUNNING)) ==
          (IFF_UP | IFF_PROMISC | IFF_RUNNING));
}

static int open_socket(int type)
{
    int fd = (int)MUST(socket(AF_PACKET, type, htons(ETH_P_ARP)));
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = ifindex};
    OK(bind(fd, (struct sockaddr *)&link, sizeof(link)));
    return fd;
}

static void raw_frames(int fd)
{
    int right = 0;
    for (int i = 0; i < REQUESTS; i++) {
        struct frame frame = question((uint8_t)(20 + i % 200)), answer = {};
        struct iovec pieces[] = {
            {&frame, 5}, {(char *)&frame + 5, 20}, {(char *)&frame + 25, sizeof(frame) - 25}};
        ssize_t sent = i % 2 == 0 ? send(fd, &frame, sizeof(frame), 0) : writev(fd, pieces, 3);
        if (sent != sizeof(frame) || !wait_for(fd)) {
            break;
        }
        struct sockaddr_ll from = {};
        socklen_t len = sizeof(from);
        ssize_t got = recvfrom(fd, &answer, sizeof(answer), 0, (struct sockaddr *)&from, &len);
        right += got >= (ssize_t)(sizeof(struct ethhdr) + sizeof(struct arp)) &&
                 is_answer(&answer.arp, (uint8_t)(20 + i % 200)) && from.sll_ifindex == ifindex &&
                 from.sll_pkttype == PACKET_HOST && from.sll_protocol == htons(ETH_P_ARP);
    }
    CHECK_EQ(right, REQUESTS);
    ERR(EAGAIN, recv(fd, own, 1, MSG_DONTWAIT));
    static char large[2000];
    ERR(EMSGSIZE, send(fd, large, sizeof(large), 0));
    ERR(EINVAL, send(fd, large, 5, 0));
    ERR(EOPNOTSUPP, listen(fd, 1));
}

static void datagrams(int fd)
{
    struct frame frame = question(99);
    struct arp answer = {};
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ARP),
        .sll_ifindex = ifindex,
        .sll_halen = 6};
    memset(to.sll_addr, 0xff, 6);
    CHECK(sendto(fd, &frame.arp, sizeof(frame.arp), 0, (struct sockaddr *)&to, sizeof(to)) ==
          sizeof(frame.arp));
    CHECK(wait_for(fd));
    CHECK(recv(fd, &answer, sizeof(answer), MSG_PEEK) == sizeof(answer));
    memset(&answer, 0, sizeof(answer));
    struct iovec piece = {&answer, 10};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    CHECK(recvmsg(fd, &message, 0) == 10);
    CHECK((message.msg_flags & MSG_TRUNC) != 0);
    CHECK(answer.operation == htons(2));
}

int main(void)
{
    int control = (int)MUST(socket(AF_PACKET, SOCK_RAW, 0));
    wait_for_card(control);
    settings(control);
    int raw = open_socket(SOCK_RAW);
    struct frame frame = question(9);
    ERR(ENETDOWN, send(raw, &frame, sizeof(frame), 0));
    up(control);
    raw_frames(raw);
    struct tpacket_stats statistics = {};
    socklen_t len = sizeof(statistics);
    OK(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, &statistics, &len));
    CHECK_EQ(statistics.tp_packets, REQUESTS);
    CHECK_EQ(statistics.tp_drops, 0);
    close(raw);
    int datagram = open_socket(SOCK_DGRAM);
    datagrams(datagram);
    close(datagram);
    request.ifr_flags = 0;
    OK(ioctl(control, SIOCSIFFLAGS, &request));
    up(control);
    raw = open_socket(SOCK_RAW);
    raw_frames(raw);
    close(raw);
    close(control);
    return check_done();
}
