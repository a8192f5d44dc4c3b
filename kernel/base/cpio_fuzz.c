// SPDX-License-Identifier: MIT
//
// Any bytes as a cpio archive: every name and all data lie inside, and reading ends.
#include "kernel/base/assert.h"
#include "kernel/base/cpio.h"
#include "kernel/base/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct cpio_reader reader;
    struct cpio_entry entry;
    size_t previous = 0;

    cpio_reader_init(&reader, bytes, size);
    while (cpio_next(&reader, &entry) == 0) {
        assert(reader.offset > previous);
        previous = reader.offset;
        assert(entry.name_len == strlen(entry.name));
        assert(entry.name >= (const char *)bytes);
        assert(entry.data >= bytes);
        assert(!range_exceeds((uint64_t)(entry.data - bytes), entry.size, size));
    }
    assert(reader.offset <= size);
    return 0;
}
