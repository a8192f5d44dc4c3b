// SPDX-License-Identifier: MIT
// Messages of 9P2000.L: writing requests, and reading what a server answered. Pure.
//
// The server is not trusted. Reading never goes past the end: the first field that does not fit, or
// cannot be, makes the reader bad, from then on every field reads as 0, and p9_reader_end() says
// -EIO. So a message is read in one go and judged once.
#pragma once

#include "kernel/base/types.h"
#include "kernel/fs/9p/protocol.h"

#define P9_NAME_MAX 255

// ---- requests ----

struct p9_writer {
    uint8_t *data;
    uint32_t size;
    uint32_t len;
    bool is_full; // something did not fit
};

// Begins a message in `data`, of `size` >= P9_HEADER_BYTES.
void p9_message_begin(
    struct p9_writer *writer, void *data, uint32_t size, enum p9_type type, uint16_t tag);
void p9_put_u8(struct p9_writer *writer, uint8_t value);
void p9_put_u16(struct p9_writer *writer, uint16_t value);
void p9_put_u32(struct p9_writer *writer, uint32_t value);
void p9_put_u64(struct p9_writer *writer, uint64_t value);
// len <= UINT16_MAX, or the message is too long.
void p9_put_text(struct p9_writer *writer, const char *text, size_t len);
// Writes the length, which includes `data_bytes` that follow elsewhere. 0 or -ENAMETOOLONG: it did
// not fit.
[[nodiscard]] int p9_message_end(struct p9_writer *writer, uint32_t data_bytes);

// ---- answers ----

struct p9_reader {
    const uint8_t *data;
    uint32_t left;
    bool is_bad;
};

// The answer to a request of `type` with `tag`: `len_bytes` came altogether, of which the first
// `size` at most are at `data`. 0: the reader stands behind the header; the server's -errno; -EIO:
// it is no such answer.
[[nodiscard]] int p9_reply_begin(struct p9_reader *reader, const void *data, uint32_t size,
    uint32_t len_bytes, enum p9_type type, uint16_t tag);
uint8_t p9_get_u8(struct p9_reader *reader);
uint16_t p9_get_u16(struct p9_reader *reader);
uint32_t p9_get_u32(struct p9_reader *reader);
uint64_t p9_get_u64(struct p9_reader *reader);
// A text, in place: *text NULL if it is not there.
uint16_t p9_get_text(struct p9_reader *reader, const char **text);
[[nodiscard]] int p9_reader_end(const struct p9_reader *reader); // 0 or -EIO

struct p9_qid {
    uint8_t type; // P9_QID_*
    uint32_t version;
    uint64_t path;
};
void p9_get_qid(struct p9_reader *reader, struct p9_qid *qid);

struct p9_attributes {
    struct p9_qid qid;
    uint32_t mode, uid, gid;
    uint64_t nlink, device, size_bytes, blocks; // blocks of 512 bytes
    int64_t atime_ns, mtime_ns, ctime_ns;
};
// The body of an Rgetattr. A type that does not exist, a size beyond INT64_MAX and a nanosecond
// beyond a second are bad.
void p9_get_attributes(struct p9_reader *reader, struct p9_attributes *attributes);

// One entry of what an Rreaddir brought.
struct p9_entry {
    struct p9_qid qid;
    uint64_t next; // where the next Treaddir goes on
    uint8_t type;  // DT_*
    const char *name;
    uint16_t name_len; // 1 to P9_NAME_MAX; no slash, no NUL
};
// The next entry in [data, data + len_bytes): its length; 0: there is none; -EIO.
[[nodiscard]] int64_t p9_entry_read(const void *data, uint32_t len_bytes, struct p9_entry *entry);
