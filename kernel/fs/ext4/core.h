// SPDX-License-Identifier: MIT
// ext4 without the VFS: file systems, blocks, transactions, inodes ("nodes" here), their maps and
// directories. It knows its device through a table of functions, so all of it is also compiled for
// the host, where the device is an array (host_test, fuzzer).
//
// The image is hostile. Every number is checked once, where it enters: the superblock and group
// descriptors when they are read at the mount, a metadata block when it is read into a buffer
// (kind, block_check.c), an inode when it becomes a node. A bad one is reported by
// ext4_corrupted() and the operation fails with -EUCLEAN.
//
// Locks, in order (each below a directory's or file's inode->lock of the VFS):
//   fs->transaction_lock   read: from ext4_begin() to ext4_end(); write: a commit
//   node->map_lock         the block map of a node
//   fs->orphan_lock        the list of orphans
//   node->write_lock       copying a node to its place in the inode table
//   fs->alloc_lock         bitmaps, group descriptors, counts
//   buffer->lock           while a block is read
//   fs->buffer_lock        spin lock: which buffers exist, their lists
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/xarray.h"
#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/wait.h"
#include "kernel/fs/ext4/format.h"

struct ext4_buffer;
struct ext4_fs;
struct ext4_journal;
struct ext4_node;

// ---- the device ----

struct ext4_write {
    uint64_t block;
    void *data;
};

// Task context, may sleep. 0 or -errno.
struct ext4_device_ops {
    int (*read)(void *device, uint64_t block, uint32_t block_bytes, void *data);
    // All of them, in any order; durable after a flush, or with `fua` at once.
    int (*write)(void *device, const struct ext4_write *writes, size_t count, uint32_t block_bytes,
        bool fua);
    int (*flush)(void *device);
    // Memory for one block, suitable for the two above.
    void *(*memory_alloc)(void *device, uint32_t block_bytes);
    void (*memory_free)(void *device, void *memory, uint32_t block_bytes);
    int64_t (*now_ns)(void *device); // real time
};

struct ext4_device {
    const struct ext4_device_ops *ops;
    void *context;
    uint64_t size_bytes;
    bool read_only;
    char name[32];
};

// ---- buffers: blocks of metadata ----

enum ext4_kind : uint8_t {
    EXT4_KIND_RAW, // checked by its user: superblock, inode tables, bitmaps, descriptors
    EXT4_KIND_EXTENTS,
    EXT4_KIND_POINTERS, // indirect block
    EXT4_KIND_ENTRIES,  // directory: entries
    EXT4_KIND_INDEX_ROOT,
    EXT4_KIND_INDEX,
    EXT4_KIND_XATTR,
};

struct ext4_buffer {
    uint64_t block;
    uint8_t *data;
    struct mutex lock;          // held while it is read
    struct list_node lru;       // of those that are clean and unused; under buffer_lock
    struct list_node running;   // of the running transaction; likewise
    struct list_node committed; // committed, not yet at home; likewise
    uint32_t refcount;          // users and the lists above; under buffer_lock
    uint32_t owner;             // seed of the checksum; set with `kind`
    enum ext4_kind kind;        // what it was checked as
    bool uptodate;              // data is valid; written under lock, or by who has just made it
    bool stale;                 // the block was freed: not in the table any more
};

// The block, read and checked. owner: node->seed. -EIO, -EUCLEAN, -ENOMEM.
[[nodiscard]] int ext4_buffer_read(struct ext4_fs *fs, uint64_t block, enum ext4_kind kind,
    const struct ext4_node *owner, struct ext4_buffer **result);
// A block that has just been allocated: all zero, nothing is read.
[[nodiscard]] int ext4_buffer_new(struct ext4_fs *fs, uint64_t block, enum ext4_kind kind,
    const struct ext4_node *owner, struct ext4_buffer **result);
void ext4_buffer_put(struct ext4_fs *fs, struct ext4_buffer *buffer);
// Takes a freed block's buffer out of the table. Whether its content is committed and not at home.
bool ext4_buffer_forget(struct ext4_fs *fs, uint64_t block);
void ext4_buffers_destroy(struct ext4_fs *fs);
// 0 or -EUCLEAN. block_check.c
[[nodiscard]] int ext4_block_check(struct ext4_fs *fs, const struct ext4_buffer *buffer);
// Writes the checksum into a block before it goes out.
void ext4_block_seal(const struct ext4_fs *fs, struct ext4_buffer *buffer);

