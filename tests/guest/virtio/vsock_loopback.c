// SPDX-License-Identifier: MIT
//
// Claim: stream sockets of AF_VSOCK behave as on Linux: names, connections, what arrives, what
// blocks and what ends, and the numbers that calls fail with. Method: two ends within the machine
// (VMADDR_CID_LOCAL), where both sides of the protocol are this kernel's.
#include "tests/guest/virtio/vsock.h"

#include <sys/epoll.h>

#define PORT 5000

static int listener;
static volatile sig_atomic_t pipe_signals;

static void on_pipe(int number)
{
    (void)number;
    pipe_signals++;
}

// Both ends of a new connection.
static void pair(int *client, int *server)
{
    *client = vsock_socket(0);
    MUST(vsock_connect(*client, VMADDR_CID_LOCAL, PORT));
    *server = (int)MUST(accept(listener, NULL, NULL));
}

static void names(void)
{
    struct sockaddr_vm name = {};
    socklen_t len = sizeof(name);
    int fd = vsock_socket(0), other = vsock_socket(0);
    ERR(ENODEV, socket(AF_VSOCK, SOCK_DGRAM, 0));
    ERR(ESOCKTNOSUPPORT, socket(AF_VSOCK, SOCK_RAW, 0));
    ERR(EPROTONOSUPPORT, socket(AF_VSOCK, SOCK_STREAM, 1));
    ERR(EOPNOTSUPP, socketpair(AF_VSOCK, SOCK_STREAM, 0, (int[2]){}));
    OK(getsockname(fd, (struct sockaddr *)&name, &len));
    CHECK(
        len == sizeof(name) && name.svm_cid == VMADDR_CID_ANY && name.svm_port == VMADDR_PORT_ANY);
    ERR(ENOTCONN, getpeername(fd, (struct sockaddr *)&name, &len));
    ERR(EINVAL, listen(fd, 1)); // it has no name
    ERR(EADDRNOTAVAIL, vsock_bind(fd, 77, PORT));
    name = (struct sockaddr_vm){.svm_family = AF_INET, .svm_port = PORT};
    ERR(EINVAL, bind(fd, (struct sockaddr *)&name, sizeof(name)));
    name = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_port = PORT, .svm_flags = 8};
    ERR(EINVAL, bind(fd, (struct sockaddr *)&name, sizeof(name)));
    ERR(EINVAL, bind(fd, (struct sockaddr *)&name, 8));
    OK(vsock_bind(fd, VMADDR_CID_ANY, PORT + 1));
    ERR(EINVAL, vsock_bind(fd, VMADDR_CID_ANY, PORT + 2));
    ERR(EADDRINUSE, vsock_bind(other, VMADDR_CID_LOCAL, PORT + 1));
    OK(vsock_bind(other, VMADDR_CID_LOCAL, VMADDR_PORT_ANY));
    len = sizeof(name);
    OK(getsockname(other, (struct sockaddr *)&name, &len));
    CHECK(name.svm_cid == VMADDR_CID_LOCAL && name.svm_port >= 1024 &&
          name.svm_port != VMADDR_PORT_ANY);
    ERR(EINVAL, accept(fd, NULL, NULL)); // it does not listen
    ERR(ENOTCONN, send(fd, "a", 1, 0));
    ERR(ENOTCONN, recv(fd, &name, 1, 0));
    ERR(ENOTCONN, shutdown(fd, SHUT_RD));
    ERR(ECONNRESET, vsock_connect(fd, VMADDR_CID_LOCAL, PORT + 9)); // nobody there
    ERR(ECONNRESET, vsock_connect(fd, VMADDR_CID_LOCAL, PORT + 9)); // and may be tried again
    close(fd);
    OK(vsock_bind(vsock_socket(0), VMADDR_CID_LOCAL, PORT + 1)); // free again
    close(other);
}

