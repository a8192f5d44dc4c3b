// SPDX-License-Identifier: MIT
//
// The other end of vsock_host.c: an ordinary Linux program, in the host. One service a port, one
// process a connection; ends with its machine.
#include "tests/guest/virtio/vsock_host.h"

static void echo(int fd)
{
    static char bytes[9000];
    ssize_t len;
    while ((len = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t at = 0, sent; at < len; at += sent) {
            sent = send(fd, bytes + at, (size_t)(len - at), MSG_NOSIGNAL);
            if (sent <= 0)
                return;
        }
    }
}

// Calls the guest, and sends what it gets back.
static void call_back(int fd)
{
    int back = vsock_socket(0);
    if (vsock_connect(back, GUEST_CID, PORT_GUEST) == 0)
        echo(back);
    (void)send(fd, "!", 1, MSG_NOSIGNAL);
    close(back);
}

static void serve(int port, int fd)
{
    char byte;
    if (port == PORT_ECHO)
        echo(fd);
    else if (port == PORT_SOURCE)
        (void)pattern_send(fd, 0, SOURCE_BYTES);
    else if (port == PORT_SLOW)
        (void)send(fd, pattern_receive(fd, 0, SLOW_BYTES) ? "+" : "-", 1, MSG_NOSIGNAL);
    else if (port == PORT_LEAVES) // with something unread
        (void)recv(fd, &byte, 1, 0);
    else
        call_back(fd);
}

int main(void)
{
    signal(SIGCHLD, SIG_IGN);
    for (int port = PORT_ECHO; port <= PORT_CALL_BACK; port++) {
        int listener = vsock_socket(0);
        uint64_t bytes = SLOW_BUFFER_BYTES;
        if (port == PORT_SLOW)
            MUST(setsockopt(listener, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof(bytes)));
        MUST(vsock_bind(listener, VMADDR_CID_ANY, (unsigned int)port));
        MUST(listen(listener, 64));
        if (fork() != 0) {
            close(listener);
            continue;
        }
        for (;;) {
            int fd = (int)MUST(accept(listener, NULL, NULL));
            if (fork() == 0) {
                serve(port, fd);
                _exit(0);
            }
            close(fd);
        }
    }
    return 0;
}
