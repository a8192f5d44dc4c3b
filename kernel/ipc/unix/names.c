// SPDX-License-Identifier: MIT
// Names of AF_UNIX sockets: paths (a socket inode in the tree leads to the socket) and abstract
// ones (sun_path begins with a NUL; they exist while the socket does).
#include "kernel/base/fmt.h"
#include "kernel/base/hash.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/ipc/unix/unix.h"
#include "mm/slab.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define FAMILY_BYTES offsetof(struct sockaddr_un, sun_path)
#define LIST_COUNT   64

static struct spinlock names_lock = SPINLOCK_INIT("unix_names");
static struct list_node lists[LIST_COUNT]; // unix_socket.name_node; all zero: never used
static uint32_t autobind_next;             // under names_lock

static struct list_node *list_for(uint64_t hash)
{
    struct list_node *list = &lists[(hash * UINT64_C(0x61c8864680b583eb)) >> 58];
    if (list->next == NULL)
        list_init(list);
    return list;
}

static uint64_t hash_name(const struct sockaddr_un *name, uint32_t len)
{
    return hash_bytes((const char *)name, len, 0);
}

static bool is_abstract(const struct sockaddr_un *name, uint32_t len)
{
    return len > FAMILY_BYTES && name->sun_path[0] == '\0';
}

// Names are told apart for each type.
static struct unix_socket *find_abstract(
    const struct sockaddr_un *name, uint32_t len, uint16_t type)
{
    struct unix_socket *socket;
    list_for_each_entry (socket, list_for(hash_name(name, len)), name_node) {
        const struct unix_address *address = socket->address;
        if (socket->name_inode == NULL && socket->socket.type == type && address->len == len &&
            memcmp(&address->name, name, len) == 0)
            return socket;
    }
    return NULL;
}

static struct unix_socket *find_inode(const struct inode *inode)
{
    struct unix_socket *socket;
    list_for_each_entry (socket, list_for((uintptr_t)inode), name_node) {
        if (socket->name_inode == inode)
            return socket;
    }
    return NULL;
}

// Length of the path in an address, which need not end with a NUL; 0: none.
static size_t path_len(const struct sockaddr_un *name, uint32_t len)
{
    return strnlen(name->sun_path, len - FAMILY_BYTES);
}

static int find_path(const struct sockaddr_un *name, uint32_t len, struct unix_socket **result)
{
    char text[sizeof(name->sun_path) + 1];
    size_t text_len = path_len(name, len);
    memcpy(text, name->sun_path, text_len);
    text[text_len] = '\0';
    struct path path;
    int error = walk_path(AT_FDCWD, text, text_len, WALK_FOLLOW, &path);
    if (error != 0)
        return error;
    error = inode_permission(path.dentry->inode, MAY_WRITE);
    if (error == 0) {
        spin_lock(&names_lock);
        *result = find_inode(path.dentry->inode);
        if (*result != NULL)
            unix_get(*result);
        else
            error = -ECONNREFUSED;
        spin_unlock(&names_lock);
    }
    path_put(&path);
    return error;
}

int unix_find(const void *address, uint32_t len, uint16_t type, struct unix_socket **result)
{
    const struct sockaddr_un *name = address;
    int error = 0;
    if (len <= FAMILY_BYTES || len > sizeof(*name) || name->sun_family != ABI_AF_UNIX)
        return -EINVAL;
    if (is_abstract(name, len)) {
        spin_lock(&names_lock);
        *result = find_abstract(name, len, type);
        if (*result != NULL)
            unix_get(*result);
        else
            error = -ECONNREFUSED;
        spin_unlock(&names_lock);
        return error;
    }
    error = find_path(name, len, result);
    if (error == 0 && (*result)->socket.type != type) {
        unix_put(*result);
        error = -EPROTOTYPE;
    }
    return error;
}

// Publishes the socket under its name. `hash` chooses the list.
static void publish_locked(
    struct unix_socket *socket, struct unix_address *address, struct inode *inode, uint64_t hash)
{
    socket->name_inode = inode;
    __atomic_store_n(&socket->address, address, __ATOMIC_RELEASE);
    list_add_head(list_for(hash), &socket->name_node);
}

static int bind_abstract(struct unix_socket *socket, struct unix_address *address)
{
    int error = 0;
    spin_lock(&names_lock);
    if (find_abstract(&address->name, address->len, socket->socket.type) != NULL)
        error = -EADDRINUSE;
    else
        publish_locked(socket, address, NULL, hash_name(&address->name, address->len));
    spin_unlock(&names_lock);
    return error;
}

// bind(2) with the family alone: an abstract name of five hexadecimal digits that is free.
static int bind_any(struct unix_socket *socket, struct unix_address *address)
{
    int error = -EADDRINUSE;
    for (uint32_t tries = 0; tries < UINT32_C(1) << 20 && error == -EADDRINUSE; tries++) {
        uint32_t number = __atomic_fetch_add(&autobind_next, 1, __ATOMIC_RELAXED) & 0xfffff;
        fmt_snprintf(address->name.sun_path + 1, 6, "%05x", number);
        address->len = FAMILY_BYTES + 6;
        error = bind_abstract(socket, address);
    }
    return error;
}

static int bind_path(struct unix_socket *socket, struct unix_address *address)
{
    size_t len = path_len(&address->name, address->len);
    ((char *)&address->name)[FAMILY_BYTES + len] = '\0';
    // The text is looked up from a copy: a name of all 108 bytes has no NUL.
    char text[sizeof(address->name.sun_path) + 1];
    memcpy(text, address->name.sun_path, len);
    text[len] = '\0';
    struct name name = {.dirfd = AT_FDCWD, .text = text, .len = len};
    struct path path;
    int error = namei_mknod(&name, S_IFSOCK | 0777, (struct device_number){});
    if (error == 0)
        error = walk_path(AT_FDCWD, text, len, 0, &path);
    if (error != 0)
        return error == -EEXIST ? -EADDRINUSE : error;
    struct inode *inode = path.dentry->inode;
    inode_get(inode);
    path_put(&path);
    address->len = (uint32_t)(FAMILY_BYTES + len + 1); // with its NUL, as Linux tells it
    spin_lock(&names_lock);
    publish_locked(socket, address, inode, (uintptr_t)inode);
    spin_unlock(&names_lock);
    return 0;
}

int unix_bind(struct socket *base, const void *from, uint32_t len)
{
    struct unix_socket *socket = unix_of(base);
    const struct sockaddr_un *name = from;
    if (len < FAMILY_BYTES || len > sizeof(*name) || name->sun_family != ABI_AF_UNIX)
        return -EINVAL;
    struct unix_address *address = kmalloc(sizeof(*address), 0);
    if (address == NULL)
        return -ENOMEM;
    *address = (struct unix_address){.refcount = 1, .len = len};
    memcpy(&address->name, name, len);
    mutex_lock(&socket->bind_lock);
    int error;
    if (socket->address != NULL)
        error = -EINVAL;
    else if (len == FAMILY_BYTES)
        error = bind_any(socket, address);
    else if (is_abstract(name, len))
        error = bind_abstract(socket, address);
    else
        error = bind_path(socket, address);
    mutex_unlock(&socket->bind_lock);
    if (error != 0)
        kfree(address);
    return error;
}

void unix_name_release(struct unix_socket *socket)
{
    if (socket->name_node.next == NULL)
        return; // never bound itself
    spin_lock(&names_lock);
    list_remove(&socket->name_node);
    struct inode *inode = socket->name_inode;
    socket->name_inode = NULL;
    spin_unlock(&names_lock);
    if (inode != NULL)
        inode_put(inode);
}
