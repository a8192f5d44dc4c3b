// SPDX-License-Identifier: MIT
//
// Any bytes as a command line: tokens lie inside the line, every value parser takes every value.
#include "kernel/base/assert.h"
#include "kernel/base/cmdline.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"off", "on", "auto"};
    const char *line = (const char *)bytes;
    const char *end = line + size;
    struct cmdline_iterator iterator;
    struct cmdline_token token;
    size_t count = 0;

    cmdline_iterator_init(&iterator, line, size);
    while (cmdline_next(&iterator, &token) == 0) {
        bool flag;
        uint64_t number;
        unsigned int index;
        char text[16];
        assert(++count <= size);
        assert(token.text >= line);
        assert(token.text + token.len <= end);
        assert(token.name >= line);
        assert(token.name + token.name_len <= end);
        if (token.value != nullptr) {
            assert(token.value >= line);
            assert(token.value + token.value_len <= end);
        }
        (void)cmdline_name_is(&token, "log-level");
        (void)!cmdline_parse_bool(token.value, token.value_len, &flag);
        (void)!cmdline_parse_u64(token.value, token.value_len, &number);
        (void)!cmdline_parse_string(token.value, token.value_len, text, sizeof(text));
        if (cmdline_parse_enum(token.value, token.value_len, names, 3, &index) == 0) {
            assert(index < 3);
        }
    }
    return 0;
}
