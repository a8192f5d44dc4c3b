// SPDX-License-Identifier: MIT
// Transactions.
//
// Theory. What one operation changes belongs to one transaction: between ext4_begin() and
// ext4_end() the transaction lock is held for reading, buffers are changed in place, and each that
// is changed joins the list of the running transaction. A commit takes the lock for writing: no
// operation is half done then and nothing changes while it writes the blocks to the log. With the
// record that ends it on the disk they are committed, and may go home at any time. Whoever has to
// wait for a commit waits for one that also takes along all the others who came meanwhile.
//
// Data is ordered: a block of data becomes part of a file (its extent "written", the size
// growing) in the transaction that its write counts itself into with ext4_data_begin(); that
// transaction is not committed before the count is zero. So what a crash leaves never shows a
// block that has not been written. Blocks that are freed are not used again before the transaction
// that frees them is committed: until then they belong to the old file if the machine dies.
//
// The log is emptied as a whole (a checkpoint): after a commit, when half of it is used or much
// memory is, all committed blocks are written home and the log begins anew. A transaction is at
// most a quarter of the log, so there is always room for the next one. Simpler than a tail that
// moves from transaction to transaction, at the price of a longer write now and then.
//
// Without a journal a commit writes the blocks home at once; nothing is promised for a crash.
//
// Invariants:
//   J1  A buffer on fs->running has been changed since the last commit; nothing else has.
//   J2  A buffer on fs->committed has a copy in the log which is not at home. It is only written
//       home while fs->running is empty: home never sees what is not committed.
//   J3  fs->revoked holds exactly the metadata blocks that the running transaction has freed. None
//       of them is allocated again before the commit, because they are pending in their group.
#include "kernel/fs/ext4/journal.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"

#define HOME_BATCH 64

COUNTER(ext4, commits);
COUNTER(ext4, checkpoints);

int ext4_begin(struct ext4_fs *fs, uint32_t credits, struct ext4_handle *handle)
{
    for (;;) {
        rwlock_read_lock(&fs->transaction_lock);
        const int32_t error = __atomic_load_n(&fs->error, __ATOMIC_RELAXED);
        if (fs->read_only || error != 0) {
            rwlock_read_unlock(&fs->transaction_lock);
            return error != 0 && error != -EUCLEAN ? error : -EROFS;
        }
        const uint64_t id = fs->running_id;
        const uint64_t changed = __atomic_load_n(&fs->running_count, __ATOMIC_RELAXED);
        spin_lock(&fs->transaction_spin);
        // Revoked blocks take less room, but some.
        const uint64_t wanted = changed + fs->revoked_count / 32 + fs->reserved_credits + credits;
        const bool fits =
            wanted <= fs->transaction_max || (changed == 0 && fs->reserved_credits == 0);
        if (fits)
            fs->reserved_credits += credits;
        spin_unlock(&fs->transaction_spin);
        if (fits) {
            *handle = (struct ext4_handle){.fs = fs, .credits = credits};
            return 0;
        }
        rwlock_read_unlock(&fs->transaction_lock);
        const int failed = ext4_commit(fs, id);
        if (failed != 0)
            return failed;
    }
}

void ext4_end(struct ext4_handle *handle)
{
    struct ext4_fs *fs = handle->fs;
    spin_lock(&fs->transaction_spin);
    assert(fs->reserved_credits >= handle->credits);
    fs->reserved_credits -= handle->credits;
    spin_unlock(&fs->transaction_spin);
    rwlock_read_unlock(&fs->transaction_lock);
}

static void join_running(struct ext4_fs *fs, struct ext4_buffer *buffer)
{
    spin_lock(&fs->buffer_lock);
    if (!list_is_linked(&buffer->running)) {
        buffer->refcount++;
        list_add_tail(&fs->running, &buffer->running);
        fs->running_count++;
    }
    spin_unlock(&fs->buffer_lock);
}

void ext4_modify(struct ext4_handle *handle, struct ext4_buffer *buffer)
{
    debug_assert(buffer->uptodate);
    debug_assert(!buffer->stale);
    join_running(handle->fs, buffer);
}

int ext4_forget(struct ext4_handle *handle, uint64_t block)
{
    struct ext4_fs *fs = handle->fs;
    if (fs->journal != NULL) {
        spin_lock(&fs->transaction_spin);
        const int error = xarray_insert(&fs->revoked, block, xarray_value(0));
        if (error == 0)
            fs->revoked_count++;
        spin_unlock(&fs->transaction_spin);
        if (error != 0 && error != -EEXIST)
            return error;
    }
    (void)ext4_buffer_forget(fs, block);
    return 0;
}

void ext4_data_begin(struct ext4_fs *fs, uint32_t count)
{
    __atomic_fetch_add(&fs->data_pending, count, __ATOMIC_RELAXED);
}

void ext4_data_end(struct ext4_fs *fs, uint32_t count)
{
    const uint32_t left = __atomic_sub_fetch(&fs->data_pending, count, __ATOMIC_SEQ_CST);
    assert(left < UINT32_MAX / 2);
    if (left == 0)
        wait_wake_all(&fs->data_queue);
}

// ---- commits ----

