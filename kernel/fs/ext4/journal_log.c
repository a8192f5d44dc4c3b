// SPDX-License-Identifier: MIT
// Writing the log: descriptors with the blocks that they describe, revoked blocks, and the record
// that ends a transaction. The format is that of JBD2 (Documentation/filesystems/ext4/journal.rst
// of Linux), so that e2fsck and Linux replay it.
//
// One descriptor at a time is written together with its blocks, in one batch; its memory is used
// again for the next one, so that a commit needs no memory of its own. A block that begins with
// the journal's magic number is written from a copy without it, and ends its batch.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/journal.h"

#define LOG_BLOCKS_MIN 256

// ---- checksums ----

uint32_t ext4_journal_tail_checksum(const struct ext4_journal *journal, const uint8_t *block)
{
    const uint32_t zero = 0;
    const size_t at = journal->fs->block_bytes - sizeof(struct journal_tail);
    return ext4_crc32c(ext4_crc32c(journal->seed, block, at), &zero, sizeof(zero));
}

uint32_t ext4_journal_commit_checksum(
    const struct ext4_journal *journal, const struct journal_commit *commit)
{
    const uint8_t *block = (const uint8_t *)commit;
    const size_t at = offsetof(struct journal_commit, checksum);
    const uint32_t zero = 0;
    uint32_t crc = ext4_crc32c(journal->seed, block, at);
    crc = ext4_crc32c(crc, &zero, sizeof(zero));
    return ext4_crc32c(crc, block + at + 4, journal->fs->block_bytes - at - 4);
}

uint32_t ext4_journal_data_checksum(
    const struct ext4_journal *journal, uint32_t sequence, const uint8_t *block)
{
    const __be32 number = to_be32(sequence);
    const uint32_t crc = ext4_crc32c(journal->seed, &number, sizeof(number));
    return ext4_crc32c(crc, block, journal->fs->block_bytes);
}

static void seal_super(struct ext4_journal *journal)
{
    struct journal_super *super = journal->super;
    if (!journal->checksums)
        return;
    super->checksum = 0;
    super->checksum = to_be32(ext4_crc32c(~0u, super, sizeof(*super)));
}

// ---- where things lie ----

uint64_t ext4_journal_block(const struct ext4_journal *journal, uint32_t index)
{
    assert(index < journal->end);
    uint32_t low = 0, high = journal->run_count;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (journal->runs[middle].logical <= index)
            low = middle;
        else
            high = middle;
    }
    return journal->runs[low].physical + (index - journal->runs[low].logical);
}

uint32_t ext4_journal_tags_max(const struct ext4_journal *journal)
{
    const size_t tail = journal->checksums ? sizeof(struct journal_tail) : 0;
    const size_t uuid = 16;
    return (uint32_t)(journal->fs->block_bytes - sizeof(struct journal_header) - tail - uuid) /
           journal->tag_bytes;
}

uint32_t ext4_journal_transaction_max(const struct ext4_journal *journal)
{
    const uint64_t quarter = (journal->end - journal->first) / 4;
    return (uint32_t)MIN(quarter, MAX(journal->fs->buffer_limit / 4, UINT64_C(64)));
}

static int write_blocks(struct ext4_journal *journal, size_t count, bool fua)
{
    const struct ext4_fs *fs = journal->fs;
    return fs->device->ops->write(
        fs->device->context, journal->writes, count, fs->block_bytes, fua);
}

// The next block of the log; -ENOSPC: it is full.
static int take_block(struct ext4_journal *journal, void *data, size_t *count)
{
    if (journal->used + 1 >= journal->end - journal->first)
        return -ENOSPC;
    journal->writes[(*count)++] =
        (struct ext4_write){.block = ext4_journal_block(journal, journal->head), .data = data};
    journal->head = ext4_journal_next(journal, journal->head);
    journal->used++;
    return 0;
}

// ---- one transaction ----

static void begin_block(struct ext4_journal *journal, uint32_t type)
{
    struct journal_header *header = (struct journal_header *)journal->descriptor;
    memset(journal->descriptor, 0, journal->fs->block_bytes);
    header->magic = to_be32(JOURNAL_MAGIC);
    header->type = to_be32(type);
    header->sequence = to_be32(journal->sequence);
}

