// SPDX-License-Identifier: MIT
// Fuzzer: a stream of bytes from xenstore, and what the client does with each message in it.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pv/xen/front/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void take_apart(const struct store_receiver *receiver)
{
    const char *payload = receiver->payload;
    size_t len_bytes = receiver->payload_bytes;
    const char *path, *token;
    uint64_t number;
    char text[64];
    if (store_event_parse(payload, len_bytes, &path, &token) == 0) {
        require(strlen(path) + strlen(token) + 2 <= len_bytes);
    }
    require(store_error_parse(payload, len_bytes) < 0);
    if (store_string_parse(payload, len_bytes, text, sizeof(text)) == 0) {
        require(strlen(text) == len_bytes);
        (void)!store_backend_path_check(text, 0);
    }
    if (store_number_parse(payload, len_bytes, 1000, &number) == 0) {
        require(number <= 1000);
    }
    size_t at = 0;
    size_t before = 0;
    const char *name;
    while ((name = store_list_next(payload, len_bytes, &at)) != NULL) {
        require(at > before && at <= len_bytes && strlen(name) > 0);
        before = at;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct store_receiver receiver;
    store_receiver_reset(&receiver);
    // The first byte says in how large pieces the rest comes.
    size_t step = size > 0 ? data[0] % 64 + 1 : 1;
    for (size_t at = 1; at < size;) {
        size_t count = size - at < step ? size - at : step;
        size_t taken;
        int result = store_receiver_feed(&receiver, (const char *)data + at, count, &taken);
        require(taken <= count);
        if (result < 0) {
            break;
        }
        at += taken;
        if (result == 1) {
            take_apart(&receiver);
            store_receiver_reset(&receiver);
        } else {
            require(taken == count);
        }
    }
    return 0;
}
