// SPDX-License-Identifier: MIT
#include "tools/lodger/qmp.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// A loaded host takes its time.
#define PATIENCE_S 30
// Events may come before the answer.
#define LINES_MAX 100

// The answer to one command, or NULL.
static json_t *ask(int fd, FILE *answers, const char *command)
{
    char line[4096];
    if (dprintf(fd, "{\"execute\": \"%s\"}\n", command) < 0) {
        return NULL;
    }
    for (unsigned i = 0; i < LINES_MAX && fgets(line, sizeof(line), answers) != NULL; i++) {
        json_t *message = json_loads(line, 0, NULL);
        json_t *answer = json_incref(json_object_get(message, "return"));
        bool refused = json_object_get(message, "error") != NULL;
        json_decref(message);
        if (answer != NULL || refused) {
            return answer;
        }
    }
    return NULL;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

json_t *qmp_ask(const char *path, const char *command)
{
    int fd = connect_to(path);
    if (fd < 0) {
        return NULL;
    }
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    FILE *answers = fdopen(fd, "r");
    if (answers == NULL) {
        close(fd);
        return NULL;
    }
    json_t *ready = ask(fd, answers, "qmp_capabilities");
    json_t *answer = ready != NULL ? ask(fd, answers, command) : NULL;
    json_decref(ready);
    fclose(answers);
    return answer;
}