static void seal_block(struct ext4_journal *journal)
{
    if (!journal->checksums)
        return;
    const __be32 crc = to_be32(ext4_journal_tail_checksum(journal, journal->descriptor));
    memcpy(journal->descriptor + journal->fs->block_bytes - sizeof(crc), &crc, sizeof(crc));
}

static size_t put_tag(const struct ext4_journal *journal, uint8_t *to, uint64_t block,
    uint32_t flags, uint32_t checksum)
{
    if (journal->features & JOURNAL_INCOMPAT_CSUM_V3) {
        const struct journal_tag3 tag = {.block = to_be32((uint32_t)block),
            .flags = to_be32(flags),
            .block_high = to_be32((uint32_t)(block >> 32)),
            .checksum = to_be32(checksum)};
        memcpy(to, &tag, sizeof(tag));
    } else {
        const struct journal_tag tag = {.block = to_be32((uint32_t)block),
            .checksum = to_be16((uint16_t)checksum),
            .flags = to_be16((uint16_t)flags),
            .block_high = to_be32((uint32_t)(block >> 32))};
        memcpy(to, &tag, journal->tag_bytes);
    }
    size_t done = journal->tag_bytes;
    if (!(flags & JOURNAL_TAG_SAME_UUID)) {
        memcpy(to + done, journal->super->uuid, sizeof(journal->super->uuid));
        done += sizeof(journal->super->uuid);
    }
    return done;
}

// One descriptor and its blocks, from *buffer on, which ends behind them.
static int log_batch(struct ext4_journal *journal, struct ext4_buffer **buffer)
{
    struct ext4_fs *fs = journal->fs;
    uint8_t *to = journal->descriptor + sizeof(struct journal_header);
    size_t count = 0;
    begin_block(journal, JOURNAL_DESCRIPTOR);
    int error = take_block(journal, journal->descriptor, &count);
    for (uint32_t tags = 0; error == 0; tags++) {
        struct ext4_buffer *at = *buffer;
        struct list_node *next = at->running.next;
        uint8_t *data = at->data;
        uint32_t flags = tags != 0 ? JOURNAL_TAG_SAME_UUID : 0;
        *buffer = next == &fs->running ? NULL : list_entry(next, struct ext4_buffer, running);
        if (load_unaligned_u32(data) == to_be32(JOURNAL_MAGIC)) {
            memcpy(journal->escaped, data, fs->block_bytes);
            memset(journal->escaped, 0, sizeof(uint32_t));
            data = journal->escaped;
            flags |= JOURNAL_TAG_ESCAPED;
        }
        const bool last = *buffer == NULL || tags + 1 == ext4_journal_tags_max(journal) ||
                          flags & JOURNAL_TAG_ESCAPED;
        flags |= last ? JOURNAL_TAG_LAST : 0;
        to += put_tag(journal, to, at->block, flags,
            journal->checksums ? ext4_journal_data_checksum(journal, journal->sequence, data) : 0);
        error = take_block(journal, data, &count);
        if (last)
            break;
    }
    if (error != 0)
        return error;
    seal_block(journal);
    return write_blocks(journal, count, false);
}

static int log_revoked(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    const bool wide = journal->features & JOURNAL_INCOMPAT_64BIT;
    const size_t bytes = wide ? sizeof(__be64) : sizeof(__be32);
    const size_t end =
        fs->block_bytes - (journal->checksums ? sizeof(struct journal_tail) : 0) - bytes;
    uint64_t block = 0;
    void *entry = xarray_find(&fs->revoked, &block, UINT64_MAX);
    while (entry != NULL) {
        size_t at = sizeof(struct journal_revoke), count = 0;
        begin_block(journal, JOURNAL_REVOKE);
        for (; entry != NULL && at <= end; at += bytes) {
            const __be64 long_number = to_be64(block);
            const __be32 number = to_be32((uint32_t)block);
            memcpy(journal->descriptor + at, wide ? (const void *)&long_number : &number, bytes);
            block++;
            entry = xarray_find(&fs->revoked, &block, UINT64_MAX);
        }
        ((struct journal_revoke *)journal->descriptor)->used_bytes = to_be32((uint32_t)at);
        seal_block(journal);
        int error = take_block(journal, journal->descriptor, &count);
        if (error == 0)
            error = write_blocks(journal, count, false);
        if (error != 0)
            return error;
    }
    return 0;
}

