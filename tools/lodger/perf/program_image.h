// SPDX-License-Identifier: MIT
//
// One ELF file of this host, opened: its symbols and its call frame information (libelf, libdw).
#pragma once

#include "tools/lodger/util.h"

struct program_image;

// Returns NULL if it is no ELF file that can be read.
struct program_image *program_image_open(const char *path);
void program_image_close(struct program_image *image);

// See program_symbol() and the others in programs.h.
const char *program_image_symbol(
    const struct program_image *image, uint64_t address, uint64_t *offset);
// Address of the function with that name.
bool program_image_find(const struct program_image *image, const char *name, uint64_t *address);
bool program_image_address(
    const struct program_image *image, uint64_t file_offset, uint64_t *address);
bool program_image_leaf_caller(
    struct program_image *image, uint64_t address, const uint64_t words[2], uint64_t *caller);
