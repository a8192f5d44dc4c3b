// SPDX-License-Identifier: MIT
// Replaying the log after a crash, in three passes over it: where it ends, which blocks were freed
// after they had been logged, and the copying.
//
// The log ends at the first block that is not what has to follow: a wrong magic number, sequence or
// checksum of a record. A transaction counts if its commit record is there. A block is not copied
// if the same or a later transaction revokes it.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/ext4/journal.h"

enum pass {
    PASS_SCAN,
    PASS_REVOKE,
    PASS_COPY,
};

struct replay {
    struct ext4_journal *journal;
    uint8_t *block, *data;
    struct xarray revoked; // block → sequence of the last transaction that revokes it
    uint32_t end;          // sequence behind the last complete transaction
    uint32_t copied;
};

static int read_block(struct replay *replay, uint32_t index, void *to)
{
    const struct ext4_fs *fs = replay->journal->fs;
    return fs->device->ops->read(
        fs->device->context, ext4_journal_block(replay->journal, index), fs->block_bytes, to);
}

static bool tail_is_valid(const struct replay *replay)
{
    const struct ext4_journal *journal = replay->journal;
    const size_t at = journal->fs->block_bytes - sizeof(struct journal_tail);
    if (!journal->checksums)
        return true;
    return be32((__be32)load_unaligned_u32(replay->block + at)) ==
           ext4_journal_tail_checksum(journal, replay->block);
}

// ---- tags ----

struct tag {
    uint64_t block;
    uint32_t flags, checksum;
};

// The tag at *at, which ends behind it. False: there is none any more.
static bool next_tag(const struct replay *replay, size_t *at, struct tag *tag)
{
    const struct ext4_journal *journal = replay->journal;
    const size_t end =
        journal->fs->block_bytes - (journal->checksums ? sizeof(struct journal_tail) : 0);
    const uint8_t *from = replay->block + *at;
    if (*at + journal->tag_bytes > end)
        return false;
    if (journal->features & JOURNAL_INCOMPAT_CSUM_V3) {
        struct journal_tag3 disk;
        memcpy(&disk, from, sizeof(disk));
        tag->block = be32(disk.block);
        tag->flags = be32(disk.flags);
        tag->checksum = be32(disk.checksum);
        if (journal->features & JOURNAL_INCOMPAT_64BIT)
            tag->block |= (uint64_t)be32(disk.block_high) << 32;
    } else {
        struct journal_tag disk = {};
        memcpy(&disk, from, MIN((size_t)journal->tag_bytes, sizeof(disk)));
        tag->block = be32(disk.block);
        tag->flags = be16(disk.flags);
        tag->checksum = be16(disk.checksum);
        if (journal->features & JOURNAL_INCOMPAT_64BIT)
            tag->block |= (uint64_t)be32(disk.block_high) << 32;
    }
    *at += journal->tag_bytes;
    if (!(tag->flags & JOURNAL_TAG_SAME_UUID))
        *at += sizeof(journal->super->uuid);
    return true;
}

static int copy_block(
    struct replay *replay, uint32_t index, const struct tag *tag, uint32_t sequence)
{
    struct ext4_journal *journal = replay->journal;
    struct ext4_fs *fs = journal->fs;
    const void *revoked = xarray_load(&replay->revoked, tag->block);
    if (revoked != NULL && (int32_t)((uint32_t)xarray_to_value(revoked) - sequence) >= 0)
        return 0;
    if (tag->block >= fs->block_count)
        return ext4_corrupted(fs, "the journal holds a block beyond the end");
    int error = read_block(replay, index, replay->data);
    if (error != 0)
        return error;
    if (journal->checksums) {
        uint32_t crc = ext4_journal_data_checksum(journal, sequence, replay->data);
        if (!(journal->features & JOURNAL_INCOMPAT_CSUM_V3))
            crc &= 0xffff;
        if (crc != tag->checksum)
            return ext4_corrupted(fs, "wrong checksum of a block in the journal");
    }
    if (tag->flags & JOURNAL_TAG_ESCAPED) {
        const __be32 magic = to_be32(JOURNAL_MAGIC);
        memcpy(replay->data, &magic, sizeof(magic));
    }
    const struct ext4_write write = {.block = tag->block, .data = replay->data};
    replay->copied++;
    return fs->device->ops->write(fs->device->context, &write, 1, fs->block_bytes, false);
}

