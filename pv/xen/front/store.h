// SPDX-License-Identifier: MIT
// Client of xenstore, the tree of names and values through which domains and their front and back
// ends find each other.
//
// General preconditions: xen_store_start() was successful. Task context; may sleep. Paths are
// absolute or relative to the domain's own folder. Functions return 0 or a negative errno, -EIO
// when xenstore does not answer or talks nonsense (then for ever).
//
// What is read is not trusted: see wire.h for what strings and numbers can be.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

struct xen_store_watch;

// Changes of one moment: reads see, and writes make, one state of the tree. 0: no transaction.
typedef uint32_t xen_store_transaction;
#define XEN_STORE_NO_TRANSACTION 0u

// Connects to xenstore. -ENODEV: the domain has none.
[[nodiscard]] int xen_store_start(void);

// `folder`/`node` are joined. The string's rules are those of store_string_parse().
[[nodiscard]] int xen_store_read(xen_store_transaction transaction, const char *folder,
    const char *node, char *string, size_t size);
// At most max; -ENOENT: not there.
[[nodiscard]] int xen_store_read_number(xen_store_transaction transaction, const char *folder,
    const char *node, uint64_t max, uint64_t *number);
// A number that may be missing or nonsense: then `otherwise`.
uint64_t xen_store_number_or(
    const char *folder, const char *node, uint64_t max, uint64_t otherwise);
[[nodiscard]] int xen_store_write(
    xen_store_transaction transaction, const char *folder, const char *node, const char *value);
[[nodiscard]] int xen_store_write_number(
    xen_store_transaction transaction, const char *folder, const char *node, uint64_t number);
[[nodiscard]] int xen_store_remove(
    xen_store_transaction transaction, const char *folder, const char *node);
// The names below the path, each ended by NUL, in kmalloc'ed memory: store_list_next().
[[nodiscard]] int xen_store_list(const char *path, char **names, size_t *len_bytes);

[[nodiscard]] int xen_store_begin(xen_store_transaction *transaction);
// -EAGAIN: somebody changed what it had read; nothing was done, try all of it again.
[[nodiscard]] int xen_store_commit(xen_store_transaction transaction);
void xen_store_abort(xen_store_transaction transaction);

// The path or something below it may have changed; also called once at the beginning. Task context,
// on xenstore's thread: one at a time. May use everything here but wait for another watch.
typedef void xen_store_watch_function(struct xen_store_watch *watch, const char *path);
struct xen_store_watch {
    struct list_node node; // store.c's
    uint32_t token;        // store.c's
    xen_store_watch_function *changed;
    char path[128];
};
// The watch stays where it is until xen_store_unwatch(), which waits until changed() is not running
// (not to be called from it).
[[nodiscard]] int xen_store_watch(
    struct xen_store_watch *watch, const char *path, xen_store_watch_function *changed);
void xen_store_unwatch(struct xen_store_watch *watch);