static void connections(void)
{
    struct sockaddr_vm name = {}, peer = {};
    socklen_t len = sizeof(name);
    int client, server;
    listener = vsock_socket(0);
    OK(vsock_bind(listener, VMADDR_CID_ANY, PORT));
    OK(listen(listener, 2));
    CHECK_EQ(events_of(listener, 0), 0);
    OK(fcntl(listener, F_SETFL, O_NONBLOCK));
    ERR(EAGAIN, accept(listener, NULL, NULL));
    OK(fcntl(listener, F_SETFL, 0));
    ERR(EINVAL, vsock_connect(listener, VMADDR_CID_LOCAL, PORT));
    client = vsock_socket(0);
    OK(vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    ERR(EISCONN, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    CHECK_EQ(events_of(listener, POLLIN), POLLIN);
    server = (int)OK(accept(listener, (struct sockaddr *)&peer, &len));
    OK(getsockname(client, (struct sockaddr *)&name, &len));
    CHECK(peer.svm_port == name.svm_port && peer.svm_cid == VMADDR_CID_LOCAL);
    OK(getpeername(client, (struct sockaddr *)&peer, &len));
    CHECK(peer.svm_port == PORT && peer.svm_cid == VMADDR_CID_LOCAL);
    OK(getsockname(server, (struct sockaddr *)&name, &len));
    CHECK(name.svm_port == PORT && name.svm_cid == VMADDR_CID_LOCAL);
    CHECK_EQ(events_of(client, 0), POLLOUT);
    CHECK_EQ(events_of(server, 0), POLLOUT);
    close(client);
    close(server);

    // More than the queue takes are refused; those in it are there without accept().
    int waiting[3];
    for (int i = 0; i < 3; i++) {
        waiting[i] = vsock_socket(0);
        OK(vsock_connect(waiting[i], VMADDR_CID_LOCAL, PORT));
    }
    client = vsock_socket(0);
    ERR(ECONNRESET, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    OK(send(waiting[0], "early", 5, 0));
    server = (int)OK(accept(listener, NULL, NULL));
    char text[8] = {};
    CHECK_EQ(recv(server, text, sizeof(text), 0), 5);
    CHECK_STR(text, "early");
    close(server);
    CHECK_EQ(recv(waiting[0], text, 1, 0), 0);
    for (int i = 0; i < 3; i++)
        close(waiting[i]);
    close(client);
    for (int i = 0; i < 2; i++)
        close((int)MUST(accept(listener, NULL, NULL)));
}

static void without_waiting(void)
{
    int client = vsock_socket(SOCK_NONBLOCK), server;
    ERR(EINPROGRESS, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    CHECK_EQ(events_of(client, POLLOUT), POLLOUT);
    CHECK_EQ(error_of(client), 0);
    server = (int)MUST(accept(listener, NULL, NULL));
    ERR(EAGAIN, recv(client, &server, 1, 0));
    ERR(EAGAIN, recv(server, &client, 1, MSG_DONTWAIT));
    // As much as the peer has promised, and no more.
    static char bytes[65536];
    size_t sent = 0;
    ssize_t result;
    while ((result = send(client, bytes, sizeof(bytes), 0)) > 0)
        sent += (size_t)result;
    CHECK(result == -1 && errno == EAGAIN);
    CHECK_EQ(sent, 256 * 1024);
    CHECK_EQ(events_of(client, 0), 0);
    CHECK_EQ(events_of(server, POLLIN), POLLIN | POLLOUT);
    while (sent != 0 && (result = recv(server, bytes, sizeof(bytes), 0)) > 0)
        sent -= (size_t)result;
    CHECK_EQ(sent, 0);
    CHECK_EQ(events_of(client, POLLOUT), POLLOUT);
    close(client);
    close(server);

    client = vsock_socket(SOCK_NONBLOCK);
    ERR(EINPROGRESS, vsock_connect(client, VMADDR_CID_LOCAL, PORT + 9));
    CHECK(events_of(client, POLLERR) & POLLERR);
    CHECK_EQ(error_of(client), ECONNRESET);
    CHECK_EQ(error_of(client), 0);
    close(client);
}

// A sender that is faster than what carries its packets is told by epoll when it can go on, also
// where the socket was added before it was connected.
static void full_way(void)
{
    int client = vsock_socket(SOCK_NONBLOCK), server, epoll = (int)MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    char byte = 'e', bytes[4096];
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event));
    ERR(EINPROGRESS, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    server = (int)MUST(accept(listener, NULL, NULL));
    CHECK_EQ(events_of(client, POLLOUT), POLLOUT); // accept() may be first
    for (int sent = 0; sent < 20000;) {
        if (send(client, &byte, 1, 0) == 1)
            sent++;
        else if (!CHECK_QUIET(errno == EAGAIN) ||
                 !CHECK_QUIET(epoll_wait(epoll, &event, 1, 5000) == 1))
            break;
    }
    close(client);
    ssize_t len, got = 0;
    while ((len = recv(server, bytes, sizeof(bytes), 0)) > 0)
        got += len;
    CHECK_EQ(got, 20000);
    close(server);
    close(epoll);
}

static void streams(void)
{
    int client, server;
    char text[16] = {};
    struct timeval limit = {.tv_usec = 20000};
    pair(&client, &server);
    OK(send(client, "hello", 5, 0));
    OK(send(client, "world", 5, 0));
    CHECK_EQ(events_of(server, POLLIN), POLLIN | POLLOUT);
    CHECK_EQ(recv(server, text, 10, MSG_PEEK | MSG_WAITALL) >= 5, true);
    CHECK_EQ(recv(server, text, 10, MSG_WAITALL), 10);
    CHECK_STR(text, "helloworld");
    OK(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    ERR(EAGAIN, recv(server, text, 1, 0));
    ERR(EOPNOTSUPP, recv(server, text, 1, MSG_OOB));
    ERR(EOPNOTSUPP, send(server, text, 1, MSG_OOB));
    struct sockaddr_vm name = {.svm_family = AF_VSOCK};
    ERR(EISCONN, sendto(server, text, 1, 0, (struct sockaddr *)&name, sizeof(name)));
    ERR(EFAULT, send(server, (void *)8, 100, 0));
    OK(send(client, "x", 1, 0));
    ERR(EFAULT, recv(server, (void *)8, 1, 0));
    CHECK_EQ(recv(server, text, 8, 0), 1); // nothing was lost
    CHECK_EQ(send(client, "", 0, 0), 0);

    // Both directions at once, many times what a buffer holds.
    if (fork() == 0) {
        bool good = pattern_receive(server, 0, 3000000) && pattern_send(server, 5, 1000000);
        _exit(!good);
    }
    CHECK(pattern_send(client, 0, 3000000));
    CHECK(pattern_receive(client, 5, 1000000));
    int status;
    MUST(wait(&status));
    CHECK_EQ(status, 0);
    close(client);
    close(server);
}

static void ends(void)
{
    int client, server;
    char byte;
    pair(&client, &server);
    OK(send(client, "z", 1, 0));
    OK(shutdown(client, SHUT_WR));
    ERR(EINVAL, vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    CHECK_EQ(events_of(server, POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQ(recv(server, &byte, 1, 0), 1);
    CHECK_EQ(recv(server, &byte, 1, 0), 0);
    signal(SIGPIPE, on_pipe);
    ERR(EPIPE, send(client, "z", 1, MSG_NOSIGNAL));
    CHECK_EQ(pipe_signals, 0);
    OK(send(server, "y", 1, 0)); // the other direction is there still
    CHECK_EQ(recv(client, &byte, 1, 0), 1);
    close(server);
    CHECK_EQ(recv(client, &byte, 1, 0), 0);
    CHECK_EQ(events_of(client, 0) & (POLLIN | POLLHUP | POLLRDHUP), POLLIN | POLLHUP | POLLRDHUP);
    close(client);

    // A peer that is closed, with and without something to be read.
    for (int unread = 0; unread < 2; unread++) {
        pair(&client, &server);
        OK(send(client, "u", 1, 0));
        if (!unread)
            CHECK_EQ(recv(server, &byte, 1, 0), 1);
        OK(send(server, "v", 1, 0));
        close(server);
        CHECK(events_of(client, POLLRDHUP) & POLLRDHUP);
        CHECK_EQ(recv(client, &byte, 1, 0), 1);
        CHECK_EQ(recv(client, &byte, 1, 0), 0);
        ERR(EPIPE, send(client, "w", 1, MSG_NOSIGNAL));
        close(client);
    }

    // One that waits for room is told of the end.
    pair(&client, &server);
    pid_t sender = fork();
    if (sender == 0) {
        close(server);
        _exit(pattern_send(client, 0, 3000000) || errno != EPIPE);
    }
    CHECK(wait_until_asleep(sender, sender));
    close(server);
    int status;
    MUST(wait(&status));
    CHECK_EQ(status, 0);
    close(client);
    // And one that waits for data.
    pair(&client, &server);
    pid_t reader = fork();
    if (reader == 0) {
        close(server);
        _exit(recv(client, &byte, 1, 0) != 0);
    }
    CHECK(wait_until_asleep(reader, reader));
    OK(shutdown(server, SHUT_RDWR));
    MUST(wait(&status));
    CHECK_EQ(status, 0);
    close(client);
    close(server);
}

static void options(void)
{
    uint64_t bytes = 0;
    socklen_t len = sizeof(bytes);
    struct timeval time = {};
    int fd = vsock_socket(0), device = open("/dev/vsock", O_RDONLY);
    unsigned int cid = 0;
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, &len));
    CHECK_EQ(bytes, 256 * 1024);
    bytes = 1 << 20; // cut to the greatest
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, len));
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, &len));
    CHECK_EQ(bytes, 256 * 1024);
    bytes = 1 << 20;
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &bytes, len));
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, len));
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, &len));
    CHECK_EQ(bytes, 1 << 20);
    bytes = 1;
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, len));
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, &len));
    CHECK_EQ(bytes, 128);
    ERR(EINVAL, setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, 4));
    ERR(ENOPROTOOPT, setsockopt(fd, AF_VSOCK, 99, &bytes, len));
    ERR(ENOPROTOOPT, getsockopt(fd, AF_VSOCK, 99, &bytes, &len));
    ERR(ENOPROTOOPT, setsockopt(fd, SOL_SOCKET + 100, 1, &bytes, len));
    len = sizeof(time);
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, &len));
    CHECK(time.tv_sec == 2 && time.tv_usec == 0);
    time = (struct timeval){.tv_sec = 1, .tv_usec = 500000};
    OK(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, sizeof(time)));
    OK(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, &len));
    CHECK(time.tv_sec == 1 && time.tv_usec == 500000);
    time.tv_usec = 1000000;
    ERR(ERANGE, setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, sizeof(time)));
    OK(ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid));
    CHECK(cid == VMADDR_CID_ANY || cid > VMADDR_CID_HOST);
    ERR(ENOTTY, ioctl(device, 0x1234, &cid));
    close(device);
    close(fd);
}

