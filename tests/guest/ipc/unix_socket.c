// SPDX-License-Identifier: MIT
//
// Claim: AF_UNIX sockets do what unix(7) says: pairs and named ones (paths, abstract names,
// autobind), streams, datagrams and records, end of file, resets and SIGPIPE, peek, truncation,
// waiting for all, time limits, passed files and credentials, poll, and errors.
// Method: each call's result; contents; a stream of 8 MiB between processes.
#include "tests/guest/check.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int pair[2];

static void make_pair(int type)
{
    MUST(socketpair(AF_UNIX, type, 0, pair));
}

static void close_pair(void)
{
    close(pair[0]);
    close(pair[1]);
}

static struct sockaddr_un path_name(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    return name;
}

static int events(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    poll(&one, 1, 0);
    return one.revents;
}

// ---- streams -----------------------------------------------------------------------------------

static void stream(void)
{
    char buffer[32] = {0};
    int bytes;
    make_pair(SOCK_STREAM);
    OK(write(pair[0], "hello ", 6));
    OK(write(pair[0], "world", 5));
    CHECK_EQ(ioctl(pair[1], FIONREAD, &bytes), 0);
    CHECK_EQ(bytes, 11);
    CHECK_EQ(recv(pair[1], buffer, 8, MSG_PEEK), 8);
    CHECK_EQ(recv(pair[1], buffer, 3, 0), 3);
    CHECK_EQ(recv(pair[1], buffer, sizeof(buffer), 0), 8);
    CHECK_STR(buffer, "lo world");
    ERR(EAGAIN, recv(pair[1], buffer, 1, MSG_DONTWAIT));
    CHECK_EQ(events(pair[1]), POLLOUT);
    OK(write(pair[0], "x", 1));
    CHECK_EQ(events(pair[1]), POLLIN | POLLOUT);
    CHECK_EQ(shutdown(pair[0], SHUT_WR), 0);
    CHECK_EQ(read(pair[1], buffer, 8), 1);
    CHECK_EQ(read(pair[1], buffer, 8), 0);
    CHECK_EQ(events(pair[1]), POLLIN | POLLOUT | POLLRDHUP);
    OK(write(pair[1], "back", 4));
    CHECK_EQ(read(pair[0], buffer, 8), 4);
    signal(SIGPIPE, SIG_IGN);
    ERR(EPIPE, write(pair[0], "x", 1));
    OK(write(pair[1], "unread", 6));
    close(pair[0]);
    ERR(ECONNRESET, read(pair[1], buffer, 8));
    CHECK_EQ(read(pair[1], buffer, 8), 0);
    ERR(EPIPE, send(pair[1], "x", 1, MSG_NOSIGNAL));
    CHECK_EQ(events(pair[1]) & (POLLHUP | POLLIN), POLLHUP | POLLIN);
    close(pair[1]);
}

static void *writer(void *argument)
{
    int fd = *(int *)argument;
    for (int i = 0; i < 4; i++) {
        usleep(2000);
        write(fd, "part", 4);
    }
    return NULL;
}

static void wait_for_all(void)
{
    char buffer[16];
    pthread_t thread;
    make_pair(SOCK_STREAM);
    pthread_create(&thread, NULL, writer, &pair[0]);
    CHECK_EQ(recv(pair[1], buffer, 16, MSG_WAITALL), 16);
    pthread_join(thread, NULL);
    struct timeval limit = {.tv_usec = 20000}, got;
    socklen_t len = sizeof(got);
    CHECK_EQ(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    CHECK_EQ(getsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &got, &len), 0);
    CHECK_EQ(got.tv_usec, 20000);
    ERR(EAGAIN, recv(pair[1], buffer, 1, 0));
    close_pair();
}

