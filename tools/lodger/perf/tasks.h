// SPDX-License-Identifier: MIT
//
// The tasks of a guest as its side-band records tell: names, and which file is mapped where.
//
// What a guest says is bounded: TASKS_MAX tasks and MAPS_MAX mappings of one process; what is
// beyond is not kept, and its samples have no symbols in live views. Files that are recorded are
// not touched by that.
#pragma once

#include "tools/lodger/perf/programs.h"

#define TASKS_MAX 32768u
#define MAPS_MAX  1024u

struct task_map {
    uint64_t start, end;
    uint64_t offset_bytes;
    struct program *program;
};

struct task {
    uint32_t pid, tid;
    char comm[16];
    struct task_map *maps; // of a process: tid == pid
    unsigned map_count;
};

struct tasks {
    struct task **slots; // open addressing by tid, a power of two
    size_t slot_count, count;
};

void tasks_init(struct tasks *tasks);
void tasks_free(struct tasks *tasks);

// NULL: not known.
struct task *tasks_find(const struct tasks *tasks, uint32_t tid);

void tasks_comm(struct tasks *tasks, uint32_t pid, uint32_t tid, const char *name, bool exec);
void tasks_map(struct tasks *tasks, uint32_t pid, const struct task_map *map);
void tasks_fork(
    struct tasks *tasks, uint32_t pid, uint32_t tid, uint32_t parent_pid, uint32_t parent_tid);
void tasks_exit(struct tasks *tasks, uint32_t tid);

// The mapping that holds a program's address, or NULL.
const struct task_map *tasks_lookup(const struct tasks *tasks, uint32_t pid, uint64_t address);