// The next buffer of a list after `previous` (NULL: the first), NULL at the end. Nothing changes
// the list meanwhile.
static struct ext4_buffer *next_committed(struct ext4_fs *fs, struct ext4_buffer *previous)
{
    struct list_node *next = previous != NULL ? previous->committed.next : fs->committed.next;
    return next == &fs->committed ? NULL : list_entry(next, struct ext4_buffer, committed);
}

// Writes all committed blocks to where they belong, and waits. J2.
static int write_home(struct ext4_fs *fs)
{
    const struct ext4_device *device = fs->device;
    struct ext4_write writes[HOME_BATCH];
    size_t count = 0;
    int error = 0;
    for (struct ext4_buffer *buffer = next_committed(fs, NULL); buffer != NULL && error == 0;) {
        writes[count++] = (struct ext4_write){.block = buffer->block, .data = buffer->data};
        buffer = next_committed(fs, buffer);
        if (count == HOME_BATCH || buffer == NULL) {
            error = device->ops->write(device->context, writes, count, fs->block_bytes, false);
            count = 0;
        }
    }
    if (error == 0)
        error = device->ops->flush(device->context);
    return error;
}

static void release_committed(struct ext4_fs *fs)
{
    while (!list_is_empty(&fs->committed)) {
        struct ext4_buffer *buffer =
            list_first_entry(&fs->committed, struct ext4_buffer, committed);
        spin_lock(&fs->buffer_lock);
        list_remove(&buffer->committed);
        fs->committed_count--;
        spin_unlock(&fs->buffer_lock);
        ext4_buffer_put(fs, buffer);
    }
}

// From running to committed: the reference goes along.
static void running_is_committed(struct ext4_fs *fs)
{
    struct ext4_buffer *buffer, *following;
    spin_lock(&fs->buffer_lock);
    list_for_each_entry_safe (buffer, following, &fs->running, running) {
        list_remove(&buffer->running);
        fs->running_count--;
        if (list_is_linked(&buffer->committed)) {
            buffer->refcount--;
        } else {
            list_add_tail(&fs->committed, &buffer->committed);
            fs->committed_count++;
        }
    }
    spin_unlock(&fs->buffer_lock);
    assert(fs->running_count == 0);
}

static int checkpoint(struct ext4_fs *fs)
{
    assert(list_is_empty(&fs->running)); // J2
    int error = write_home(fs);
    if (error == 0)
        release_committed(fs);
    if (error == 0 && fs->journal != NULL)
        error = ext4_journal_reset(fs->journal, false);
    counter_add(ext4, checkpoints, 1);
    return error;
}

static bool checkpoint_is_due(const struct ext4_fs *fs)
{
    const struct ext4_journal *journal = fs->journal;
    return journal == NULL || journal->used > (journal->end - journal->first) / 2 ||
           fs->committed_count > fs->buffer_limit / 2;
}

static void seal_all(struct ext4_fs *fs)
{
    if (fs->counts_changed || __atomic_load_n(&fs->mark_error, __ATOMIC_RELAXED))
        join_running(fs, fs->super);
    fs->counts_changed = false;
    ext4_groups_seal(fs);
    if (list_is_linked(&fs->super->running))
        ext4_super_seal(fs);
    struct ext4_buffer *buffer;
    list_for_each_entry (buffer, &fs->running, running)
        ext4_block_seal(fs, buffer);
}

// transaction_lock is held for writing.
static int commit_locked(struct ext4_fs *fs)
{
    int error = __atomic_load_n(&fs->error, __ATOMIC_RELAXED);
    if (error != 0)
        return error;
    if (fs->read_only)
        return 0;
    wait_event(&fs->data_queue, __atomic_load_n(&fs->data_pending, __ATOMIC_SEQ_CST) == 0);
    if (list_is_empty(&fs->running) && fs->revoked_count == 0 && !fs->counts_changed) {
        error = fs->device->ops->flush(fs->device->context);
    } else {
        seal_all(fs);
        error = fs->journal != NULL ? ext4_journal_log(fs->journal) : 0;
        if (error == 0) {
            running_is_committed(fs);
            ext4_pending_clear(fs);
            xarray_destroy(&fs->revoked);
            fs->revoked_count = 0;
            if (checkpoint_is_due(fs))
                error = checkpoint(fs);
        }
        counter_add(ext4, commits, 1);
    }
    if (error != 0) {
        ext4_abort(fs, error, "a commit has failed");
        return error;
    }
    __atomic_store_n(&fs->committed_id, fs->running_id, __ATOMIC_RELEASE);
    __atomic_store_n(&fs->running_id, fs->running_id + 1, __ATOMIC_RELEASE);
    return 0;
}

int ext4_commit(struct ext4_fs *fs, uint64_t id)
{
    int error = 0;
    if (__atomic_load_n(&fs->committed_id, __ATOMIC_ACQUIRE) >= id)
        return fs->device->ops->flush(fs->device->context);
    rwlock_write_lock(&fs->transaction_lock);
    if (fs->committed_id < id)
        error = commit_locked(fs);
    rwlock_write_unlock(&fs->transaction_lock);
    return error;
}

int ext4_journal_stop(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    rwlock_write_lock(&fs->transaction_lock);
    int error = fs->error;
    if (error == 0)
        error = checkpoint(fs);
    if (error == 0)
        error = ext4_journal_reset(journal, true);
    rwlock_write_unlock(&fs->transaction_lock);
    return error;
}
