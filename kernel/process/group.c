// SPDX-License-Identifier: MIT
// Process groups and sessions: who belongs to which, setpgid and setsid, orphaned groups.
//
// A session has no object of its own: the group with the session's number stands for it, and stays
// (perhaps without members) until no group of the session has members.
#include "kernel/process/process.h"
#include "mm/slab.h"

#define TABLE_SIZE 128

static struct hlist_head table[TABLE_SIZE]; // by id; task_list_lock

struct process_group *process_group_allocate(void)
{
    return kzalloc(sizeof(struct process_group));
}

struct process_group *process_group_find(int32_t id)
{
    assert_lock_held(&task_list_lock);
    struct process_group *group;
    hlist_for_each_entry (group, &table[(uint32_t)id % TABLE_SIZE], node) {
        if (group->id == id)
            return group;
    }
    return NULL;
}

void process_group_add(struct process_group *group)
{
    assert_lock_held(&task_list_lock);
    debug_assert(process_group_find(group->id) == NULL);
    hlist_add_head(&table[(uint32_t)group->id % TABLE_SIZE], &group->node);
}

// Frees a group that nothing needs any more, and its number.
static void group_free_unused(struct process_group *group)
{
    if (group->member_count != 0 || group->session_groups != 0)
        return;
    int32_t id = group->id;
    hlist_remove(&group->node);
    kfree(group);
    pid_number_release(id);
}

void process_group_join(struct process *process, struct process_group *group)
{
    assert_lock_held(&task_list_lock);
    assert(process->group_entry == NULL);
    if (group->member_count++ == 0)
        group->session->session_groups++;
    hlist_add_head(&group->members, &process->group_node);
    process->group_entry = group;
    process->group = group->id;
    process->session = group->session->id;
}

void process_group_found(struct process *process, struct process_group *fresh, bool new_session)
{
    assert_lock_held(&task_list_lock);
    fresh->id = process->pid;
    fresh->session = new_session ? fresh : process->group_entry->session;
    process_group_add(fresh);
    if (process->group_entry == NULL) {
        process_group_join(process, fresh);
        return;
    }
    // The new one is entered before the old one is left: the session stays.
    struct process_group *old = process->group_entry;
    hlist_remove(&process->group_node);
    process->group_entry = NULL;
    process_group_join(process, fresh);
    struct process_group *session = old->session;
    if (--old->member_count == 0)
        session->session_groups--;
    if (old != session)
        group_free_unused(old);
    group_free_unused(session);
}

void process_group_leave(struct process *process)
{
    assert_lock_held(&task_list_lock);
    struct process_group *group = process->group_entry;
    struct process_group *session = group->session;
    hlist_remove(&process->group_node);
    process->group_entry = NULL;
    if (--group->member_count == 0)
        session->session_groups--;
    if (group != session)
        group_free_unused(group);
    group_free_unused(session);
}

// A group is orphaned when no member has a parent in another group of the same session: nobody is
// left who could continue it once it stops (POSIX).
bool process_group_is_orphaned_without(int32_t id, const struct process *leaving)
{
    assert_lock_held(&task_list_lock);
    struct process_group *group = process_group_find(id);
    if (group == NULL)
        return true;
    struct process *member;
    hlist_for_each_entry (member, &group->members, group_node) {
        struct process *parent = member->parent;
        if (member == leaving || member->state != PROCESS_ALIVE || parent == NULL ||
            parent == process_init)
            continue;
        if (parent->group != id && parent->session == member->session)
            return false;
    }
    return true;
}

bool process_group_is_orphaned(int32_t group)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    bool orphaned = process_group_is_orphaned_without(group, NULL);
    spin_unlock_irqrestore(&task_list_lock, flags);
    return orphaned;
}

bool process_group_has_stopped(int32_t id)
{
    assert_lock_held(&task_list_lock);
    struct process_group *group = process_group_find(id);
    if (group == NULL)
        return false;
    struct process *member;
    hlist_for_each_entry (member, &group->members, group_node) {
        if (atomic_load_relaxed(&member->stopped))
            return true;
    }
    return false;
}

bool process_group_in_session(int32_t id, int32_t session)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process_group *group = process_group_find(id);
    bool found = group != NULL && group->member_count != 0 && group->session->id == session;
    spin_unlock_irqrestore(&task_list_lock, flags);
    return found;
}

bool process_group_is_known(int32_t id)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    bool known =
        process_group_find(id) != NULL || task_lookup(id) != NULL; // any use of the number counts
    spin_unlock_irqrestore(&task_list_lock, flags);
    return known;
}

void process_session_clear_tty(int32_t session, struct tty *tty)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process *process;
    list_for_each_entry (process, &process_list, process_node) {
        if (process->session == session && process->tty == tty)
            process->tty = NULL;
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
}

// May `process` enter the group `id`? 0, and *group the group (NULL: to be founded), or the error
// of setpgid(2).
static int set_group_check(struct process *process, int32_t id, struct process_group **group)
{
    struct process *self = process_current();
    if (process == NULL || (process != self && process->parent != self))
        return -ESRCH;
    if (process != self) {
        if (process->session != self->session)
            return -EPERM;
        if (process->did_exec)
            return -EACCES;
    }
    if (process->session_leader)
        return -EPERM;
    *group = process_group_find(id);
    if (*group != NULL && (*group)->member_count == 0)
        return -EPERM; // only a session's number is left of it
    if (*group == NULL)
        return id == process->pid ? 0 : -EPERM;
    return (*group)->session->id == process->session ? 0 : -EPERM;
}

int process_set_group(int32_t pid, int32_t id)
{
    if (pid == 0)
        pid = process_current()->pid;
    if (id == 0)
        id = pid;
    if (id < 0)
        return -EINVAL;
    struct process_group *fresh = process_group_allocate();
    if (fresh == NULL)
        return -ENOMEM;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct task *task = task_lookup(pid);
    struct process *process = process_lookup(pid);
    struct process_group *group = NULL;
    int error = task != NULL && process == NULL ? -EINVAL : set_group_check(process, id, &group);
    if (error == 0 && group == NULL) {
        process_group_found(process, fresh, false);
        fresh = NULL;
    } else if (error == 0 && group != process->group_entry) {
        process_group_leave(process); // `group` stays: it has other members
        process_group_join(process, group);
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
    kfree(fresh);
    return error;
}

int process_set_session(void)
{
    struct process *process = process_current();
    struct process_group *fresh = process_group_allocate();
    if (fresh == NULL)
        return -ENOMEM;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    int result = -EPERM;
    if (!process->session_leader && process_group_find(process->pid) == NULL) {
        process_group_found(process, fresh, true);
        fresh = NULL;
        process->session_leader = true;
        process->tty = NULL;
        result = process->pid;
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
    kfree(fresh);
    return result;
}
