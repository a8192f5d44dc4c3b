// SPDX-License-Identifier: MIT
#include "tools/lodger/qmp.h"
#include "tools/lodger/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// Events may come before an answer, and others before one that is waited for.
#define MESSAGES_MAX 100

struct qmp {
    int fd;
    FILE *messages; // the same socket
};

// The next message, or NULL: none came in time, or it makes no sense.
static json_t *next_message(struct qmp *qmp)
{
    char *line = NULL;
    size_t size_bytes = 0;
    json_t *message =
        getline(&line, &size_bytes, qmp->messages) > 0 ? json_loads(line, 0, NULL) : NULL;
    free(line);
    return message;
}

json_t *qmp_execute(struct qmp *qmp, const char *command, json_t *arguments)
{
    json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);
    char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    bool sent = text != NULL && dprintf(qmp->fd, "%s\n", text) > 0;
    free(text);
    for (unsigned i = 0; sent && i < MESSAGES_MAX; i++) {
        json_t *message = next_message(qmp);
        json_t *answer = json_incref(json_object_get(message, "return"));
        bool over = message == NULL || json_object_get(message, "error") != NULL;
        json_decref(message);
        if (answer != NULL || over) {
            return answer;
        }
    }
    return NULL;
}

bool qmp_await(struct qmp *qmp, const char *event, const char *status)
{
    for (unsigned i = 0; i < MESSAGES_MAX; i++) {
        json_t *message = next_message(qmp);
        const char *name = json_string_value(json_object_get(message, "event"));
        const char *is =
            json_string_value(json_object_get(json_object_get(message, "data"), "status"));
        bool found =
            name != NULL && strcmp(name, event) == 0 && is != NULL && strcmp(is, status) == 0;
        bool over = message == NULL;
        json_decref(message);
        if (found || over) {
            return found;
        }
    }
    return false;
}

struct qmp *qmp_open(int fd, unsigned patience_s)
{
    struct timeval patience = {.tv_sec = patience_s};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    FILE *messages = fdopen(fd, "r");
    if (messages == NULL) {
        close(fd);
        return NULL;
    }
    struct qmp *qmp = xmalloc(sizeof(*qmp));
    *qmp = (struct qmp){.fd = fd, .messages = messages};
    json_t *ready = qmp_execute(qmp, "qmp_capabilities", NULL);
    if (ready == NULL) {
        qmp_close(qmp);
        return NULL;
    }
    json_decref(ready);
    return qmp;
}

void qmp_close(struct qmp *qmp)
{
    if (qmp != NULL) {
        fclose(qmp->messages);
        free(qmp);
    }
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

json_t *qmp_ask(const char *path, const char *command, unsigned patience_s)
{
    int fd = connect_to(path);
    struct qmp *qmp = fd >= 0 ? qmp_open(fd, patience_s) : NULL;
    json_t *answer = qmp != NULL ? qmp_execute(qmp, command, NULL) : NULL;
    qmp_close(qmp);
    return answer;
}
