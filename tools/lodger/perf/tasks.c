// SPDX-License-Identifier: MIT
//
// A table of tasks, by thread id.
#include "tools/lodger/perf/tasks.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tasks_init(struct tasks *tasks)
{
    tasks->slot_count = TASKS_MAX * 2;
    tasks->count = 0;
    tasks->slots = xmalloc(tasks->slot_count * sizeof(struct task *));
    memset(tasks->slots, 0, tasks->slot_count * sizeof(struct task *));
}

static void free_task(struct task *task)
{
    free(task->maps);
    free(task);
}

void tasks_free(struct tasks *tasks)
{
    for (size_t i = 0; i < tasks->slot_count; i++) {
        if (tasks->slots[i] != NULL) {
            free_task(tasks->slots[i]);
        }
    }
    free(tasks->slots);
    *tasks = (struct tasks){};
}

static size_t home_of(const struct tasks *tasks, uint32_t tid)
{
    return (tid * 0x9e3779b1u) & (tasks->slot_count - 1);
}

// The slot of the task, or the free one where it belongs. The table is never more than half full.
static size_t find_slot(const struct tasks *tasks, uint32_t tid)
{
    size_t slot = home_of(tasks, tid);
    while (tasks->slots[slot] != NULL && tasks->slots[slot]->tid != tid) {
        slot = (slot + 1) & (tasks->slot_count - 1);
    }
    return slot;
}

struct task *tasks_find(const struct tasks *tasks, uint32_t tid)
{
    return tasks->slots[find_slot(tasks, tid)];
}

static struct task *get(struct tasks *tasks, uint32_t pid, uint32_t tid)
{
    size_t slot = find_slot(tasks, tid);
    if (tasks->slots[slot] == NULL && tasks->count < TASKS_MAX) {
        struct task *task = xmalloc(sizeof(*task));
        *task = (struct task){.pid = pid, .tid = tid};
        tasks->slots[slot] = task;
        tasks->count++;
    }
    return tasks->slots[slot];
}

void tasks_comm(struct tasks *tasks, uint32_t pid, uint32_t tid, const char *name, bool exec)
{
    struct task *task = get(tasks, pid, tid);
    if (task == NULL) {
        return;
    }
    task->pid = pid;
    snprintf(task->comm, sizeof(task->comm), "%s", name);
    if (exec) {
        task->map_count = 0;
    }
}

void tasks_map(struct tasks *tasks, uint32_t pid, const struct task_map *map)
{
    struct task *task = get(tasks, pid, pid);
    if (task == NULL || map->end <= map->start) {
        return;
    }
    // What it covers is gone.
    unsigned kept = 0;
    for (unsigned i = 0; i < task->map_count; i++) {
        if (task->maps[i].end <= map->start || task->maps[i].start >= map->end) {
            task->maps[kept++] = task->maps[i];
        }
    }
    task->map_count = kept;
    if (task->map_count < MAPS_MAX) {
        task->maps = xrealloc(task->maps, (task->map_count + 1) * sizeof(task->maps[0]));
        task->maps[task->map_count++] = *map;
    }
}

void tasks_fork(
    struct tasks *tasks, uint32_t pid, uint32_t tid, uint32_t parent_pid, uint32_t parent_tid)
{
    const struct task *parent = tasks_find(tasks, parent_tid);
    const struct task *process = tasks_find(tasks, parent_pid);
    struct task *task = get(tasks, pid, tid);
    if (task == NULL) {
        return;
    }
    if (parent != NULL && task != parent) {
        memcpy(task->comm, parent->comm, sizeof(task->comm));
    }
    if (pid == tid && process != NULL && process != task && pid != parent_pid) {
        task->maps = xrealloc(task->maps, (process->map_count + 1) * sizeof(task->maps[0]));
        if (process->map_count > 0) {
            memcpy(task->maps, process->maps, process->map_count * sizeof(task->maps[0]));
        }
        task->map_count = process->map_count;
    }
}

void tasks_exit(struct tasks *tasks, uint32_t tid)
{
    size_t slot = find_slot(tasks, tid);
    if (tasks->slots[slot] == NULL) {
        return;
    }
    free_task(tasks->slots[slot]);
    tasks->slots[slot] = NULL;
    tasks->count--;
    // Those behind it move to where a search finds them.
    for (size_t next = (slot + 1) & (tasks->slot_count - 1); tasks->slots[next] != NULL;
         next = (next + 1) & (tasks->slot_count - 1)) {
        struct task *task = tasks->slots[next];
        tasks->slots[next] = NULL;
        tasks->slots[find_slot(tasks, task->tid)] = task;
    }
}

const struct task_map *tasks_lookup(const struct tasks *tasks, uint32_t pid, uint64_t address)
{
    const struct task *task = tasks_find(tasks, pid);
    for (unsigned i = task != NULL ? task->map_count : 0; i > 0; i--) {
        const struct task_map *map = &task->maps[i - 1];
        if (address >= map->start && address < map->end) {
            return map;
        }
    }
    return NULL;
}
