// SPDX-License-Identifier: MIT
// The disk that the tests of this folder may overwrite: a virtio disk where the machine has one,
// else a ram disk.
#pragma once

#include "tests/guest/check.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

#define BLOCK                    4096
#define CHECK_ERRNO(call, error) ERR(error, call)

CHECK_UNUSED static const char *disk_name(void)
{
    static const char *const names[] = {"/dev/vda", "/dev/ram0"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (access(names[i], F_OK) == 0)
            return names[i];
    return NULL;
}

// Content that tells its place: every 8 bytes differ.
CHECK_UNUSED static void pattern(void *buffer, size_t len, uint64_t offset, uint64_t seed)
{
    uint64_t *words = buffer;
    for (size_t i = 0; i < len / 8; i++)
        words[i] = (offset + i * 8) * 0x9e3779b97f4a7c15ul + seed;
}

CHECK_UNUSED static bool pattern_is(const void *buffer, size_t len, uint64_t offset, uint64_t seed)
{
    const uint64_t *words = buffer;
    for (size_t i = 0; i < len / 8; i++)
        if (words[i] != (offset + i * 8) * 0x9e3779b97f4a7c15ul + seed)
            return false;
    return true;
}

CHECK_UNUSED static void *aligned(size_t len)
{
    void *memory = NULL;
    if (posix_memalign(&memory, BLOCK, len) != 0)
        abort();
    return memory;
}
