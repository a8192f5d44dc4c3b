// SPDX-License-Identifier: MIT
// perf_event_open(2): what a program may ask for, and making it.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include "perf/event/event.h"
#include "perf/event/open.h"

#include <linux/capability.h>
#include <linux/time.h>

#define SAMPLE_TYPES                                                                               \
    (PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR | PERF_SAMPLE_READ |   \
        PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD |            \
        PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_RAW | PERF_SAMPLE_IDENTIFIER)

int32_t perf_event_paranoid = 2;
uint32_t perf_event_rate_max = PERF_EVENT_RATE_MAX;
static uint64_t next_id; // atomic

// ---- checks -------------------------------------------------------------------------------------

// As Linux: programs that were built for a newer kernel may ask for nothing that is not known here,
// and are told how long the known part is.
static int attr_copy(struct perf_event_attr *attr, uintptr_t user)
{
    uint32_t size;
    int error = user_get_u32(&size, user + offsetof(struct perf_event_attr, size));
    if (error != 0)
        return error;
    if (size == 0)
        size = PERF_ATTR_SIZE_VER0;
    bool too_big = size < PERF_ATTR_SIZE_VER0 || size > PAGE_SIZE;
    for (uint32_t at = sizeof(*attr); !too_big && at < size; at += sizeof(uint8_t)) {
        uint8_t byte;
        error = copy_from_user(&byte, user + at, sizeof(byte));
        if (error != 0)
            return error;
        too_big = byte != 0;
    }
    if (too_big) {
        error = user_put_u32(user + offsetof(struct perf_event_attr, size), sizeof(*attr));
        return error != 0 ? error : -E2BIG;
    }
    memset(attr, 0, sizeof(*attr));
    error = copy_from_user(attr, user, MIN(size, (uint32_t)sizeof(*attr)));
    attr->size = size;
    return error;
}

static bool clock_is_known(const struct perf_event_attr *attr)
{
    return !attr->use_clockid || attr->clockid == CLOCK_MONOTONIC ||
           attr->clockid == CLOCK_MONOTONIC_RAW || attr->clockid == CLOCK_BOOTTIME;
}

static int attr_check(const struct perf_event_attr *attr)
{
    if (attr->__reserved_1 != 0 || attr->__reserved_2 != 0 || attr->__reserved_3 != 0 ||
        (attr->sample_type & ~(uint64_t)(PERF_SAMPLE_MAX - 1)) != 0 ||
        (attr->read_format & ~(uint64_t)(PERF_FORMAT_MAX - 1)) != 0 || !clock_is_known(attr))
        return -EINVAL;
    if (attr->inherit && (attr->read_format & PERF_FORMAT_GROUP))
        return -EINVAL;
    if (attr->freq ? attr->sample_freq > atomic_load_relaxed(&perf_event_rate_max)
                   : (attr->sample_period >> 63) != 0)
        return -EINVAL;
    if (attr->remove_on_exec && attr->enable_on_exec)
        return -EINVAL;
    if ((attr->sample_type & ~(uint64_t)SAMPLE_TYPES) != 0 || attr->write_backward ||
        attr->aux_output || attr->sigtrap || attr->precise_ip != 0 || attr->cgroup)
        return -EOPNOTSUPP;
    if ((attr->sample_type & PERF_SAMPLE_READ) && (attr->read_format & PERF_FORMAT_GROUP))
        return -EOPNOTSUPP; // a sample holds one event's count
    return 0;
}

static int may_open(const struct perf_event_attr *attr, const struct task *task)
{
    bool privileged = capable(CAP_PERFMON) || capable(CAP_SYS_ADMIN);
    int32_t paranoid = atomic_load_relaxed(&perf_event_paranoid);
    if (privileged)
        return 0;
    if ((paranoid > 1 && !attr->exclude_kernel) || (paranoid > 0 && task == NULL))
        return -EACCES;
    if (attr->type == PERF_TYPE_TRACEPOINT && paranoid > -1)
        return -EPERM;
    if (task != NULL && task != task_current() && task->cred->user != task_current()->cred->user)
        return -EACCES;
    return 0;
}

// ---- making -------------------------------------------------------------------------------------

struct perf_event *perf_event_new(const struct perf_event_attr *attr, struct task *task, int cpu)
{
    struct perf_event *event = kzalloc(sizeof(*event));
    if (event == NULL)
        return NULL;
    event->attr = *attr;
    event->id = atomic_fetch_add(&next_id, UINT64_C(1)) + 1;
    event->cpu = cpu;
    event->task = task;
    if (task != NULL)
        task_get(task);
    event->leader = event;
    event->enabled = !attr->disabled;
    pmu_group_init(&event->counters, attr->pinned);
    list_init(&event->siblings);
    list_init(&event->children);
    list_init(&event->child_node);
    wait_queue_init(&event->wait);
    return event;
}

void perf_event_free(struct perf_event *event)
{
    assert(event->context == NULL && !event->active);
    perf_event_source_remove(event);
    perf_event_sync_all(); // it is on no list of those to wake
    if (event->buffer != NULL)
        perf_buffer_put(event->buffer);
    if (event->task != NULL)
        task_put(event->task);
    kfree(event);
}

