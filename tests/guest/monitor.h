// SPDX-License-Identifier: MIT
//
// The machine's own monitor (QMP), from inside: what a test needs that changes its machine. The
// machine's configuration has device=monitor. Replies that are not awaited (events) are skipped.
#pragma once

#include "tests/guest/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>

#define MONITOR_WAIT_MS 20000

static int monitor_fd = -1;
static char monitor_line[8192];

// The next line into monitor_line; false: none came.
static bool monitor_read_line(void)
{
    size_t len = 0;
    struct pollfd wait = {.fd = monitor_fd, .events = POLLIN};
    while (len < sizeof(monitor_line) - 1 && poll(&wait, 1, MONITOR_WAIT_MS) == 1 &&
           read(monitor_fd, monitor_line + len, 1) == 1) {
        if (monitor_line[len] == '\n') {
            monitor_line[len] = '\0';
            return true;
        }
        len++;
    }
    return false;
}

// Executes one command, JSON without id. True if it succeeded; the reply is in monitor_line.
static bool monitor_execute(const char *command)
{
    size_t len = strlen(command);
    if (write(monitor_fd, command, len) != (ssize_t)len || write(monitor_fd, "\n", 1) != 1) {
        return false;
    }
    while (monitor_read_line()) {
        if (strstr(monitor_line, "\"return\"") != NULL) {
            return true;
        }
        if (strstr(monitor_line, "\"error\"") != NULL) {
            return false;
        }
    }
    return false;
}

// Opens the port with that name. -1: there is none.
static int open_port(const char *wanted)
{
    DIR *folder = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int fd = -1;
    while (folder != NULL && fd < 0 && (entry = readdir(folder)) != NULL) {
        char path[320], name[64] = {};
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
        int name_fd = open(path, O_RDONLY);
        if (name_fd >= 0 && read(name_fd, name, sizeof(name) - 1) > 0 &&
            strcspn(name, "\n") == strlen(wanted) && strncmp(name, wanted, strlen(wanted)) == 0) {
            snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC);
        }
        close(name_fd);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return fd;
}

// The monitor, ready for commands.
static void monitor_open(void)
{
    monitor_fd = open_port("monitor");
    if (monitor_fd < 0) {
        printf("there is no monitor\n");
        exit(1);
    }
    // Refused where an earlier test has said so already.
    (void)monitor_execute("{\"execute\":\"qmp_capabilities\"}");
}