static void much(void)
{
    enum { TOTAL = 8 << 20, PIECE = 50000 };
    static unsigned char buffer[PIECE];
    make_pair(SOCK_STREAM);
    pid_t child = fork();
    if (child == 0) {
        close(pair[1]);
        for (long at = 0; at < TOTAL;) {
            long len = TOTAL - at < PIECE ? TOTAL - at : PIECE;
            for (long i = 0; i < len; i++)
                buffer[i] = (unsigned char)((at + i) * 31 >> 3);
            long sent = write(pair[0], buffer, (size_t)len);
            if (sent <= 0)
                _exit(1);
            at += sent;
        }
        _exit(0);
    }
    close(pair[0]);
    long at = 0, wrong = 0, got;
    while ((got = read(pair[1], buffer, PIECE)) > 0) {
        for (long i = 0; i < got; i++)
            wrong += buffer[i] != (unsigned char)((at + i) * 31 >> 3);
        at += got;
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQ(at, TOTAL);
    CHECK_EQ(wrong, 0);
    CHECK_EQ(status, 0);
    close(pair[1]);
}

// ---- datagrams and records ---------------------------------------------------------------------

static void records(int type)
{
    char buffer[16] = {0};
    struct iovec piece = {buffer, 3};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    make_pair(type);
    OK(send(pair[0], "first", 5, 0));
    OK(send(pair[0], "", 0, 0));
    OK(send(pair[0], "third", 5, 0));
    CHECK_EQ(recvmsg(pair[1], &message, 0), 3);
    CHECK(message.msg_flags == MSG_TRUNC);
    CHECK_EQ(recv(pair[1], buffer, sizeof(buffer), 0), 0);
    CHECK_EQ(recv(pair[1], buffer, 2, MSG_TRUNC | MSG_PEEK), 5);
    CHECK_EQ(recv(pair[1], buffer, sizeof(buffer), 0), 5);
    CHECK_STR(buffer, "third");
    ERR(EAGAIN, recv(pair[1], buffer, sizeof(buffer), MSG_DONTWAIT));
    close(pair[1]);
    ERR(type == SOCK_DGRAM ? ECONNREFUSED : EPIPE, send(pair[0], "x", 1, MSG_NOSIGNAL));
    close(pair[0]);
}

static void named_datagrams(void)
{
    struct sockaddr_un server_name = path_name("server"), client_name = path_name("client"), from;
    socklen_t len = sizeof(from);
    char buffer[16] = {0};
    int server = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)),
        client = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    CHECK_EQ(bind(server, (struct sockaddr *)&server_name, sizeof(server_name)), 0);
    ERR(EINVAL, bind(server, (struct sockaddr *)&client_name, sizeof(client_name)));
    ERR(EADDRINUSE, bind(client, (struct sockaddr *)&server_name, sizeof(server_name)));
    ERR(ENOTCONN, send(client, "x", 1, 0));
    CHECK_EQ(
        sendto(client, "nobody", 6, 0, (struct sockaddr *)&server_name, sizeof(server_name)), 6);
    CHECK_EQ(recvfrom(server, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &len), 6);
    CHECK_EQ(len, 0);
    CHECK_EQ(bind(client, (struct sockaddr *)&client_name, sizeof(client_name)), 0);
    CHECK_EQ(connect(client, (struct sockaddr *)&server_name, sizeof(server_name)), 0);
    CHECK_EQ(send(client, "named", 5, 0), 5);
    len = sizeof(from);
    CHECK_EQ(recvfrom(server, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &len), 5);
    CHECK_EQ(len, 9);
    CHECK_STR(from.sun_path, "client");
    CHECK_EQ(sendto(server, "reply", 5, 0, (struct sockaddr *)&from, len), 5);
    CHECK_EQ(recv(client, buffer, sizeof(buffer), 0), 5);
    struct stat status;
    CHECK_EQ(stat("server", &status), 0);
    CHECK(S_ISSOCK(status.st_mode));
    ERR(ENXIO, open("server", O_RDWR));
    close(server);
    ERR(ECONNREFUSED, send(client, "x", 1, 0));
    ERR(ECONNREFUSED, connect(client, (struct sockaddr *)&server_name, sizeof(server_name)));
    ERR(ENOENT, unlink("nothing"));
    OK(unlink("server"));
    ERR(ENOENT, connect(client, (struct sockaddr *)&server_name, sizeof(server_name)));
    close(client);
}

// ---- connections -------------------------------------------------------------------------------

static void *connector(void *argument)
{
    int fd = *(int *)argument;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0hidden"};
    usleep(20000);
    return (void *)(long)connect(fd, (struct sockaddr *)&name, 2 + 7);
}

static void connections(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0hidden"}, other;
    socklen_t len = sizeof(other);
    char buffer[8];
    pthread_t thread;
    void *result;
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0)),
        second = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(ECONNREFUSED, connect(client, (struct sockaddr *)&name, 2 + 7));
    ERR(EINVAL, listen(listener, 1));
    CHECK_EQ(bind(listener, (struct sockaddr *)&name, 2 + 7), 0);
    ERR(ECONNREFUSED, connect(client, (struct sockaddr *)&name, 2 + 7));
    ERR(EINVAL, accept(listener, NULL, NULL));
    CHECK_EQ(listen(listener, 0), 0);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    ERR(EAGAIN, accept(listener, NULL, NULL));
    fcntl(listener, F_SETFL, 0);
    CHECK_EQ(events(listener), 0);
    ERR(ENOTCONN, getpeername(client, (struct sockaddr *)&other, &len));
    pthread_create(&thread, NULL, connector, &client);
    int server = OK(accept4(listener, (struct sockaddr *)&other, &len, SOCK_CLOEXEC)) >= 0 ? 0 : -1;
    pthread_join(thread, &result);
    CHECK_EQ((long)result, 0);
    CHECK_EQ(len, 2);
    (void)server;
    ERR(EISCONN, connect(client, (struct sockaddr *)&name, 2 + 7));
    len = sizeof(other);
    CHECK_EQ(getpeername(client, (struct sockaddr *)&other, &len), 0);
    CHECK_EQ(len, 9);
    CHECK(memcmp(&other, &name, 9) == 0);
    struct ucred peer;
    len = sizeof(peer);
    CHECK_EQ(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &len), 0);
    CHECK(peer.pid == getpid() && peer.uid == 0 && peer.gid == 0);
    // One connection waits (backlog 0), a second does not fit.
    CHECK_EQ(connect(second, (struct sockaddr *)&name, 2 + 7), 0);
    CHECK_EQ(events(listener), POLLIN);
    int third = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ERR(EAGAIN, connect(third, (struct sockaddr *)&name, 2 + 7));
    OK(write(second, "early", 5));
    close(listener);
    ERR(ECONNRESET, read(second, buffer, sizeof(buffer)));
    ERR(ECONNREFUSED, connect(third, (struct sockaddr *)&name, 2 + 7));
    close(third);
    close(second);
    close(client);
}

