// SPDX-License-Identifier: MIT
//
// Files that a guest runs: where this host has a copy, their symbols, and who called a leaf
// function.
//
// Copies come from the guest's initial file system (QEMU's -initrd) and from the same path of this
// host if its build-id is the guest's. Each that a recording names goes into perf's cache of
// build-ids ($HOME/.debug), so that perf finds it later, whatever happens to the original. A file
// without a build-id lies there too and is named by its place there.
//
// Names come from the guest: they are never opened as they are, only compared, or joined to a path
// after they were checked.
#pragma once

#include "tools/lodger/util.h"

#define PROGRAMS_MAX 4096u

struct program {
    char *name;       // as the guest calls it
    char *host_path;  // of the copy, or NULL: there is none
    char *shown_path; // what a recording calls it: `name`, or `host_path`
    uint8_t build_id[20];
    unsigned build_id_bytes;
    struct program_image *image; // symbols and call frame information, read at first use
    bool image_failed;
    bool kernel;
};

struct programs {
    struct buffer initrd; // of the guest, or empty
    struct program **items;
    size_t count;
};

// Takes the files of an initial file system (newc, not compressed); NULL: there is none.
void programs_init(struct programs *programs, const char *initrd);
void programs_free(struct programs *programs);

// The program of that name and build-id (0 bytes: none known). NULL: there are too many.
struct program *programs_get(
    struct programs *programs, const char *name, const uint8_t *build_id, unsigned build_id_bytes);

// The kernel as a program, from its ELF file.
struct program *programs_add_kernel(
    struct programs *programs, const char *path, const uint8_t *build_id, unsigned build_id_bytes);

// Name of the function at an address of the ELF file, or NULL. `offset` is from its start.
const char *program_symbol(struct program *program, uint64_t address, uint64_t *offset);

// The ELF address of a byte of the file; false: it is not loaded.
bool program_address(struct program *program, uint64_t file_offset, uint64_t *address);

// Whether the function at `address` (of the ELF file) has no frame there, so that its caller is
// not among the callers by frame pointers: then `caller` is the one of the two words at the stack
// pointer in which the return address lies.
bool program_leaf_caller(
    struct program *program, uint64_t address, const uint64_t words[2], uint64_t *caller);
