// SPDX-License-Identifier: MIT
//
// Claim: AF_VSOCK reaches the host and the host reaches the guest through virtio-vsock: connections
// of both directions, refused ones, bulk data both ways, a peer with a small buffer, ends.
// Method: against Debian's vhost-vsock in the KVM lab, where the host runs vsock_peer.c.
#include "tests/guest/virtio/vsock_host.h"

#define CONNECTIONS 20
#define ECHO_BYTES  300000

static int connected(unsigned int port)
{
    int fd = vsock_socket(0);
    OK(vsock_connect(fd, VMADDR_CID_HOST, port));
    return fd;
}

static void echo(uint64_t place, uint64_t bytes)
{
    int fd = connected(PORT_ECHO), status;
    pid_t sender = fork();
    if (sender == 0)
        _exit(!pattern_send(fd, place, bytes) || shutdown(fd, SHUT_WR) != 0);
    CHECK(pattern_receive(fd, place, bytes));
    char byte;
    CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    MUST(waitpid(sender, &status, 0));
    CHECK_EQ(status, 0);
    close(fd);
}

static void addresses(void)
{
    int device = open("/dev/vsock", O_RDONLY), fd;
    unsigned int cid = 0;
    struct sockaddr_vm name = {};
    socklen_t len = sizeof(name);
    OK(ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid));
    CHECK_EQ(cid, GUEST_CID);
    close(device);
    fd = connected(PORT_ECHO);
    OK(getpeername(fd, (struct sockaddr *)&name, &len));
    CHECK(name.svm_cid == VMADDR_CID_HOST && name.svm_port == PORT_ECHO);
    close(fd);
    fd = vsock_socket(0);
    OK(vsock_bind(fd, GUEST_CID, VMADDR_PORT_ANY));
    ERR(ECONNRESET, vsock_connect(fd, VMADDR_CID_HOST, PORT_NOBODY));
    close(fd);
    fd = vsock_socket(SOCK_NONBLOCK);
    ERR(EINPROGRESS, vsock_connect(fd, VMADDR_CID_HOST, PORT_NOBODY));
    CHECK(events_of(fd, POLLERR) & POLLERR);
    CHECK_EQ(error_of(fd), ECONNRESET);
    close(fd);
    // Another machine's address: the host does not hand that on, nobody answers.
    struct timeval time = {.tv_usec = 100000};
    fd = vsock_socket(0);
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, sizeof(time)));
    CHECK(vsock_connect(fd, 77, PORT_ECHO) == -1 && (errno == ETIMEDOUT || errno == ECONNRESET));
    close(fd);
}

static void bulk(void)
{
    int fd = connected(PORT_SOURCE);
    char byte;
    CHECK(pattern_receive(fd, 0, SOURCE_BYTES));
    CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    ERR(EPIPE, send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
    fd = connected(PORT_SLOW);
    CHECK(pattern_send(fd, 0, SLOW_BYTES));
    CHECK_EQ(recv(fd, &byte, 1, 0), 1);
    CHECK_EQ(byte, '+');
    close(fd);
}

static void ends(void)
{
    int fd = connected(PORT_LEAVES);
    char byte;
    OK(send(fd, "several", 7, MSG_NOSIGNAL));
    CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    CHECK(events_of(fd, POLLRDHUP) & POLLRDHUP);
    ERR(EPIPE, send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
    // Closed with what the peer still sends.
    fd = connected(PORT_SOURCE);
    CHECK_EQ(recv(fd, &byte, 1, 0), 1);
    close(fd);
}

static void called_back(void)
{
    struct sockaddr_vm peer = {};
    socklen_t len = sizeof(peer);
    char byte;
    int listener = vsock_socket(0), fd;
    OK(vsock_bind(listener, VMADDR_CID_ANY, PORT_GUEST));
    OK(listen(listener, 1));
    int call = connected(PORT_CALL_BACK);
    fd = (int)OK(accept(listener, (struct sockaddr *)&peer, &len));
    CHECK_EQ(peer.svm_cid, VMADDR_CID_HOST);
    OK(getsockname(fd, (struct sockaddr *)&peer, &len));
    CHECK(peer.svm_cid == GUEST_CID && peer.svm_port == PORT_GUEST);
    CHECK(pattern_send(fd, 3, 20000));
    CHECK(pattern_receive(fd, 3, 20000));
    OK(shutdown(fd, SHUT_WR));
    CHECK_EQ(recv(call, &byte, 1, 0), 1);
    CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    close(fd);
    close(call);
    close(listener);
    // Now nobody listens, and the host is told so.
    call = connected(PORT_CALL_BACK);
    CHECK_EQ(recv(call, &byte, 1, 0), 1);
    close(call);
}

int main(void)
{
    addresses();
    echo(0, ECHO_BYTES);
    bulk();
    ends();
    called_back();
    // Several at once.
    for (int i = 0; i < CONNECTIONS; i++) {
        if (fork() == 0) {
            check_failures = 0;
            echo((uint64_t)i, 5000);
            _exit(check_failures != 0);
        }
    }
    int status, bad = 0;
    for (int i = 0; i < CONNECTIONS; i++)
        bad += wait(&status) < 0 || status != 0;
    CHECK_EQ(bad, 0);
    return check_done();
}
