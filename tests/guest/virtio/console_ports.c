// SPDX-License-Identifier: MIT
//
// Claim: ports of a console device have nodes and names, take one opener at a time, move bytes both
// ways with poll, and come and go while the machine runs. Method: the port that leads to the
// machine's monitor is used for a conversation; then the monitor is told to plug a second port in,
// whose other end is a buffer that the monitor can read, and out again.
#include "tests/guest/monitor.h"

#define TRIES 200

static void one_opener(void)
{
    int fd = open_port("monitor");
    CHECK(fd < 0 && errno == EBUSY);
}

static void conversation(void)
{
    CHECK(monitor_execute("{\"execute\":\"query-version\"}"));
    CHECK(strstr(monitor_line, "\"qemu\"") != NULL);
    CHECK(!monitor_execute("{\"execute\":\"no-such-command\"}"));
    CHECK(strstr(monitor_line, "CommandNotFound") != NULL);
    // Longer than a page.
    static char command[6000];
    memset(command, ' ', sizeof(command) - 1);
    memcpy(command, "{\"execute\":\"query-name\"", 23);
    command[sizeof(command) - 2] = '}';
    CHECK(monitor_execute(command));
    int count = 0;
    for (int i = 0; i < 50; i++) {
        count += monitor_execute("{\"execute\":\"query-version\"}") ? 1 : 0;
    }
    CHECK_EQ(count, 50);
}

static void quiet(void)
{
    char byte;
    struct pollfd wait = {.fd = monitor_fd, .events = POLLIN | POLLOUT};
    while (poll(&wait, 1, 100) == 1 && (wait.revents & POLLIN) != 0 &&
           read(monitor_fd, monitor_line, sizeof(monitor_line)) > 0) {
    }
    CHECK_EQ(wait.revents, POLLOUT);
    OK(fcntl(monitor_fd, F_SETFL, O_NONBLOCK));
    ERR(EAGAIN, read(monitor_fd, &byte, 1));
    OK(fcntl(monitor_fd, F_SETFL, 0));
}

static void plug(void)
{
    char byte;
    CHECK(
        monitor_execute("{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"spare\",\"backend\":"
                        "{\"type\":\"ringbuf\",\"data\":{\"size\":4096}}}}"));
    CHECK(
        monitor_execute("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtserialport\","
                        "\"id\":\"spare-port\",\"name\":\"spare\",\"chardev\":\"spare\"}}"));
    int fd = -1;
    for (int i = 0; i < TRIES && (fd = open_port("spare")) < 0; i++) {
        usleep(10000);
    }
    MUST(fd);
    CHECK(write(fd, "into the buffer", 15) == 15);
    CHECK(monitor_execute("{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"spare\","
                          "\"size\":100}}"));
    CHECK(strstr(monitor_line, "\"into the buffer\"") != NULL);
    CHECK(monitor_execute("{\"execute\":\"ringbuf-write\",\"arguments\":{\"device\":\"spare\","
                          "\"data\":\"x\"}}"));
    CHECK(monitor_execute("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"spare-port\"}}"));
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < TRIES && read(fd, &byte, 1) >= 0; i++) {
        usleep(10000);
    }
    ERR(ENODEV, read(fd, &byte, 1));
    ERR(ENODEV, write(fd, "x", 1));
    CHECK(poll(&wait, 1, 0) == 1 && wait.revents == POLLHUP);
    close(fd);
    CHECK(open_port("spare") < 0);
}

int main(void)
{
    monitor_open();
    one_opener();
    conversation();
    quiet();
    plug();
    return check_done();
}
