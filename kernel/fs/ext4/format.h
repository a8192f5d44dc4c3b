// SPDX-License-Identifier: MIT
// What lies on the disk. The structures of the file system come from the package libext2fs-dev;
// those of the journal are in no package's headers and are here (docs/decisions/0080-ext4.md). All
// numbers of the file system are little-endian, all of the journal big-endian.
#pragma once

#include "kernel/base/types.h"
#include <linux/stat.h>
#include <linux/types.h>
#ifdef LODGER_HOST
#include <sys/stat.h> // glibc keeps linux/stat.h from defining S_IFMT
#endif

#include <ext2fs/ext2_fs.h>

#include <ext2fs/ext2_ext_attr.h>
#include <ext2fs/ext3_extents.h>

static_assert(sizeof(struct ext2_super_block) == 1024);
static_assert(sizeof(struct ext4_group_desc) == 64);
static_assert(sizeof(struct ext2_inode_large) == 160);
static_assert(sizeof(struct ext3_extent) == 12);
static_assert(sizeof(struct ext3_extent_idx) == 12);
static_assert(sizeof(struct ext3_extent_header) == 12);

#define EXT4_SUPER_OFFSET  1024u // bytes from the start of the device
#define EXT4_SUPER_MAGIC   0xef53
#define EXT4_ROOT_INODE    2u
#define EXT4_JOURNAL_INODE 8u
#define EXT4_LINK_MAX      65000u
#define EXT4_EXTENT_DEPTH  5 // deepest tree
#define EXT4_NAME_MAX      255u

// The features that are understood. Anything else in `incompat` refuses the mount, anything else in
// `ro_compat` allows reading only.
#define EXT4_INCOMPAT_KNOWN                                                                        \
    (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |                              \
        EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS |                            \
        EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG |                              \
        EXT4_FEATURE_INCOMPAT_CSUM_SEED)
#define EXT4_RO_COMPAT_KNOWN                                                                       \
    (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |                     \
        EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |                       \
        EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |                    \
        EXT4_FEATURE_RO_COMPAT_METADATA_CSUM)

// ---- the journal: JBD2 ----

#define JOURNAL_MAGIC           0xc03b3998u
#define JOURNAL_DESCRIPTOR      1u
#define JOURNAL_COMMIT          2u
#define JOURNAL_SUPER_V1        3u
#define JOURNAL_SUPER_V2        4u
#define JOURNAL_REVOKE          5u
#define JOURNAL_CHECKSUM_CRC32C 4u

#define JOURNAL_COMPAT_CHECKSUM      0x01u
#define JOURNAL_INCOMPAT_REVOKE      0x01u
#define JOURNAL_INCOMPAT_64BIT       0x02u
#define JOURNAL_INCOMPAT_ASYNC       0x04u
#define JOURNAL_INCOMPAT_CSUM_V2     0x08u
#define JOURNAL_INCOMPAT_CSUM_V3     0x10u
#define JOURNAL_INCOMPAT_FAST_COMMIT 0x20u
#define JOURNAL_INCOMPAT_KNOWN                                                                     \
    (JOURNAL_INCOMPAT_REVOKE | JOURNAL_INCOMPAT_64BIT | JOURNAL_INCOMPAT_CSUM_V2 |                 \
        JOURNAL_INCOMPAT_CSUM_V3)

#define JOURNAL_TAG_ESCAPED                                                                        \
    0x1u // the block began with JOURNAL_MAGIC: that word is zeroed in the log
#define JOURNAL_TAG_SAME_UUID 0x2u // no uuid follows the tag
#define JOURNAL_TAG_LAST      0x8u

struct journal_header {
    __be32 magic;
    __be32 type;
    __be32 sequence;
};

struct journal_super {
    struct journal_header header;
    __be32 block_bytes;
    __be32 block_count; // of the journal
    __be32 first;       // first block of the log
    __be32 sequence;    // of the first transaction that the log may hold
    __be32 start;       // where that begins; 0: the log is empty
    __be32 error;
    __be32 feature_compat;
    __be32 feature_incompat;
    __be32 feature_ro_compat;
    __u8 uuid[16];
    __be32 users;
    __be32 dynamic_super;
    __be32 max_transaction;
    __be32 max_data;
    __u8 checksum_type;
    __u8 padding1[3];
    __be32 fast_commit_blocks;
    __be32 head;
    __be32 padding2[40];
    __be32 checksum; // crc32c of this structure with 0 here
    __u8 user_ids[16 * 48];
};
static_assert(sizeof(struct journal_super) == 1024);
static_assert(offsetof(struct journal_super, checksum) == 0xfc);

// With JOURNAL_INCOMPAT_CSUM_V3.
struct journal_tag3 {
    __be32 block;
    __be32 flags;
    __be32 block_high;
    __be32 checksum; // crc32c of sequence and block as it lies in the log
};
static_assert(sizeof(struct journal_tag3) == 16);

// Without. block_high only with JOURNAL_INCOMPAT_64BIT; two bytes follow with CSUM_V2.
struct journal_tag {
    __be32 block;
    __be16 checksum;
    __be16 flags;
    __be32 block_high;
};
static_assert(sizeof(struct journal_tag) == 12);

struct journal_tail { // of descriptor and revoke blocks, with checksums
    __be32 checksum;
};

struct journal_revoke {
    struct journal_header header;
    __be32 used_bytes; // with the header; then block numbers of 4 or 8 bytes
};

struct journal_commit {
    struct journal_header header;
    __u8 checksum_type;
    __u8 checksum_bytes;
    __u8 padding[2];
    __be32 checksum[8];
    __be64 seconds;
    __be32 nanoseconds;
} __attribute__((packed));
static_assert(sizeof(struct journal_commit) == 60);

static inline uint32_t be32(__be32 value)
{
    return __builtin_bswap32((uint32_t)value);
}
static inline __be32 to_be32(uint32_t value)
{
    return (__be32)__builtin_bswap32(value);
}
static inline uint16_t be16(__be16 value)
{
    return __builtin_bswap16((uint16_t)value);
}
static inline __be16 to_be16(uint16_t value)
{
    return (__be16)__builtin_bswap16(value);
}
static inline __be64 to_be64(uint64_t value)
{
    return (__be64)__builtin_bswap64(value);
}
static inline uint64_t be64(__be64 value)
{
    return __builtin_bswap64((uint64_t)value);
}
