// SPDX-License-Identifier: MIT
// Descriptor tables.
//
// A table points to an array of slots with three bitmaps: which descriptors are taken, which of
// those are closed by exec, and which 64-bit words of the first are full, so that the lowest free
// one is found by looking at a few words however many are open. A grown array replaces the old one,
// which is freed after a grace period, so lookups take no lock: they read array and slot under RCU.
//
// A lookup needs no reference to the file either while the running task is the table's only user:
// nobody else can close the descriptor, and the task itself is busy with this call (calls that
// close do not use a borrowed file afterwards). With several users it takes a reference unless the
// file is dying, and looks at the slot again. Files are freed after a grace period.
//
// A taken slot whose pointer is NULL is reserved: a descriptor number for a file that is still
// being opened.
//   1. slot != NULL implies its bit in `open`.  2. a bit of `full` is set if and only if the word
//      of `open` is ~0.
#include "kernel/base/assert.h"
#include "kernel/base/bitmap.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/rcu.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/lock.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

#define FD_INLINE 64u
#define FD_MAX    (1u << 20) // nr_open: no limit lets more be open

struct fd_array {
    uint32_t capacity; // multiple of 64
    struct file **files;
    uint64_t *open, *close_on_exec, *full; // under the table's lock
    struct rcu_head rcu;
};

struct fd_table {
    uint32_t refcount; // tasks that use it, and looks from /proc; atomic
    uint32_t next;     // no free descriptor below; under lock
    struct spinlock lock;
    struct fd_array *array; // RCU
    struct fd_array inline_array;
    struct file *inline_files[FD_INLINE];
    uint64_t inline_bits[3];
};

struct fd_table *fd_table_create(void)
{
    struct fd_table *table = kzalloc(sizeof(*table));
    if (table == NULL)
        return NULL;
    table->refcount = 1;
    spin_lock_init(&table->lock);
    table->inline_array = (struct fd_array){.capacity = FD_INLINE,
        .files = table->inline_files,
        .open = &table->inline_bits[0],
        .close_on_exec = &table->inline_bits[1],
        .full = &table->inline_bits[2]};
    table->array = &table->inline_array;
    return table;
}

static struct fd_array *fd_array_create(uint32_t capacity)
{
    size_t words = capacity / 64;
    size_t bytes = capacity * sizeof(struct file *) + (2 * words + BITMAP_WORDS(words)) * 8;
    struct fd_array *array = kzalloc(sizeof(*array) + bytes);
    if (array == NULL)
        return NULL;
    array->capacity = capacity;
    array->files = (struct file **)(array + 1);
    array->open = (uint64_t *)(array->files + capacity);
    array->close_on_exec = array->open + words;
    array->full = array->close_on_exec + words;
    return array;
}

static void fd_array_copy(struct fd_array *to, const struct fd_array *from)
{
    uint32_t count = MIN(to->capacity, from->capacity);
    memcpy(to->files, from->files, count * sizeof(struct file *));
    memcpy(to->open, from->open, count / 8);
    memcpy(to->close_on_exec, from->close_on_exec, count / 8);
    for (uint32_t word = 0; word < count / 64; word++)
        bitmap_assign(to->full, word, to->open[word] == ~UINT64_C(0));
}

// Makes room for descriptor `fd`. The lock is held, and dropped to allocate. 0, -EMFILE, -ENOMEM.
static int fd_table_grow(struct fd_table *table, uint32_t fd)
{
    while (fd >= table->array->capacity) {
        if (fd >= FD_MAX)
            return -EMFILE;
        uint32_t capacity = (uint32_t)MAX(round_up_power_of_two(fd + 1), UINT64_C(256));
        spin_unlock(&table->lock);
        struct fd_array *array = fd_array_create(capacity);
        spin_lock(&table->lock);
        if (array == NULL)
            return -ENOMEM;
        struct fd_array *old = table->array;
        if (old->capacity >= capacity) { // somebody else was faster
            kfree(array);
            continue;
        }
        fd_array_copy(array, old);
        rcu_store(table->array, array);
        if (old != &table->inline_array)
            kfree_rcu(old, &old->rcu);
    }
    return 0;
}

static void fd_array_take(struct fd_array *array, uint32_t fd, bool close_on_exec)
{
    debug_assert(!bitmap_test(array->open, fd));
    bitmap_set(array->open, fd);
    if (array->open[fd / 64] == ~UINT64_C(0))
        bitmap_set(array->full, fd / 64);
    bitmap_assign(array->close_on_exec, fd, close_on_exec);
}