// ---- file systems ----

struct ext4_group { // under alloc_lock, but for the first three, which are fixed
    uint64_t block_bitmap, inode_bitmap, inode_table;
    uint32_t free_blocks, free_inodes, directories, unused_inodes;
    uint16_t flags;
    bool block_bitmap_checked, inode_bitmap_checked;
    bool touched;      // its descriptor is to be sealed before the commit
    uint64_t *pending; // blocks freed by the running transaction: not to be used before its commit
};

struct ext4_fs {
    struct ext4_device *device;
    // Fixed by the superblock, checked at mount.
    uint32_t block_bytes, block_bits;
    uint64_t block_count;
    uint32_t first_data_block, blocks_per_group, inodes_per_group, inode_count, inode_bytes;
    uint32_t descriptor_bytes, group_count, first_inode, first_meta_group, reserved_descriptors;
    uint32_t compat, incompat, ro_compat;
    uint32_t hash_seed[4], hash_version; // EXT2_HASH_*
    bool hash_unsigned;
    uint32_t checksum_seed;
    uint8_t uuid[16];
    uint32_t backup_groups[2]; // with sparse_super2
    bool metadata_checksum, group_checksum;
    uint16_t extra_bytes;     // of new inodes
    uint64_t reserved_blocks; // for root
    uint64_t internal_blocks; // for splitting extents when data goes out
    uint64_t size_max_extents, size_max_pointers;

    bool read_only;
    int32_t error;         // -EIO, -EUCLEAN: nothing is written any more; atomic
    bool errors_read_only; // s_errors
    bool mark_error;       // the superblock is to say that the file system has errors; atomic
    uint32_t reports;      // complaints so far; atomic

    struct ext4_group *groups;
    struct mutex alloc_lock;
    uint64_t free_blocks;    // sums; under alloc_lock
    uint64_t pending_blocks; // freed by the running transaction; under alloc_lock
    uint32_t free_inodes;
    bool counts_changed; // since the superblock was written; under alloc_lock

    struct spinlock buffer_lock;
    struct xarray buffers; // block → buffer
    struct list_node lru, running, committed;
    uint64_t buffer_count, buffer_limit, running_count, committed_count;

    struct rwlock transaction_lock;
    struct spinlock transaction_spin; // the next four
    uint32_t reserved_credits;
    uint32_t transaction_max; // blocks
    struct xarray revoked;    // of the running transaction; under transaction_spin
    uint32_t revoked_count;
    uint64_t running_id;   // of the running transaction; written under transaction_lock
    uint64_t committed_id; // atomic
    uint32_t data_pending; // writes of data that the running transaction waits for; atomic
    struct wait_queue data_queue;
    struct ext4_journal *journal; // NULL: none

    struct mutex orphan_lock;
    uint32_t last_orphan;
    struct list_node orphans;  // nodes that are on the list, newest first
    struct ext4_buffer *super; // the block with the superblock, for writing; NULL: read-only
};