struct perf_event *perf_event_inherit(struct perf_event *event, struct task *child)
{
    struct perf_event *copy = perf_event_new(&event->attr, child, event->cpu);
    struct perf_context *context = copy != NULL ? perf_context_for(child, -1) : NULL;
    if (context == NULL) {
        if (copy != NULL)
            task_put(child);
        kfree(copy);
        return NULL;
    }
    copy->parent = event->parent != NULL ? event->parent : event;
    copy->kind = event->kind;
    copy->points[0] = event->points[0];
    copy->points[1] = event->points[1];
    copy->raw = event->raw;
    copy->counter = event->counter;
    pmu_event_inherit(&copy->counter);
    copy->enabled = event->enabled && event->leader->enabled;
    copy->buffer = copy->parent->buffer;
    if (copy->buffer != NULL)
        perf_buffer_get(copy->buffer);
    list_add_tail(&copy->parent->children, &copy->child_node);
    perf_event_source_add(copy);
    perf_event_attach(copy, context);
    return copy;
}

static int join_group(struct perf_event *event, struct perf_event *leader)
{
    if (leader->leader != leader || leader->cpu != event->cpu || leader->task != event->task)
        return -EINVAL;
    if (event->kind == PERF_EVENT_COUNTER && !perf_hardware_fits(event, leader))
        return -EINVAL;
    event->leader = leader;
    list_add_tail(&leader->siblings, &event->sibling_node);
    leader->sibling_count++;
    return 0;
}

// Puts a new event to work. events_lock held.
static int event_begin(struct perf_event *event, struct perf_event *group, uint64_t flags)
{
    if (event->task != NULL && event->task->exiting)
        return -ESRCH; // perf_event_exit() comes after `exiting`
    struct perf_context *context = perf_context_for(event->task, event->cpu);
    int error = context == NULL ? -ENOMEM : 0;
    if (error == 0 && group != NULL && (flags & PERF_FLAG_FD_OUTPUT))
        error = perf_event_set_output(event, group);
    if (error == 0 && group != NULL && !(flags & PERF_FLAG_FD_NO_GROUP))
        error = join_group(event, group);
    if (error != 0) {
        if (context != NULL)
            perf_context_put(context);
        return error;
    }
    perf_event_attach(event, context);
    perf_event_sync_all();
    return 0;
}

static int64_t event_file(struct perf_event *event, struct perf_event *group, uint64_t flags)
{
    struct file *file = file_create_anonymous("[perf_event]", &perf_event_file_ops, event, O_RDWR);
    if (file == NULL)
        return -ENOMEM;
    int fd = file_fd_reserve(0, (flags & PERF_FLAG_FD_CLOEXEC) != 0);
    int error = fd;
    if (fd >= 0) {
        mutex_lock(&events_lock);
        error = perf_event_records_prepare();
        if (error == 0)
            error = event_begin(event, group, flags);
        mutex_unlock(&events_lock);
    }
    if (error < 0) {
        if (fd >= 0)
            file_fd_release(fd);
        file_discard(file);
        return error;
    }
    file_fd_install(fd, file);
    return fd;
}

static int64_t open_for(const struct perf_event_attr *attr, struct task *task, int cpu,
    struct perf_event *group, uint64_t flags)
{
    int error = may_open(attr, task);
    if (error != 0)
        return error;
    struct perf_event *event = perf_event_new(attr, task, cpu);
    if (event == NULL)
        return -ENOMEM;
    mutex_lock(&events_lock);
    error = perf_event_source_find(event);
    mutex_unlock(&events_lock);
    if (error != 0) {
        if (task != NULL)
            task_put(task);
        kfree(event);
        return error;
    }
    perf_event_source_add(event);
    int64_t fd = event_file(event, group, flags);
    if (fd < 0) {
        mutex_lock(&events_lock);
        perf_event_free(event);
        mutex_unlock(&events_lock);
    }
    return fd;
}

static int64_t open_in_group(
    const struct perf_event_attr *attr, struct task *task, int cpu, int group_fd, uint64_t flags)
{
    if (group_fd == -1)
        return open_for(attr, task, cpu, NULL, flags);
    bool borrowed;
    struct file *file = file_fd_get(group_fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    struct perf_event *group = perf_event_of_file(file);
    int64_t fd = group == NULL ? -EBADF : open_for(attr, task, cpu, group, flags);
    file_fd_put(file, borrowed);
    return fd;
}

int64_t perf_event_open(uintptr_t user_attr, int32_t pid, int32_t cpu, int group_fd, uint64_t flags)
{
    const uint64_t known = PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_OUTPUT | PERF_FLAG_FD_CLOEXEC;
    struct perf_event_attr attr;
    if ((flags & PERF_FLAG_PID_CGROUP) != 0 || (flags & ~known) != 0)
        return -EINVAL;
    int error = attr_copy(&attr, user_attr);
    if (error == 0)
        error = attr_check(&attr);
    if (error != 0)
        return error;
    if (pid < -1 || cpu < -1 || (pid == -1 && cpu == -1))
        return -EINVAL;
    if (cpu >= 0 && ((uint32_t)cpu >= CPU_MAX || !cpumask_test(&cpu_online, (uint32_t)cpu)))
        return (uint32_t)cpu >= cpu_count_possible ? -EINVAL : -ENODEV;
    if (pid == -1)
        return open_in_group(&attr, NULL, cpu, group_fd, flags);
    struct task *task = task_find_get(pid == 0 ? task_current()->tid : pid);
    if (task == NULL)
        return -ESRCH;
    int64_t fd = open_in_group(&attr, task, cpu, group_fd, flags);
    task_put(task);
    return fd;
}
