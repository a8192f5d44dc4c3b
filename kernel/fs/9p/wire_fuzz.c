// SPDX-License-Identifier: MIT
// Whatever a 9P server answers: nothing is read outside, and what is accepted makes sense.
#include "kernel/fs/9p/wire.h"

#include <stdlib.h>

#include <sys/stat.h>

static void check(bool claim)
{
    if (!claim)
        abort();
}

static void read_entries(const uint8_t *data, uint32_t left)
{
    struct p9_entry entry;
    while (left != 0) {
        const int64_t len = p9_entry_read(data, left, &entry);
        if (len < 0)
            return;
        check(len > 0 && len <= left);
        check(entry.name_len >= 1 && entry.name_len <= P9_NAME_MAX);
        check((const uint8_t *)entry.name + entry.name_len <= data + len);
        data += len;
        left -= (uint32_t)len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct p9_reader reader;
    struct p9_attributes attributes;
    const char *text;
    const uint16_t tag = 7;
    // As any of the requests, and with an answer that is longer than the buffer that holds it.
    for (unsigned type = 0; type < 128; type += 2) {
        const int error =
            p9_reply_begin(&reader, data, (uint32_t)size, (uint32_t)size, (enum p9_type)type, tag);
        check(error <= 0 && error >= -4095);
        if (error != 0)
            continue;
        struct p9_reader copy = reader;
        p9_get_attributes(&copy, &attributes);
        if (p9_reader_end(&copy) == 0)
            check(attributes.size_bytes <= INT64_MAX && (attributes.mode & S_IFMT) != 0);
        copy = reader;
        const uint16_t len = p9_get_text(&copy, &text);
        check(copy.is_bad ? len == 0 : (const uint8_t *)text + len <= data + size);
    }
    (void)p9_reply_begin(
        &reader, data, (uint32_t)(size < 11 ? size : 11), (uint32_t)size + 4096, P9_TREAD, tag);
    read_entries(data, (uint32_t)size);
    return 0;
}