// The record that makes it valid, when everything before it is on the disk.
static int log_commit(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    struct journal_commit *commit = (struct journal_commit *)journal->descriptor;
    const int64_t now = fs->device->ops->now_ns(fs->device->context);
    size_t count = 0;
    int error = fs->device->ops->flush(fs->device->context);
    if (error != 0)
        return error;
    begin_block(journal, JOURNAL_COMMIT);
    commit->seconds = to_be64((uint64_t)(now / 1000000000));
    commit->nanoseconds = to_be32((uint32_t)(now % 1000000000));
    if (journal->checksums)
        commit->checksum[0] = to_be32(ext4_journal_commit_checksum(journal, commit));
    error = take_block(journal, journal->descriptor, &count);
    return error == 0 ? write_blocks(journal, count, true) : error;
}

int ext4_journal_log(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    struct ext4_buffer *buffer =
        list_first_entry_or_null(&fs->running, struct ext4_buffer, running);
    int error = log_revoked(journal);
    while (buffer != NULL && error == 0)
        error = log_batch(journal, &buffer);
    if (error == 0)
        error = log_commit(journal);
    if (error == 0)
        journal->sequence++;
    return error;
}

int ext4_journal_reset(struct ext4_journal *journal, bool clean)
{
    journal->super->start = to_be32(clean ? 0 : journal->head);
    journal->super->sequence = to_be32(journal->sequence);
    journal->used = 0;
    seal_super(journal);
    journal->writes[0] =
        (struct ext4_write){.block = ext4_journal_block(journal, 0), .data = journal->super};
    return write_blocks(journal, 1, true);
}

// ---- opening ----

static void set_features(struct ext4_journal *journal, uint32_t features)
{
    journal->features = features;
    journal->checksums = features & (JOURNAL_INCOMPAT_CSUM_V2 | JOURNAL_INCOMPAT_CSUM_V3);
    journal->seed = ext4_crc32c(~0u, journal->super->uuid, sizeof(journal->super->uuid));
    if (features & JOURNAL_INCOMPAT_CSUM_V3) {
        journal->tag_bytes = sizeof(struct journal_tag3);
        return;
    }
    journal->tag_bytes = sizeof(struct journal_tag);
    if (features & JOURNAL_INCOMPAT_CSUM_V2)
        journal->tag_bytes += sizeof(uint16_t);
    if (!(features & JOURNAL_INCOMPAT_64BIT))
        journal->tag_bytes -= sizeof(uint32_t);
}

int ext4_journal_start(struct ext4_journal *journal)
{
    const struct ext4_fs *fs = journal->fs;
    uint32_t features = JOURNAL_INCOMPAT_REVOKE;
    if (fs->incompat & EXT4_FEATURE_INCOMPAT_64BIT)
        features |= JOURNAL_INCOMPAT_64BIT;
    if (fs->metadata_checksum)
        features |= JOURNAL_INCOMPAT_CSUM_V3;
    set_features(journal, features);
    journal->super->feature_incompat = to_be32(features);
    journal->super->feature_compat = 0;
    journal->super->checksum_type = journal->checksums ? JOURNAL_CHECKSUM_CRC32C : 0;
    journal->head = journal->first;
    return ext4_journal_reset(journal, false);
}

static int check_super(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    struct journal_super *super = journal->super;
    const uint32_t type = be32(super->header.type);
    if (be32(super->header.magic) != JOURNAL_MAGIC ||
        (type != JOURNAL_SUPER_V1 && type != JOURNAL_SUPER_V2))
        return ext4_corrupted(fs, "the journal has no superblock");
    if (type == JOURNAL_SUPER_V1) { // it has nothing behind `error`
        memset(&super->feature_compat, 0,
            sizeof(*super) - offsetof(struct journal_super, feature_compat));
        super->header.type = to_be32(JOURNAL_SUPER_V2);
    }
    journal->first = be32(super->first);
    const uint32_t blocks = be32(super->block_count);
    const uint32_t start = be32(super->start);
    if (be32(super->block_bytes) != fs->block_bytes || blocks > journal->end || blocks < 2 ||
        journal->first == 0 || journal->first >= blocks ||
        blocks - journal->first < LOG_BLOCKS_MIN || start >= blocks ||
        (start != 0 && start < journal->first))
        return ext4_corrupted(fs, "the journal's superblock is wrong");
    journal->end = blocks;
    const uint32_t features = be32(super->feature_incompat);
    if (features & ~JOURNAL_INCOMPAT_KNOWN || be32(super->feature_ro_compat) != 0) {
        log_error("ext4: %s: the journal has unknown features (%x)", fs->device->name, features);
        return -EINVAL;
    }
    if (be32(super->error) != 0)
        __atomic_store_n(&fs->mark_error, true, __ATOMIC_RELAXED);
    set_features(journal, features);
    if (journal->checksums) {
        const __be32 stored = super->checksum;
        seal_super(journal);
        if (stored != super->checksum || super->checksum_type != JOURNAL_CHECKSUM_CRC32C)
            return ext4_corrupted(fs, "wrong checksum of the journal's superblock");
    }
    journal->sequence = be32(super->sequence);
    return 0;
}