// Reads and checks the superblock; writes nothing. -EINVAL: no such file system, or one with
// features that are not known; -EUCLEAN, -EIO, -ENOMEM.
[[nodiscard]] int ext4_fs_open(struct ext4_device *device, struct ext4_fs **result);
// Replays the journal if it has to be, reads the groups, makes the file system writable (`write`):
// -EROFS and a message if it can't be. Then orphans remain to be removed.
[[nodiscard]] int ext4_fs_start(struct ext4_fs *fs, bool write);
// Commits, writes everything home, says that it is clean. Then, or instead after an error, destroy.
[[nodiscard]] int ext4_fs_stop(struct ext4_fs *fs);
void ext4_fs_destroy(struct ext4_fs *fs);
// Something on the disk is wrong. Logs it, and does what the superblock wants done. -EUCLEAN.
int ext4_corrupted(struct ext4_fs *fs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Nothing more is written: error is -errno.
void ext4_abort(struct ext4_fs *fs, int error, const char *why);

static inline struct ext2_super_block *ext4_super(struct ext4_fs *fs)
{
    return (struct ext2_super_block *)(fs->super->data + EXT4_SUPER_OFFSET % fs->block_bytes);
}
static inline uint64_t ext4_group_start(const struct ext4_fs *fs, uint32_t group)
{
    return fs->first_data_block + (uint64_t)group * fs->blocks_per_group;
}
static inline uint32_t ext4_group_of(const struct ext4_fs *fs, uint64_t block)
{
    return (uint32_t)((block - fs->first_data_block) / fs->blocks_per_group);
}
static inline uint32_t ext4_group_blocks(const struct ext4_fs *fs, uint32_t group)
{
    return (uint32_t)MIN(
        (uint64_t)fs->blocks_per_group, fs->block_count - ext4_group_start(fs, group));
}
// A range that data or metadata of files may lie in.
static inline bool ext4_range_is_valid(const struct ext4_fs *fs, uint64_t block, uint64_t count)
{
    return block > fs->first_data_block && block < fs->block_count &&
           count <= fs->block_count - block;
}
// groups.c
bool ext4_group_has_super(const struct ext4_fs *fs, uint32_t group);
uint32_t ext4_group_base_blocks(
    const struct ext4_fs *fs, uint32_t group); // superblock, descriptors
// lenient: before the journal is replayed; checksums and counts may be wrong.
[[nodiscard]] int ext4_groups_load(struct ext4_fs *fs, bool lenient);
void ext4_super_seal(struct ext4_fs *fs); // counts and checksum; nothing else runs

// ---- transactions (journal.c) ----

struct ext4_handle {
    struct ext4_fs *fs;
    uint32_t credits;
};
#define EXT4_CREDITS 40 // blocks that an ordinary operation changes at most

// From here to ext4_end() changes belong to one transaction: all of them survive a crash or none.
// Not within another. -EROFS, -EIO. May commit.
[[nodiscard]] int ext4_begin(struct ext4_fs *fs, uint32_t credits, struct ext4_handle *handle);
void ext4_end(struct ext4_handle *handle);
// Before a buffer is changed.
void ext4_modify(struct ext4_handle *handle, struct ext4_buffer *buffer);
// A metadata block is freed: an older copy must not be replayed over what comes there. -ENOMEM:
// nothing was done.
[[nodiscard]] int ext4_forget(struct ext4_handle *handle, uint64_t block);
// Everything up to transaction `id` is durable when it returns. 0 or the error that stopped it.
[[nodiscard]] int ext4_commit(struct ext4_fs *fs, uint64_t id);
static inline uint64_t ext4_running_id(const struct ext4_fs *fs)
{
    return __atomic_load_n(&fs->running_id, __ATOMIC_ACQUIRE);
}
// Data whose blocks become visible with the running transaction: it is committed only when they are
// written. begin: within a handle. end: any context.
void ext4_data_begin(struct ext4_fs *fs, uint32_t count);
void ext4_data_end(struct ext4_fs *fs, uint32_t count);

// ---- allocation (allocate.c, inode_table.c) ----

#define EXT4_ALLOC_ROOT     BIT(0) // may use the blocks reserved for root
#define EXT4_ALLOC_INTERNAL BIT(1) // and those for splitting extents

// A run of at most *count blocks, near `goal` (0: anywhere). -ENOSPC.
[[nodiscard]] int ext4_blocks_allocate(
    struct ext4_handle *handle, uint64_t goal, uint32_t flags, uint32_t *count, uint64_t *block);
// metadata: ext4_forget() each. -EUCLEAN: they were not allocated.
[[nodiscard]] int ext4_blocks_free(
    struct ext4_handle *handle, uint64_t block, uint32_t count, bool metadata);
void ext4_pending_clear(struct ext4_fs *fs); // after a commit
// Writes checksums of the bitmaps into the descriptors, before a commit.
void ext4_groups_seal(struct ext4_fs *fs);
// Descriptor block of a group. alloc_lock is held.
[[nodiscard]] int ext4_group_store(struct ext4_handle *handle, uint32_t group);
[[nodiscard]] int ext4_bitmap_read(
    struct ext4_fs *fs, uint32_t group, bool inodes, struct ext4_buffer **result);
[[nodiscard]] int ext4_inode_allocate(
    struct ext4_handle *handle, uint32_t parent, bool directory, uint32_t *number);
[[nodiscard]] int ext4_inode_free(struct ext4_handle *handle, uint32_t number, bool directory);

// ---- nodes (node.c) ----

struct ext4_node {
    struct ext4_fs *fs;
    uint32_t number, generation;
    uint32_t seed; // of its checksums
    struct rwlock map_lock;
    uint32_t pointers[EXT2_N_BLOCKS]; // i_block: map, link text or device; under map_lock
    uint64_t blocks;                  // of 512 bytes; under map_lock
    uint64_t size;                    // on the disk; under map_lock
    struct mutex write_lock;          // the rest, while it is written
    uint32_t flags;                   // EXT2_*_FL, EXT4_*_FL
    uint32_t mode, uid, gid, links;
    int64_t atime_ns, mtime_ns, ctime_ns, birth_ns;
    uint64_t xattr_block;
    uint16_t extra_bytes;
    uint32_t next_orphan; // under orphan_lock
    bool orphan;          // likewise
    struct list_node orphan_node;
    uint32_t in_flight; // writes of data that are under way; atomic, counted up under map_lock
    uint64_t change_id; // last transaction that changed it or its map; atomic
};

// Fills a zeroed node from the disk. -EUCLEAN, -EIO; -ENOENT: the inode is not in use.
[[nodiscard]] int ext4_node_read(struct ext4_fs *fs, uint32_t number, struct ext4_node *node);
// A new inode of type and permissions `mode`; the caller sets owner, times, links and writes it.
[[nodiscard]] int ext4_node_create(struct ext4_handle *handle, const struct ext4_node *parent,
    uint32_t mode, struct ext4_node *node);
// Copies it to the inode table.
[[nodiscard]] int ext4_node_write(struct ext4_handle *handle, struct ext4_node *node);
// The last name and the last user are gone and the map is empty: the inode is free.
[[nodiscard]] int ext4_node_free(struct ext4_handle *handle, struct ext4_node *node);
static inline bool ext4_node_has_extents(const struct ext4_node *node)
{
    return node->flags & EXT4_EXTENTS_FL;
}
void ext4_node_init(struct ext4_fs *fs, uint32_t number, struct ext4_node *node);
void ext4_node_seed(struct ext4_node *node);
// A symbolic link whose text lies in the inode.
bool ext4_node_is_fast_link(const struct ext4_node *node);
// orphan.c: a node without names, or one that is being truncated, is on a list on the disk.
[[nodiscard]] int ext4_orphan_add(struct ext4_handle *handle, struct ext4_node *node);
[[nodiscard]] int ext4_orphan_remove(struct ext4_handle *handle, struct ext4_node *node);
// Finishes what a crash has interrupted.
[[nodiscard]] int ext4_orphans_clean(struct ext4_fs *fs);

// ---- maps (map.c; extent.c, extent_change.c; pointer.c) ----

struct ext4_run {
    uint64_t physical; // 0: a hole
    uint32_t logical, count;
    bool unwritten; // reads as zeroes
};
#define EXT4_BLOCKS_MAX UINT32_C(0xffffffff) // logical blocks are below

// What lies at `logical`, at most `max` blocks of it. map_lock is held.
[[nodiscard]] int ext4_map_find(
    struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run);
// Fills (a part of) the hole at `logical`: *run is what it got. Unwritten if `unwritten` and the
// node has extents. map_lock is held for writing.
[[nodiscard]] int ext4_map_allocate(struct ext4_handle *handle, struct ext4_node *node,
    uint32_t logical, uint32_t count, bool unwritten, uint32_t flags, struct ext4_run *run);
// The blocks [logical, logical + count), which are mapped, are written from now on.
[[nodiscard]] int ext4_map_convert(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t logical, uint32_t count);
// Frees blocks of [first, last], from the end, until it is done (*more false) or the handle's
// credits are used up.
[[nodiscard]] int ext4_map_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more);
// All of [first, last] in as many transactions as it takes; writes the node. Takes map_lock.
[[nodiscard]] int ext4_map_remove_all(struct ext4_node *node, uint32_t first, uint32_t last);
void ext4_map_init(struct ext4_node *node); // of a new file
// The kinds behind them.
[[nodiscard]] int ext4_extent_find(
    struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run);
