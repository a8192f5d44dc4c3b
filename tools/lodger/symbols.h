// SPDX-License-Identifier: MIT
//
// Function names and source lines for addresses of the kernel.
#pragma once

#include "tools/lodger/util.h"

struct symbols;

// Opens the ELF file's symbols. Returns NULL when it has none that can be read.
struct symbols *symbols_open(const char *path);
void symbols_close(struct symbols *symbols);

// Describes the code address as "function+0x12 (mm/page.c:123)"; functions inlined there come
// first, separated by " < ". Returns an allocated string, or NULL if the address is in no function.
char *symbols_describe(struct symbols *symbols, uint64_t address);

// Copies `text` with a description after each kernel address that stands in it as 0xffffffff8... or
// ffffffff8.... In lines of a call chain ("  #N 0xADDR") the address is a return address, so the
// call before it is described.
char *symbols_annotate(struct symbols *symbols, const char *text);