// Finds all of the journal's blocks, once.
static int load_runs(struct ext4_journal *journal, struct ext4_node *node)
{
    struct ext4_fs *fs = journal->fs;
    const uint64_t blocks = node->size >> fs->block_bits;
    uint32_t room = 0;
    if (blocks > EXT4_BLOCKS_MAX || !S_ISREG(node->mode))
        return ext4_corrupted(fs, "the journal is no file");
    for (uint32_t at = 0; at < blocks; at += journal->runs[journal->run_count++].count) {
        if (journal->run_count == room) {
            struct ext4_run *more = base_alloc((room + 64) * sizeof(*more));
            if (more == NULL)
                return -ENOMEM;
            memcpy(more, journal->runs, room * sizeof(*more));
            base_free(journal->runs);
            journal->runs = more;
            room += 64;
        }
        struct ext4_run *run = &journal->runs[journal->run_count];
        int error = ext4_map_find(node, at, (uint32_t)blocks - at, run);
        if (error != 0)
            return error;
        if (run->physical == 0 || run->unwritten)
            return ext4_corrupted(fs, "the journal has holes");
    }
    journal->end = (uint32_t)blocks;
    return blocks > LOG_BLOCKS_MIN ? 0 : ext4_corrupted(fs, "the journal is too small");
}

static int open_with(struct ext4_journal *journal, struct ext4_node *node)
{
    struct ext4_fs *fs = journal->fs;
    const struct ext4_device *device = fs->device;
    int error = ext4_node_read(fs, EXT4_JOURNAL_INODE, node);
    if (error == 0)
        error = load_runs(journal, node);
    if (error != 0)
        return error;
    journal->super = device->ops->memory_alloc(device->context, fs->block_bytes);
    journal->descriptor = device->ops->memory_alloc(device->context, fs->block_bytes);
    journal->escaped = device->ops->memory_alloc(device->context, fs->block_bytes);
    // As many as with the smallest tags.
    journal->writes = base_alloc((fs->block_bytes / 8 + 1) * sizeof(*journal->writes));
    if (journal->super == NULL || journal->descriptor == NULL || journal->escaped == NULL ||
        journal->writes == NULL)
        return -ENOMEM;
    error = device->ops->read(
        device->context, ext4_journal_block(journal, 0), fs->block_bytes, journal->super);
    return error == 0 ? check_super(journal) : error;
}

int ext4_journal_open(struct ext4_fs *fs)
{
    if (fs->incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV)
        return -EINVAL;
    struct ext4_node *node = base_alloc(sizeof(*node));
    struct ext4_journal *journal = base_alloc(sizeof(*journal));
    if (node == NULL || journal == NULL) {
        base_free(node);
        base_free(journal);
        return -ENOMEM;
    }
    journal->fs = fs;
    int error = open_with(journal, node);
    base_free(node);
    if (error != 0) {
        ext4_journal_destroy(journal);
        return error;
    }
    fs->journal = journal;
    return 0;
}

void ext4_journal_destroy(struct ext4_journal *journal)
{
    const struct ext4_device *device = journal->fs->device;
    const uint32_t bytes = journal->fs->block_bytes;
    if (journal->super != NULL)
        device->ops->memory_free(device->context, journal->super, bytes);
    if (journal->descriptor != NULL)
        device->ops->memory_free(device->context, journal->descriptor, bytes);
    if (journal->escaped != NULL)
        device->ops->memory_free(device->context, journal->escaped, bytes);
    base_free(journal->writes);
    base_free(journal->runs);
    base_free(journal);
}
