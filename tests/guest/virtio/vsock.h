// SPDX-License-Identifier: MIT
//
// Sockets of AF_VSOCK as the tests use them.
#pragma once

#include "tests/guest/check.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>

static inline int vsock_socket(int flags)
{
    return (int)MUST(socket(AF_VSOCK, SOCK_STREAM | flags, 0));
}

static inline int vsock_connect(int fd, unsigned int cid, unsigned int port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static inline int vsock_bind(int fd, unsigned int cid, unsigned int port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

// A byte of a stream that differs from its neighbours', by its place.
static inline uint8_t pattern(uint64_t place)
{
    return (uint8_t)(place * 7 + (place >> 8) * 13 + (place >> 16));
}

// Sends `count` bytes of the pattern, from `place` on, in pieces of changing length.
static inline bool pattern_send(int fd, uint64_t place, uint64_t count)
{
    static uint8_t bytes[40000];
    uint64_t end = place + count, piece = 1;
    while (place < end) {
        uint64_t len = piece < end - place ? piece : end - place;
        for (uint64_t i = 0; i < len; i++)
            bytes[i] = pattern(place + i);
        ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        place += (uint64_t)sent;
        piece = piece * 5 % 39989 + 1;
    }
    return true;
}

// Receives as many and compares.
static inline bool pattern_receive(int fd, uint64_t place, uint64_t count)
{
    static uint8_t bytes[30000];
    uint64_t end = place + count, piece = 1;
    while (place < end) {
        uint64_t len = piece < end - place ? piece : end - place;
        ssize_t got = recv(fd, bytes, len, 0);
        if (got <= 0)
            return false;
        for (ssize_t i = 0; i < got; i++, place++) {
            if (bytes[i] != pattern(place))
                return false;
        }
        piece = piece * 11 % 29989 + 1;
    }
    return true;
}

// The events of a socket, now or, if `wanted` are given, when one of them is there.
static inline int events_of(int fd, int wanted)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    if (wanted != 0) {
        entry.events = (short)wanted;
        (void)poll(&entry, 1, 5000);
        entry.events = POLLIN | POLLOUT | POLLRDHUP;
    }
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

static inline int error_of(int fd)
{
    int error = -1;
    socklen_t len = sizeof(error);
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}