static void automatic_name(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(name);
    int fd = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    CHECK_EQ(bind(fd, (struct sockaddr *)&name, 2), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    CHECK_EQ(len, 8);
    CHECK_EQ(name.sun_path[0], 0);
    close(fd);
}

// ---- files and credentials ---------------------------------------------------------------------

static long send_fd(int to, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {"f", 1};
    struct msghdr message = {.msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(to, &message, 0);
}

static int receive_fd(int from, int *flags)
{
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control)};
    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    *flags = message.msg_flags;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int fd = -1;
    if (header != NULL && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static void files(void)
{
    char buffer[8] = {0};
    int ends[2], flags = 0;
    make_pair(SOCK_STREAM);
    MUST(pipe(ends));
    CHECK_EQ(send_fd(pair[0], ends[0]), 1);
    close(ends[0]);
    write(ends[1], "through", 7);
    int fd = receive_fd(pair[1], &flags);
    CHECK(fd >= 0);
    CHECK(flags == MSG_CMSG_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(read(fd, buffer, 7), 7);
    CHECK_STR(buffer, "through");
    ERR(EBADF, send_fd(pair[0], 999));
    close(fd);
    // In flight when the sockets go: closed with them.
    MUST(pipe(ends));
    CHECK_EQ(send_fd(pair[0], ends[1]), 1);
    close(ends[1]);
    close_pair();
    CHECK_EQ(read(ends[0], buffer, 1), 0);
    close(ends[0]);
}

static void credentials(void)
{
    int on = 1;
    char control[CMSG_SPACE(sizeof(struct ucred))] = {0}, byte;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control)};
    make_pair(SOCK_DGRAM);
    CHECK_EQ(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    OK(write(pair[0], "c", 1));
    CHECK_EQ(recvmsg(pair[1], &message, 0), 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header != NULL && header->cmsg_type == SCM_CREDENTIALS);
    struct ucred who;
    memcpy(&who, CMSG_DATA(header), sizeof(who));
    CHECK(who.pid == getpid() && who.uid == 0 && who.gid == 0);
    close_pair();
}

// ---- room, epoll, errors -----------------------------------------------------------------------

static void full(void)
{
    static char buffer[65536];
    make_pair(SOCK_STREAM);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    long sent = 0, got;
    while ((got = write(pair[0], buffer, sizeof(buffer))) > 0)
        sent += got;
    CHECK_EQ(errno, EAGAIN);
    CHECK(sent >= 65536 && sent < (1 << 20));
    CHECK_EQ(events(pair[0]), 0);
    int watch = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    MUST(epoll_ctl(watch, EPOLL_CTL_ADD, pair[0], &event));
    CHECK_EQ(epoll_wait(watch, &event, 1, 0), 0);
    while (sent > 0 && (got = read(pair[1], buffer, sizeof(buffer))) > 0)
        sent -= got;
    CHECK_EQ(sent, 0);
    CHECK_EQ(epoll_wait(watch, &event, 1, 1000), 1);
    CHECK_EQ(event.events, EPOLLOUT);
    close(watch);
    close_pair();
}

static void errors(void)
{
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), file = MUST(open("/dev/null", O_RDWR)), value;
    socklen_t len = sizeof(value);
    char byte;
    ERR(EAFNOSUPPORT, socket(77, SOCK_STREAM, 0));
    ERR(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 6));
    ERR(ESOCKTNOSUPPORT, socket(AF_UNIX, 4, 0));
    ERR(ENOTSOCK, send(file, "x", 1, 0));
    ERR(EBADF, send(999, "x", 1, 0));
    ERR(ENOTCONN, send(fd, "x", 1, 0));
    ERR(EINVAL, recv(fd, &byte, 1, 0));
    CHECK_EQ(shutdown(fd, SHUT_RD), 0);
    ERR(EINVAL, shutdown(fd, 5));
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len), 0);
    CHECK_EQ(value, SOCK_STREAM);
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len), 0);
    CHECK_EQ(value, 0);
    ERR(ENOPROTOOPT, getsockopt(fd, SOL_SOCKET, 999, &value, &len));
    ERR(ESPIPE, lseek(fd, 0, SEEK_CUR));
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK(S_ISSOCK(status.st_mode));
    close(fd);
    close(file);
}

int main(void)
{
    scratch();
    stream();
    wait_for_all();
    much();
    records(SOCK_DGRAM);
    records(SOCK_SEQPACKET);
    named_datagrams();
    connections();
    automatic_name();
    files();
    credentials();
    full();
    errors();
    return check_done();
}
