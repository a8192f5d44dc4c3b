// SPDX-License-Identifier: MIT
// A 9P session: requests, answers, and the server's files by number (fids).
//
// A fid stands for a place in the server's tree until it is clunked; it may be opened once. Every
// operation sends one message and sleeps until the answer is there: task context, no spin locks.
// They cannot be interrupted: the memory of a request is the server's until it has answered, and a
// server that does not answer any more is a device that has to be reset from outside.
// Results: 0 or a negative errno: the server's, -EIO for answers that cannot be, -ENOMEM.
#pragma once

#include "kernel/base/ida.h"
#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"
#include "kernel/fs/9p/transport.h"
#include "kernel/fs/9p/wire.h"

#define P9_MESSAGE_MIN 16384 // bytes; less is not worth a session

struct p9_client {
    struct p9_transport *transport;
    uint32_t message_max; // bytes of a message, agreed upon at the start; fixed then
    struct mutex fid_lock;
    struct ida fids; // under fid_lock
    struct spinlock tag_lock;
    uint64_t tags; // that are in use; under tag_lock
    struct wait_queue tag_queue;
};

// Data of a read or write: most that goes into one message.
uint32_t p9_client_data_max(const struct p9_client *client);

// Takes the transport with the tag and begins a session. -ENOENT: no such tag; -EBUSY: it has one;
// -EPROTONOSUPPORT: the server does not speak 9P2000.L; -ENOMEM.
[[nodiscard]] int p9_client_start(
    struct p9_client *client, const char *tag, uint32_t message_max_bytes);
void p9_client_stop(struct p9_client *client); // all fids have been clunked

// The root of what the server shows, as `fid`.
[[nodiscard]] int p9_attach(struct p9_client *client, uint32_t uid, uint32_t *fid);
// What `name` in `from` stands for, as a new fid; name NULL: `from` itself once more. qid may be
// NULL.
[[nodiscard]] int p9_walk(struct p9_client *client, uint32_t from, const char *name, size_t len,
    uint32_t *fid, struct p9_qid *qid);
void p9_clunk(struct p9_client *client, uint32_t fid); // fid is gone, whatever the server says

[[nodiscard]] int p9_get_attributes_of(
    struct p9_client *client, uint32_t fid, struct p9_attributes *attributes);
struct inode_change;
[[nodiscard]] int p9_set_attributes(
    struct p9_client *client, uint32_t fid, const struct inode_change *change);
[[nodiscard]] int p9_open(struct p9_client *client, uint32_t fid, uint32_t flags); // O_*
// Makes a regular file in the directory `fid`, which stands for the opened file from then on.
[[nodiscard]] int p9_create(struct p9_client *client, uint32_t fid, const char *name, size_t len,
    uint32_t flags, uint32_t mode, uint32_t gid);
[[nodiscard]] int p9_make_directory(struct p9_client *client, uint32_t directory, const char *name,
    size_t len, uint32_t mode, uint32_t gid);
[[nodiscard]] int p9_make_node(struct p9_client *client, uint32_t directory, const char *name,
    size_t len, uint32_t mode, uint32_t major, uint32_t minor, uint32_t gid);
[[nodiscard]] int p9_make_link(struct p9_client *client, uint32_t directory, const char *name,
    size_t len, const char *target, size_t target_len, uint32_t gid);
[[nodiscard]] int p9_link(
    struct p9_client *client, uint32_t directory, uint32_t fid, const char *name, size_t len);
[[nodiscard]] int p9_rename(struct p9_client *client, uint32_t old_directory, const char *old_name,
    size_t old_len, uint32_t new_directory, const char *new_name, size_t new_len);
[[nodiscard]] int p9_unlink(
    struct p9_client *client, uint32_t directory, const char *name, size_t len, bool is_directory);
// The target: its length, cut to `size`.
[[nodiscard]] int64_t p9_read_link(
    struct p9_client *client, uint32_t fid, char *buffer, size_t size);
[[nodiscard]] int p9_sync(struct p9_client *client, uint32_t fid, bool data_only);
struct statfs_info;
[[nodiscard]] int p9_statfs(struct p9_client *client, uint32_t fid, struct statfs_info *info);

// Entries from `offset` into `buffer` (direct map): bytes, 0 at the end.
[[nodiscard]] int64_t p9_read_directory(
    struct p9_client *client, uint32_t fid, uint64_t offset, void *buffer, uint32_t size);
// Data between an opened fid and pieces of memory, `len_bytes` altogether, at most
// p9_client_data_max(): bytes moved. Nothing is copied.
[[nodiscard]] int64_t p9_read(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes);
[[nodiscard]] int64_t p9_write(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes);
// p9_read() that does not wait for the answer: `done` gets the bytes or -errno, in any context; it
// must not sleep. The pieces are used until then. 0, or -errno: it was not begun.
[[nodiscard]] int p9_read_begin(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes,
    void (*done)(void *context, int64_t result), void *context);
