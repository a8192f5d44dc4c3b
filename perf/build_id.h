// SPDX-License-Identifier: MIT
// The build-id of an ELF64 file: the note that linkers leave, NT_GNU_BUILD_ID (System V ABI, Note
// Section; names and numbers in linux/elf.h).
#pragma once

#include "kernel/base/types.h"

#define PERF_BUILD_ID_MAX 20

// Reads `len` bytes of the file at `offset`; bytes read or -errno.
typedef int64_t perf_file_reader(void *file, void *to, size_t len, uint64_t offset);

// The first build-id of at most PERF_BUILD_ID_MAX bytes; its length, 0: there is none. The file may
// be anything. Calls `reader` a limited number of times; its context otherwise.
uint32_t perf_build_id_read(
    perf_file_reader *reader, void *file, uint8_t build_id[PERF_BUILD_ID_MAX]);