[[nodiscard]] int ext4_extent_insert(
    struct ext4_handle *handle, struct ext4_node *node, const struct ext4_run *run);
[[nodiscard]] int ext4_extent_convert(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t logical, uint32_t count);
[[nodiscard]] int ext4_extent_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more);
[[nodiscard]] bool ext4_extent_header_is_valid(
    const struct ext4_fs *fs, const struct ext3_extent_header *header, size_t bytes);
[[nodiscard]] int ext4_pointer_find(
    struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run);
[[nodiscard]] int ext4_pointer_allocate(struct ext4_handle *handle, struct ext4_node *node,
    uint32_t logical, uint32_t count, uint32_t flags, struct ext4_run *run);
[[nodiscard]] int ext4_pointer_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more);

// ---- directories (directory.c, htree.c) ----

struct ext4_name {
    const char *text;
    uint32_t len;
};

// The inode that a name stands for; -ENOENT. The directory's lock is held, for writing where
// something is changed.
[[nodiscard]] int ext4_directory_find(
    struct ext4_node *directory, const struct ext4_name *name, uint32_t *number);
// type: S_IFMT bits. -ENOSPC, ...
[[nodiscard]] int ext4_directory_add(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode);
[[nodiscard]] int ext4_directory_remove(
    struct ext4_handle *handle, struct ext4_node *directory, const struct ext4_name *name);
