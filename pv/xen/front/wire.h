// SPDX-License-Identifier: MIT
// What comes over xenstore's ring, taken apart and checked: no device access, also built on the
// host. Wire format: <xen/io/xs_wire.h> and Xen's docs/misc/xenstore.txt.
//
// Nothing that comes from there is trusted: a length, a string or a number is looked at once, here.
#pragma once

#include "kernel/base/types.h"

#include <linux/errno.h> // before the next one: its table of errors is of those it knows

#include <xen/io/xs_wire.h>

// Longest payload of a message, as the protocol says; buffers are one byte longer, for a NUL.
#define STORE_PAYLOAD_MAX XENSTORE_PAYLOAD_MAX
// Segments of a path, and a whole path, that this kernel deals with.
#define STORE_PATH_MAX 512

// Bytes in a ring between the two positions, or -EPROTO when they can't be right.
[[nodiscard]] int store_ring_used(uint32_t produced, uint32_t consumed);

// A message that arrives in pieces. Zero-initialised: nothing has come yet.
struct store_receiver {
    struct xsd_sockmsg header;
    uint32_t header_bytes;  // that have come
    uint32_t payload_bytes; // likewise
    char payload[STORE_PAYLOAD_MAX + 1];
};
// Feeds up to len_bytes; *taken of them belonged to the current message. 1: it is complete (until
// store_receiver_reset()), 0: more is needed, -EPROTO: the stream makes no sense any more.
[[nodiscard]] int store_receiver_feed(
    struct store_receiver *receiver, const char *bytes, size_t len_bytes, size_t *taken);
void store_receiver_reset(struct store_receiver *receiver);

// The payload of XS_WATCH_EVENT: two strings, both end inside it. 0 or -EPROTO.
[[nodiscard]] int store_event_parse(
    const char *payload, size_t len_bytes, const char **path, const char **token);
// The payload of XS_ERROR: as a negative errno; -EIO for what is no error's name.
[[nodiscard]] int store_error_parse(const char *payload, size_t len_bytes);
// A value as one string for use as such: no NUL within, only printable ASCII, at most
// `size` - 1 long. 0, -EPROTO, -E2BIG.
[[nodiscard]] int store_string_parse(
    const char *value, size_t len_bytes, char *string, size_t size);
// A value as a decimal number, nothing else around it. 0, -EPROTO, -ERANGE: more than max.
[[nodiscard]] int store_number_parse(
    const char *value, size_t len_bytes, uint64_t max, uint64_t *number);
// The path of a back end: it must be
// /local/domain/DOMAIN/backend/... of that domain, of sane characters. 0 or -EPROTO.
[[nodiscard]] int store_backend_path_check(const char *path, uint32_t domain);
// Steps through the strings of XS_DIRECTORY's reply: *at starts at 0. NULL: the end, or nonsense.
// What it returns ends with NUL and has no slash in it.
const char *store_list_next(const char *payload, size_t len_bytes, size_t *at);