static void fd_array_release(struct fd_table *table, struct fd_array *array, uint32_t fd)
{
    debug_assert(bitmap_test(array->open, fd));
    bitmap_clear(array->open, fd);
    bitmap_clear(array->full, fd / 64);
    bitmap_clear(array->close_on_exec, fd);
    if (fd < table->next)
        table->next = fd;
}

// Lowest free descriptor at or above `from`; the capacity if there is none.
static uint32_t fd_array_find_free(const struct fd_array *array, uint32_t from)
{
    uint32_t words = array->capacity / 64;
    uint32_t word = from / 64;
    if (word >= words)
        return MAX(from, array->capacity);
    uint64_t free = ~array->open[word] & (~UINT64_C(0) << from % 64);
    if (free == 0) {
        word = (uint32_t)bitmap_find_next_zero(array->full, words, word + 1);
        if (word >= words)
            return array->capacity;
        free = ~array->open[word];
    }
    return word * 64 + bit_lowest(free);
}

struct fd_table *fd_table_clone(struct fd_table *from, uint32_t max_fd, int *error)
{
    *error = -ENOMEM;
    struct fd_table *table = fd_table_create();
    if (table == NULL)
        return NULL;
    spin_lock(&from->lock);
    for (;;) {
        uint32_t last = (uint32_t)bitmap_find_last_set(from->array->open, from->array->capacity);
        uint32_t wanted = last == from->array->capacity ? 0 : MIN(last, max_fd);
        if (wanted < table->array->capacity)
            break;
        struct fd_array *array = NULL;
        uint32_t capacity = (uint32_t)round_up_power_of_two(wanted + 1);
        spin_unlock(&from->lock);
        array = fd_array_create(capacity);
        if (array == NULL) {
            fd_table_put(table);
            return NULL;
        }
        if (table->array != &table->inline_array)
            kfree(table->array);
        table->array = array;
        spin_lock(&from->lock);
    }
    struct fd_array *to = table->array;
    fd_array_copy(to, from->array);
    for (uint32_t fd = 0; fd < to->capacity; fd++) {
        if (!bitmap_test(to->open, fd)) {
            fd = (uint32_t)bitmap_find_next_set(to->open, to->capacity, fd);
            if (fd == to->capacity)
                break;
        }
        if (to->files[fd] != NULL && fd <= max_fd) {
            file_get(to->files[fd]);
        } else { // reserved by an open under way, or beyond
            to->files[fd] = NULL;
            fd_array_release(table, to, fd);
        }
    }
    spin_unlock(&from->lock);
    *error = 0;
    return table;
}

void fd_table_get(struct fd_table *table)
{
    __atomic_fetch_add(&table->refcount, 1, __ATOMIC_RELAXED);
}

bool fd_table_is_shared(const struct fd_table *table)
{
    return __atomic_load_n(&table->refcount, __ATOMIC_RELAXED) > 1;
}

// What closing means beside dropping the reference.
static int fd_file_close(struct fd_table *table, struct file *file)
{
    int error = 0;
    if (file->ops->flush != NULL)
        error = file->ops->flush(file);
    if (file->inode != NULL && file->inode->locks != NULL && !(file->mode & FILE_PATH))
        file_locks_close(file, table);
    file_put(file);
    return error;
}

void fd_table_put(struct fd_table *table)
{
    uint32_t left = __atomic_sub_fetch(&table->refcount, 1, __ATOMIC_ACQ_REL);
    assert(left != UINT32_MAX);
    if (left != 0)
        return;
    struct fd_array *array = table->array;
    uint32_t fd;
    bitmap_for_each_set (fd, array->open, array->capacity) {
        if (array->files[fd] != NULL)
            (void)fd_file_close(table, array->files[fd]);
    }
    if (array != &table->inline_array)
        kfree(array);
    kfree(table);
}

int fd_table_unshare(void)
{
    struct task *task = task_current();
    struct fd_table *old = task->files;
    int error;
    if (__atomic_load_n(&old->refcount, __ATOMIC_ACQUIRE) == 1)
        return 0;
    struct fd_table *table = fd_table_clone(old, UINT32_MAX, &error);
    if (table == NULL)
        return error;
    spin_lock(&task->alloc_lock);
    task->files = table;
    spin_unlock(&task->alloc_lock);
    fd_table_put(old);
    return 0;
}