// A descriptor at hand: *index ends behind its blocks. *blocks counts them.
static int descriptor(
    struct replay *replay, enum pass pass, uint32_t sequence, uint32_t *index, uint32_t *blocks)
{
    size_t at = sizeof(struct journal_header);
    struct tag tag;
    while (next_tag(replay, &at, &tag)) {
        *index = ext4_journal_next(replay->journal, *index);
        (*blocks)++;
        int error = pass == PASS_COPY ? copy_block(replay, *index, &tag, sequence) : 0;
        if (error != 0)
            return error;
        if (tag.flags & JOURNAL_TAG_LAST)
            break;
    }
    return 0;
}

static int revoke(struct replay *replay, uint32_t sequence)
{
    const struct ext4_journal *journal = replay->journal;
    const struct journal_revoke *header = (const struct journal_revoke *)replay->block;
    const bool wide = journal->features & JOURNAL_INCOMPAT_64BIT;
    const size_t bytes = wide ? sizeof(__be64) : sizeof(__be32);
    const size_t end = MIN((size_t)be32(header->used_bytes), (size_t)journal->fs->block_bytes);
    for (size_t at = sizeof(*header); at + bytes <= end; at += bytes) {
        uint64_t block = load_unaligned_u32(replay->block + at);
        block = wide ? be64((__be64)load_unaligned_u64(replay->block + at)) : be32((__be32)block);
        // Passes go forward: the last one counts.
        int error = xarray_store(&replay->revoked, block, xarray_value(sequence), NULL);
        if (error != 0)
            return error;
    }
    return 0;
}

static bool commit_is_valid(const struct replay *replay)
{
    struct journal_commit *commit = (struct journal_commit *)replay->block;
    return !replay->journal->checksums ||
           be32(commit->checksum[0]) == ext4_journal_commit_checksum(replay->journal, commit);
}

static int run_pass(struct replay *replay, enum pass pass)
{
    const struct ext4_journal *journal = replay->journal;
    uint32_t index = be32(journal->super->start), sequence = be32(journal->super->sequence);
    // Not more than the log has: a hostile one could go round for ever.
    for (uint32_t blocks = 0; blocks < journal->end - journal->first; blocks++) {
        const struct journal_header *header = (const struct journal_header *)replay->block;
        if (pass != PASS_SCAN && sequence == replay->end)
            return 0;
        int error = read_block(replay, index, replay->block);
        if (error != 0)
            return error;
        if (be32(header->magic) != JOURNAL_MAGIC || be32(header->sequence) != sequence)
            break;
        const uint32_t type = be32(header->type);
        if (type == JOURNAL_DESCRIPTOR && tail_is_valid(replay))
            error = descriptor(replay, pass, sequence, &index, &blocks);
        else if (type == JOURNAL_REVOKE && tail_is_valid(replay))
            error = pass == PASS_REVOKE ? revoke(replay, sequence) : 0;
        else if (type == JOURNAL_COMMIT && commit_is_valid(replay))
            sequence++;
        else
            break;
        if (error != 0)
            return error;
        index = ext4_journal_next(journal, index);
    }
    if (pass == PASS_SCAN)
        replay->end = sequence;
    return 0;
}

int ext4_journal_replay(struct ext4_journal *journal)
{
    struct ext4_fs *fs = journal->fs;
    const struct ext4_device *device = fs->device;
    struct replay replay = {.journal = journal, .end = journal->sequence};
    int error = 0;
    xarray_init(&replay.revoked);
    replay.block = device->ops->memory_alloc(device->context, fs->block_bytes);
    replay.data = device->ops->memory_alloc(device->context, fs->block_bytes);
    if (replay.block == NULL || replay.data == NULL)
        error = -ENOMEM;
    if (journal->super->start != 0)
        for (int pass = PASS_SCAN; pass <= PASS_COPY && error == 0; pass++)
            error = run_pass(&replay, (enum pass)pass);
    if (error == 0)
        error = device->ops->flush(device->context);
    if (error == 0) {
        log_info("ext4: %s: journal replayed, %u transactions, %u blocks", device->name,
            replay.end - journal->sequence, replay.copied);
        // One more than needed: what is left of an incomplete transaction never fits.
        journal->sequence = replay.end + 1;
        journal->head = journal->first;
        error = ext4_journal_reset(journal, true);
    }
    xarray_destroy(&replay.revoked);
    if (replay.block != NULL)
        device->ops->memory_free(device->context, replay.block, fs->block_bytes);
    if (replay.data != NULL)
        device->ops->memory_free(device->context, replay.data, fs->block_bytes);
    return error;
}