// A listener's small buffer goes on to what it accepts, and every byte of it is used.
static void small_buffers(void)
{
    uint64_t bytes = 200;
    int client, server, status;
    OK(setsockopt(listener, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof(bytes)));
    pair(&client, &server);
    if (fork() == 0)
        _exit(!pattern_receive(server, 0, 20000));
    CHECK(pattern_send(client, 0, 20000));
    MUST(wait(&status));
    CHECK_EQ(status, 0);
    close(client);
    close(server);
    bytes = 256 * 1024;
    OK(setsockopt(listener, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof(bytes)));
}

// Many connections at once, each with its own echo, through one epoll.
#define MANY       40
#define MANY_BYTES 5000
static void many(void)
{
    int clients[MANY], epoll = (int)MUST(epoll_create1(0)), status;
    OK(listen(listener, MANY));
    pid_t echo = fork();
    if (echo == 0) {
        for (int i = 0; i < MANY; i++) {
            int fd = accept(listener, NULL, NULL);
            if (fork() == 0) {
                char bytes[700];
                ssize_t len;
                while ((len = recv(fd, bytes, sizeof(bytes), 0)) > 0)
                    if (send(fd, bytes, (size_t)len, 0) != len)
                        _exit(1);
                _exit(len != 0);
            }
            close(fd);
        }
        int bad = 0;
        for (int i = 0; i < MANY; i++)
            bad += wait(&status) < 0 || status != 0;
        _exit(bad != 0);
    }
    for (int i = 0; i < MANY; i++) {
        clients[i] = vsock_socket(0);
        MUST(vsock_connect(clients[i], VMADDR_CID_LOCAL, PORT));
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i], &event));
    }
    for (int i = 0; i < MANY; i++)
        CHECK_QUIET(pattern_send(clients[i], (uint64_t)i, MANY_BYTES));
    uint32_t got[MANY] = {}, done = 0;
    struct epoll_event event;
    while (done < MANY && epoll_wait(epoll, &event, 1, 10000) == 1) {
        uint8_t byte[1000];
        uint32_t i = event.data.u32;
        ssize_t len = recv(clients[i], byte, sizeof(byte), 0);
        if (!CHECK_QUIET(len > 0))
            break;
        for (ssize_t at = 0; at < len; at++)
            CHECK_QUIET(byte[at] == pattern(i + got[i]++));
        done += got[i] == MANY_BYTES;
    }
    CHECK_EQ(done, MANY);
    for (int i = 0; i < MANY; i++)
        close(clients[i]);
    MUST(waitpid(echo, &status, 0));
    CHECK_EQ(status, 0);
    close(epoll);
}

int main(void)
{
    names();
    connections();
    without_waiting();
    full_way();
    streams();
    ends();
    options();
    small_buffers();
    many();
    // A listener that goes takes those with it that wait.
    int client = vsock_socket(0);
    char byte;
    OK(vsock_connect(client, VMADDR_CID_LOCAL, PORT));
    close(listener);
    CHECK_EQ(recv(client, &byte, 1, 0), 0);
    return check_done();
}