// ---- lookup ----

static inline struct file *fd_array_load(const struct fd_array *array, uint32_t fd)
{
    return likely(fd < array->capacity) ? rcu_load(array->files[fd]) : NULL;
}

// With a reference; the table may change at any time.
static struct file *fd_table_lookup_shared(struct fd_table *table, uint32_t fd)
{
    struct file *file;
    rcu_read_lock();
    for (;;) {
        file = fd_array_load(rcu_load(table->array), fd);
        if (file == NULL)
            break;
        uint32_t count = __atomic_load_n(&file->refcount, __ATOMIC_RELAXED);
        bool got = false;
        while (count != 0 && !got)
            got = __atomic_compare_exchange_n(
                &file->refcount, &count, count + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
        if (!got)
            continue; // dying: the slot is empty or another file by now
        if (likely(fd_array_load(rcu_load(table->array), fd) == file))
            break;
        rcu_read_unlock();
        file_put(file);
        rcu_read_lock();
    }
    rcu_read_unlock();
    return file;
}

struct file *file_fd_get_any(int fd, bool *borrowed)
{
    struct fd_table *table = task_current()->files;
    if (likely(__atomic_load_n(&table->refcount, __ATOMIC_ACQUIRE) == 1)) {
        *borrowed = true;
        return fd_array_load(table->array, (uint32_t)fd);
    }
    *borrowed = false;
    return fd_table_lookup_shared(table, (uint32_t)fd);
}

struct file *file_fd_get(int fd, bool *borrowed)
{
    struct file *file = file_fd_get_any(fd, borrowed);
    if (file != NULL && unlikely(file->mode & FILE_PATH)) {
        file_fd_put(file, *borrowed);
        return NULL;
    }
    return file;
}

struct file *fd_table_file_get(struct fd_table *table, int fd)
{
    return fd_table_lookup_shared(table, (uint32_t)fd);
}

int fd_table_next(struct fd_table *table, int from)
{
    int result = -1;
    spin_lock(&table->lock);
    const struct fd_array *array = table->array;
    size_t fd = (size_t)MAX(from, 0);
    while ((fd = bitmap_find_next_set(array->open, array->capacity, fd)) < array->capacity) {
        if (array->files[fd] != NULL) {
            result = (int)fd;
            break;
        }
        fd++;
    }
    spin_unlock(&table->lock);
    return result;
}

uint32_t fd_table_capacity(const struct fd_table *table)
{
    return table->array->capacity;
}

bool fd_table_is_close_on_exec(struct fd_table *table, int fd)
{
    spin_lock(&table->lock);
    bool result = (uint32_t)fd < table->array->capacity &&
                  bitmap_test(table->array->close_on_exec, (uint32_t)fd);
    spin_unlock(&table->lock);
    return result;
}

// ---- changes by the running task ----

int file_fd_reserve(int minimum, bool close_on_exec)
{
    struct fd_table *table = task_current()->files;
    uint64_t limit = process_limit(RLIMIT_NOFILE);
    spin_lock(&table->lock);
    uint32_t from = MAX((uint32_t)minimum, table->next);
    uint32_t fd;
    int error = 0;
    for (;;) {
        fd = fd_array_find_free(table->array, from);
        if (fd >= limit) {
            error = -EMFILE;
            break;
        }
        if (likely(fd < table->array->capacity))
            break;
        error = fd_table_grow(table, fd);
        if (error != 0)
            break;
    }
    if (error == 0) {
        fd_array_take(table->array, fd, close_on_exec);
        if ((uint32_t)minimum <= table->next)
            table->next = fd + 1;
    }
    spin_unlock(&table->lock);
    return error != 0 ? error : (int)fd;
}

void file_fd_install(int fd, struct file *file)
{
    struct fd_table *table = task_current()->files;
    spin_lock(&table->lock);
    debug_assert(bitmap_test(table->array->open, (uint32_t)fd));
    assert(table->array->files[fd] == NULL);
    rcu_store(table->array->files[fd], file);
    spin_unlock(&table->lock);
}

void file_fd_release(int fd)
{
    struct fd_table *table = task_current()->files;
    spin_lock(&table->lock);
    assert(table->array->files[fd] == NULL);
    fd_array_release(table, table->array, (uint32_t)fd);
    spin_unlock(&table->lock);
}

int file_fd_add(struct file *file, bool close_on_exec)
{
    int fd = file_fd_reserve(0, close_on_exec);
    if (fd < 0)
        file_put(file);
    else
        file_fd_install(fd, file);
    return fd;
}

// Empties the slot; the lock is held. NULL: nothing was open there.
static struct file *fd_table_take_out(struct fd_table *table, uint32_t fd)
{
    struct fd_array *array = table->array;
    struct file *file = fd < array->capacity ? array->files[fd] : NULL;
    if (file != NULL) {
        rcu_store(array->files[fd], (struct file *)NULL);
        fd_array_release(table, array, fd);
    }
    return file;
}

int file_fd_close(int fd)
{
    struct fd_table *table = task_current()->files;
    spin_lock(&table->lock);
    struct file *file = fd_table_take_out(table, (uint32_t)fd);
    spin_unlock(&table->lock);
    return file != NULL ? fd_file_close(table, file) : -EBADF;
}

int file_fd_replace(int fd, struct file *file, bool close_on_exec)
{
    struct fd_table *table = task_current()->files;
    struct file *old = NULL;
    int error = (uint64_t)(uint32_t)fd >= process_limit(RLIMIT_NOFILE) ? -EBADF : 0;
    spin_lock(&table->lock);
    if (error == 0)
        error = fd_table_grow(table, (uint32_t)fd);
    if (error == 0) {
        struct fd_array *array = table->array;
        old = array->files[fd];
        if (old == NULL && bitmap_test(array->open, (uint32_t)fd)) {
            error = -EBUSY; // another thread is opening just this one
        } else {
            if (old == NULL)
                fd_array_take(array, (uint32_t)fd, close_on_exec);
            bitmap_assign(array->close_on_exec, (uint32_t)fd, close_on_exec);
            rcu_store(array->files[fd], file);
        }
    }
    spin_unlock(&table->lock);
    if (error != 0) {
        file_put(file);
        return error;
    }
    if (old != NULL)
        (void)fd_file_close(table, old);
    return fd;
}

int file_fd_flags_get(int fd)
{
    struct fd_table *table = task_current()->files;
    int flags = -EBADF;
    spin_lock(&table->lock);
    if ((uint32_t)fd < table->array->capacity && table->array->files[fd] != NULL)
        flags = bitmap_test(table->array->close_on_exec, (uint32_t)fd) ? FD_CLOEXEC : 0;
    spin_unlock(&table->lock);
    return flags;
}

int file_fd_flags_set(int fd, bool close_on_exec)
{
    struct fd_table *table = task_current()->files;
    int error = -EBADF;
    spin_lock(&table->lock);
    if ((uint32_t)fd < table->array->capacity && table->array->files[fd] != NULL) {
        bitmap_assign(table->array->close_on_exec, (uint32_t)fd, close_on_exec);
        error = 0;
    }
    spin_unlock(&table->lock);
    return error;
}

// Closes all descriptors of [first, last] that are in `which` (NULL: all that are open).
static void fd_table_close_some(
    struct fd_table *table, uint32_t first, uint32_t last, bool marked_only)
{
    spin_lock(&table->lock);
    for (uint32_t fd = first;; fd++) {
        struct fd_array *array = table->array;
        const uint64_t *which = marked_only ? array->close_on_exec : array->open;
        fd = (uint32_t)bitmap_find_next_set(which, array->capacity, fd);
        if (fd >= array->capacity || fd > last)
            break;
        struct file *file = fd_table_take_out(table, fd);
        if (file == NULL)
            continue;
        spin_unlock(&table->lock);
        (void)fd_file_close(table, file);
        spin_lock(&table->lock);
    }
    spin_unlock(&table->lock);
}

void fd_table_close_on_exec(struct fd_table *table)
{
    fd_table_close_some(table, 0, UINT32_MAX, true);
}

void file_fd_close_range(uint32_t first, uint32_t last, bool only_mark)
{
    struct fd_table *table = task_current()->files;
    if (!only_mark) {
        fd_table_close_some(table, first, last, false);
        return;
    }
    spin_lock(&table->lock);
    struct fd_array *array = table->array;
    for (uint32_t fd = first; fd < array->capacity && fd <= last; fd++)
        if (array->files[fd] != NULL)
            bitmap_set(array->close_on_exec, fd);
    spin_unlock(&table->lock);
}
