// SPDX-License-Identifier: MIT
// The list of 9P transports.
#include "kernel/fs/9p/transport.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/mutex.h"

#include <linux/errno.h>

static struct mutex list_lock = MUTEX_INIT(list_lock, "9p: transports");
static struct list_node transports = LIST_INIT(transports); // grows only, under list_lock

void p9_transport_register(struct p9_transport *transport)
{
    assert(transport->tag != NULL && transport->submit != NULL);
    mutex_lock(&list_lock);
    list_add_tail(&transports, &transport->node);
    mutex_unlock(&list_lock);
}

int p9_transport_take(const char *tag, struct p9_transport **result)
{
    int error = -ENOENT;
    mutex_lock(&list_lock);
    struct p9_transport *transport;
    list_for_each_entry (transport, &transports, node) {
        if (strcmp(transport->tag, tag) != 0)
            continue;
        error = transport->is_used ? -EBUSY : 0;
        if (error == 0) {
            transport->is_used = true;
            *result = transport;
            break;
        }
    }
    mutex_unlock(&list_lock);
    return error;
}

void p9_transport_give_back(struct p9_transport *transport)
{
    mutex_lock(&list_lock);
    assert(transport->is_used);
    transport->is_used = false;
    mutex_unlock(&list_lock);
}
