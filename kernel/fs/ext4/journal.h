// SPDX-License-Identifier: MIT
// The journal on the disk: JBD2's format. What journal.c (transactions), journal_log.c (writing)
// and journal_replay.c (reading) share.
#pragma once

#include "kernel/fs/ext4/core.h"

struct ext4_journal {
    struct ext4_fs *fs;
    struct ext4_run *runs; // where the blocks of the journal lie; fixed
    uint32_t run_count;
    uint32_t first, end;         // the log is [first, end) of the journal's blocks; fixed
    struct journal_super *super; // a block
    uint32_t features;           // JOURNAL_INCOMPAT_*
    bool checksums;              // v2 or v3
    uint32_t seed, tag_bytes;
    // Under fs->transaction_lock, held for writing:
    uint32_t sequence;             // of the next transaction
    uint32_t head;                 // where it will be written
    uint32_t used;                 // blocks since the last checkpoint
    uint8_t *descriptor, *escaped; // memory for one block each
    struct ext4_write *writes;     // of one descriptor: itself and its blocks
};

// Finds the journal of a file system and checks it; fs->journal is set.
[[nodiscard]] int ext4_journal_open(struct ext4_fs *fs);
void ext4_journal_destroy(struct ext4_journal *journal);
// Copies what is in the log to where it belongs; then the log is empty.
[[nodiscard]] int ext4_journal_replay(struct ext4_journal *journal);
// The log begins to be written; and ends, empty, after all is at home.
[[nodiscard]] int ext4_journal_start(struct ext4_journal *journal);
[[nodiscard]] int ext4_journal_stop(struct ext4_journal *journal);
uint32_t ext4_journal_transaction_max(const struct ext4_journal *journal);

// journal_log.c
// Writes the running transaction (fs->running, fs->revoked) into the log, durably.
[[nodiscard]] int ext4_journal_log(struct ext4_journal *journal);
// Everything in the log is at home: it is empty from here on. `clean`: and stays so.
[[nodiscard]] int ext4_journal_reset(struct ext4_journal *journal, bool clean);
// The block of the device that is block `index` of the journal, which is below `end`.
uint64_t ext4_journal_block(const struct ext4_journal *journal, uint32_t index);
uint32_t ext4_journal_tags_max(const struct ext4_journal *journal); // of one descriptor
static inline uint32_t ext4_journal_next(const struct ext4_journal *journal, uint32_t index)
{
    return index + 1 == journal->end ? journal->first : index + 1;
}
// Of a descriptor or revoke block with its tail's checksum taken as zero.
uint32_t ext4_journal_tail_checksum(const struct ext4_journal *journal, const uint8_t *block);
uint32_t ext4_journal_commit_checksum(
    const struct ext4_journal *journal, const struct journal_commit *commit);
uint32_t ext4_journal_data_checksum(
    const struct ext4_journal *journal, uint32_t sequence, const uint8_t *block);