// Lets the name stand for another inode. Also for "..".
[[nodiscard]] int ext4_directory_replace(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode);
// The first block of a new directory.
[[nodiscard]] int ext4_directory_init(
    struct ext4_handle *handle, struct ext4_node *directory, uint32_t parent);
// 0, -ENOTEMPTY.
[[nodiscard]] int ext4_directory_check_empty(struct ext4_node *directory);
// Offers entries from *position (bytes) on; visit returns false to stop at this entry.
typedef bool ext4_visit(void *context, const struct ext4_name *name, uint32_t number,
    uint32_t file_type, uint64_t next);
[[nodiscard]] int ext4_directory_list(
    struct ext4_node *directory, uint64_t *position, ext4_visit *visit, void *context);

// ---- operations on names (names.c): each is one transaction ----

// What a new inode is like.
struct ext4_new {
    uint32_t mode, uid, gid;
    int64_t now_ns;
    uint32_t device[2]; // i_block of a device node
    const char *target; // of a symbolic link
    uint32_t target_len;
};
// Both directories' locks are held for writing by the caller. The nodes are as the disk has them
// afterwards; on an error nothing has happened.
// name NULL: a file without a name.
[[nodiscard]] int ext4_create(struct ext4_node *directory, const struct ext4_name *name,
    const struct ext4_new *new, struct ext4_node *node);
[[nodiscard]] int ext4_link(struct ext4_node *node, struct ext4_node *directory,
    const struct ext4_name *name, int64_t now_ns);
// Also for a directory, which must be empty.
[[nodiscard]] int ext4_unlink(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_node *node, int64_t now_ns);
struct ext4_rename {
    struct ext4_node *old_directory, *new_directory;
    struct ext4_name old_name, new_name;
    struct ext4_node *node;
    struct ext4_node *replaced; // what new_name stood for; NULL: nothing
    bool exchange;
    int64_t now_ns;
};
[[nodiscard]] int ext4_rename(const struct ext4_rename *rename);
// The last user of a node without names is gone.
[[nodiscard]] int ext4_remove(struct ext4_node *node);

// ---- operations on content (content.c): transactions of their own ----

// Sees to it that [first, first + count) has a place on the disk, unwritten where it had none.
// flags: EXT4_ALLOC_*. Nodes without extents: nothing is done, they have no unwritten blocks.
[[nodiscard]] int ext4_content_reserve(
    struct ext4_node *node, uint32_t first, uint32_t count, uint32_t flags);
// Blocks [first, first + count) are going to be written: where the first of them are, in one run.
// The file is `size` bytes long; as far as this run goes it will be that on the disk. *ordered is
// for end, which is called when the write is over, in any context.
[[nodiscard]] int ext4_content_write_begin(struct ext4_node *node, uint32_t first, uint32_t count,
    uint64_t size, struct ext4_run *run, bool *ordered);
void ext4_content_write_end(struct ext4_node *node, bool ordered);
// The size on the disk becomes at least `size`, without data being written.
[[nodiscard]] int ext4_content_grow(struct ext4_node *node, uint64_t size);
// The size becomes `size`, and what is behind is freed.
[[nodiscard]] int ext4_content_resize(struct ext4_node *node, uint64_t size);
