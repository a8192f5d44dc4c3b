// SPDX-License-Identifier: MIT
//
// The description of a bootable guest (guests/NAME/guest.txt; format: guests/README.md), and
// packing it.
#pragma once

#include "tools/lodger/cpio.h"

// What a description says besides the files.
struct description {
    char *title; // one line for people
    struct strings
        argv;           // the command that the guest runs; empty: the description has its own /init
    struct strings env; // NAME=VALUE
    struct strings append; // boot options
    char *memory;          // such as "256M", or NULL
    char *cpus;            // number of vCPUs, or NULL
    struct strings inputs; // host files that were packed
};

// Reads the description and adds what it names to `cpio`, which may be NULL: then files are not
// looked at. Programs of this tree are taken from `programs`, the build's folder of guest programs.
// Dies with file and line when the description is wrong or a file is missing.
void description_read(
    const char *path, const char *programs, struct cpio *cpio, struct description *description);

// Adds what every guest has: the folders to mount on, /dev/console, and, where the guest runs a
// command and does not bring its own, /init with the command in /.lodger.
void description_add_basics(struct cpio *cpio, const char *programs, const struct strings *argv,
    const struct strings *env, const char *working_folder);
