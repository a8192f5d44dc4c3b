// SPDX-License-Identifier: MIT
// Superblocks: reading, checking, complaining.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/journal.h"

#define REPORTS_MAX    20 // complaints that are logged, of one file system
#define BUFFERS_MIN    256
#define GROUP_BITS_MAX 8 // bits of a bitmap byte

static void report(struct ext4_fs *fs, const char *text)
{
    const uint32_t number = __atomic_fetch_add(&fs->reports, 1, __ATOMIC_RELAXED);
    if (number < REPORTS_MAX)
        log_error("ext4: %s: %s", fs->device->name, text);
    if (number == REPORTS_MAX)
        log_error("ext4: %s: more errors are not shown", fs->device->name);
}

int ext4_corrupted(struct ext4_fs *fs, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    (void)fmt_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    report(fs, text);
    __atomic_store_n(&fs->mark_error, true, __ATOMIC_RELAXED);
    if (fs->errors_read_only && !fs->read_only)
        ext4_abort(fs, -EUCLEAN, "errors=remount-ro");
    return -EUCLEAN;
}

void ext4_abort(struct ext4_fs *fs, int error, const char *why)
{
    assert(error < 0);
    int32_t none = 0;
    if (__atomic_compare_exchange_n(
            &fs->error, &none, error, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        log_error(
            "ext4: %s: nothing is written any more (%s, error %d)", fs->device->name, why, -error);
}

// ---- checks ----

static int unfit(const struct ext4_fs *fs, const char *why)
{
    log_error("ext4: %s: not mounted: %s", fs->device->name, why);
    return -EINVAL;
}

static uint64_t wide(uint32_t low, uint32_t high, bool is_64bit)
{
    return low | (is_64bit ? (uint64_t)high << 32 : 0);
}

static int check_checksum(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    if (!(super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM))
        return 0;
    if (super->s_checksum_type != EXT2_CRC32C_CHKSUM)
        return unfit(fs, "unknown kind of checksum");
    const uint32_t crc = ext4_crc32c(~0u, super, offsetof(struct ext2_super_block, s_checksum));
    if (crc != super->s_checksum) {
        log_error("ext4: %s: wrong checksum of the superblock", fs->device->name);
        return -EUCLEAN;
    }
    return 0;
}

static int check_features(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    fs->compat = super->s_feature_compat;
    fs->incompat = super->s_feature_incompat;
    fs->ro_compat = super->s_feature_ro_compat;
    if (super->s_rev_level == EXT2_GOOD_OLD_REV)
        fs->compat = fs->incompat = fs->ro_compat = 0;
    else if (super->s_rev_level > EXT2_MAX_SUPP_REV)
        return unfit(fs, "unknown revision");
    if (fs->incompat & ~(uint32_t)EXT4_INCOMPAT_KNOWN) {
        log_error("ext4: %s: not mounted: features that are not supported (incompat %x)",
            fs->device->name, fs->incompat & ~(uint32_t)EXT4_INCOMPAT_KNOWN);
        return -EINVAL;
    }
    if (fs->ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC)
        return unfit(fs, "bigalloc is not supported");
    fs->metadata_checksum = fs->ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
    fs->group_checksum = fs->metadata_checksum || fs->ro_compat & EXT4_FEATURE_RO_COMPAT_GDT_CSUM;
    fs->checksum_seed = fs->incompat & EXT4_FEATURE_INCOMPAT_CSUM_SEED
                            ? super->s_checksum_seed
                            : ext4_crc32c(~0u, super->s_uuid, sizeof(super->s_uuid));
    return 0;
}

static int check_inodes(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    const bool old = super->s_rev_level == EXT2_GOOD_OLD_REV;
    fs->inode_bytes = old ? EXT2_GOOD_OLD_INODE_SIZE : super->s_inode_size;
    fs->first_inode = old ? EXT2_GOOD_OLD_FIRST_INO : super->s_first_ino;
    fs->inodes_per_group = super->s_inodes_per_group;
    fs->inode_count = super->s_inodes_count;
    if (fs->inode_bytes < EXT2_GOOD_OLD_INODE_SIZE || fs->inode_bytes > fs->block_bytes ||
        (fs->inode_bytes & (fs->inode_bytes - 1)) != 0)
        return unfit(fs, "bad size of inodes");
    if (fs->inodes_per_group == 0 || fs->inodes_per_group > fs->block_bytes * GROUP_BITS_MAX ||
        fs->inodes_per_group % (fs->block_bytes / fs->inode_bytes) != 0 ||
        fs->inodes_per_group % GROUP_BITS_MAX != 0 || fs->first_inode < EXT2_GOOD_OLD_FIRST_INO ||
        fs->inode_count != (uint64_t)fs->inodes_per_group * fs->group_count ||
        fs->first_inode > fs->inode_count)
        return unfit(fs, "bad number of inodes");
    if (fs->inode_bytes > EXT2_GOOD_OLD_INODE_SIZE) {
        const uint32_t most = fs->inode_bytes - EXT2_GOOD_OLD_INODE_SIZE;
        const uint32_t known = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
        uint32_t extra = MAX(MAX(super->s_min_extra_isize, super->s_want_extra_isize), known);
        if (extra > most || extra % 4 != 0)
            extra = known;
        fs->extra_bytes = (uint16_t)extra;
    }
    return 0;
}

static int check_geometry(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    const bool is_64bit = fs->incompat & EXT4_FEATURE_INCOMPAT_64BIT;
    if (super->s_log_block_size > PAGE_SHIFT - EXT2_MIN_BLOCK_LOG_SIZE)
        return unfit(fs, "blocks larger than a page");
    fs->block_bits = EXT2_MIN_BLOCK_LOG_SIZE + super->s_log_block_size;
    fs->block_bytes = 1u << fs->block_bits;
    fs->block_count = wide(super->s_blocks_count, super->s_blocks_count_hi, is_64bit);
    fs->first_data_block = super->s_first_data_block;
    fs->blocks_per_group = super->s_blocks_per_group;
    fs->reserved_descriptors = super->s_reserved_gdt_blocks;
    fs->first_meta_group = super->s_first_meta_bg;
    fs->descriptor_bytes = is_64bit ? super->s_desc_size : EXT2_MIN_DESC_SIZE;
    if (fs->first_data_block != (fs->block_bits == EXT2_MIN_BLOCK_LOG_SIZE ? 1 : 0) ||
        fs->block_count <= fs->first_data_block ||
        fs->block_count > fs->device->size_bytes >> fs->block_bits)
        return unfit(fs, "it is larger than the device, or has no blocks");
    if (fs->blocks_per_group != fs->block_bytes * GROUP_BITS_MAX &&
        (fs->blocks_per_group < 256 || fs->blocks_per_group > fs->block_bytes * GROUP_BITS_MAX ||
            fs->blocks_per_group % GROUP_BITS_MAX != 0))
        return unfit(fs, "bad size of groups");
    if (super->s_clusters_per_group != fs->blocks_per_group ||
        super->s_log_cluster_size != super->s_log_block_size)
        return unfit(fs, "clusters");
    if (fs->descriptor_bytes < (is_64bit ? EXT2_MIN_DESC_SIZE_64BIT : EXT2_MIN_DESC_SIZE) ||
        fs->descriptor_bytes > 1024 || (fs->descriptor_bytes & (fs->descriptor_bytes - 1)) != 0)
        return unfit(fs, "bad size of group descriptors");
    const uint64_t groups =
        DIV_ROUND_UP(fs->block_count - fs->first_data_block, fs->blocks_per_group);
    if (groups > UINT32_MAX / fs->block_bytes)
        return unfit(fs, "too many groups");
    fs->group_count = (uint32_t)groups;
    return 0;
}

static void take_rest(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    const bool is_64bit = fs->incompat & EXT4_FEATURE_INCOMPAT_64BIT;
    for (int i = 0; i < 4; i++)
        fs->hash_seed[i] = super->s_hash_seed[i];
    fs->hash_version =
        super->s_def_hash_version <= EXT2_HASH_TEA ? super->s_def_hash_version : EXT2_HASH_HALF_MD4;
    fs->hash_unsigned = super->s_flags & EXT2_FLAGS_UNSIGNED_HASH;
    fs->reserved_blocks =
        MIN(wide(super->s_r_blocks_count, super->s_r_blocks_count_hi, is_64bit), fs->block_count);
    fs->internal_blocks = MIN(fs->block_count / 50, UINT64_C(4096));
    fs->errors_read_only = super->s_errors > EXT2_ERRORS_CONTINUE;
    fs->last_orphan = super->s_last_orphan;
    memcpy(fs->uuid, super->s_uuid, sizeof(fs->uuid));
    fs->backup_groups[0] = super->s_backup_bgs[0];
    fs->backup_groups[1] = super->s_backup_bgs[1];
    // 32 bits of blocks; without extents what three levels of pointers reach.
    const uint64_t pointers = fs->block_bytes / sizeof(uint32_t);
    fs->size_max_extents = (uint64_t)EXT4_BLOCKS_MAX << fs->block_bits;
    fs->size_max_pointers =
        (EXT2_NDIR_BLOCKS + pointers + pointers * pointers + pointers * pointers * pointers)
        << fs->block_bits;
    fs->size_max_pointers = MIN(fs->size_max_pointers, fs->size_max_extents);
}

static int check_super(struct ext4_fs *fs, const struct ext2_super_block *super)
{
    if (super->s_magic != EXT4_SUPER_MAGIC)
        return -EINVAL; // another file system: not worth a message
    int error = check_checksum(fs, super);
    if (error == 0)
        error = check_features(fs, super);
    if (error == 0)
        error = check_geometry(fs, super);
    if (error == 0)
        error = check_inodes(fs, super);
    if (error == 0)
        take_rest(fs, super);
    return error;
}

// ---- opening ----

static int read_super(struct ext4_fs *fs)
{
    struct ext4_device *device = fs->device;
    if (device->size_bytes < 4 * EXT4_SUPER_OFFSET)
        return -EINVAL;
    void *memory = device->ops->memory_alloc(device->context, EXT4_SUPER_OFFSET);
    if (memory == NULL)
        return -ENOMEM;
    int error = device->ops->read(device->context, 1, EXT4_SUPER_OFFSET, memory);
    if (error == 0)
        error = check_super(fs, memory);
    device->ops->memory_free(device->context, memory, EXT4_SUPER_OFFSET);
    return error;
}

int ext4_fs_open(struct ext4_device *device, struct ext4_fs **result)
{
    struct ext4_fs *fs = base_alloc(sizeof(*fs));
    if (fs == NULL)
        return -ENOMEM;
    ext4_checksum_init();
    fs->device = device;
    fs->read_only = true;
    fs->buffer_limit = BUFFERS_MIN;
    mutex_init(&fs->alloc_lock);
    mutex_init(&fs->orphan_lock);
    rwlock_init(&fs->transaction_lock);
    spin_lock_init(&fs->buffer_lock);
    spin_lock_init(&fs->transaction_spin);
    wait_queue_init(&fs->data_queue);
    list_init(&fs->lru);
    list_init(&fs->running);
    list_init(&fs->committed);
    list_init(&fs->orphans);
    xarray_init(&fs->buffers);
    xarray_init(&fs->revoked);
    fs->running_id = 1;
    int error = read_super(fs);
    if (error != 0) {
        ext4_fs_destroy(fs);
        return error;
    }
    *result = fs;
    return 0;
}

void ext4_fs_destroy(struct ext4_fs *fs)
{
    assert(list_is_empty(&fs->orphans));
    if (fs->super != NULL)
        ext4_buffer_put(fs, fs->super);
    if (fs->journal != NULL)
        ext4_journal_destroy(fs->journal);
    ext4_buffers_destroy(fs);
    xarray_destroy(&fs->revoked);
    for (uint32_t i = 0; fs->groups != NULL && i < fs->group_count; i++)
        base_free(fs->groups[i].pending);
    base_free(fs->groups);
    base_free(fs);
}

// ---- becoming writable, and the end ----

// Why it can't be written to; NULL: it can.
static const char *why_not_writable(const struct ext4_fs *fs)
{
    if (fs->device->read_only)
        return "the device is read-only";
    if (fs->ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
        return "it has an orphan file with entries: run e2fsck";
    if (fs->ro_compat & ~(uint32_t)EXT4_RO_COMPAT_KNOWN)
        return "features that are supported for reading only";
    return NULL;
}

void ext4_super_seal(struct ext4_fs *fs)
{
    struct ext2_super_block *super = ext4_super(fs);
    if (__atomic_load_n(&fs->mark_error, __ATOMIC_RELAXED))
        super->s_state |= EXT2_ERROR_FS;
    super->s_free_blocks_count = (uint32_t)fs->free_blocks;
    if (fs->incompat & EXT4_FEATURE_INCOMPAT_64BIT)
        super->s_free_blocks_hi = (uint32_t)(fs->free_blocks >> 32);
    super->s_free_inodes_count = fs->free_inodes;
    if (fs->metadata_checksum)
        super->s_checksum = ext4_crc32c(~0u, super, offsetof(struct ext2_super_block, s_checksum));
}

// Writes the superblock itself, outside of any transaction.
static int write_super(struct ext4_fs *fs)
{
    const struct ext4_device *device = fs->device;
    struct ext4_write write = {.block = fs->super->block, .data = fs->super->data};
    ext4_super_seal(fs);
    return device->ops->write(device->context, &write, 1, fs->block_bytes, true);
}

static int mark_mounted(struct ext4_fs *fs)
{
    struct ext2_super_block *super = ext4_super(fs);
    const int64_t now = fs->device->ops->now_ns(fs->device->context) / 1000000000;
    super->s_mtime = super->s_wtime = (uint32_t)now;
    super->s_mnt_count++;
    if (fs->journal != NULL)
        super->s_feature_incompat |= EXT3_FEATURE_INCOMPAT_RECOVER;
    else
        super->s_state &= (uint16_t)~EXT2_VALID_FS;
    return write_super(fs);
}

// Brings the file system to the state after its last complete transaction.
static int recover(struct ext4_fs *fs)
{
    if (!(fs->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL))
        return unfit(fs, "it needs recovery, but has no journal");
    if (fs->device->read_only) {
        log_error("ext4: %s: the journal has to be replayed, but the device is read-only",
            fs->device->name);
        return -EROFS;
    }
    int error = ext4_groups_load(fs, true);
    if (error == 0)
        error = ext4_journal_open(fs);
    if (error == 0)
        error = ext4_journal_replay(fs->journal);
    if (fs->journal != NULL)
        ext4_journal_destroy(fs->journal);
    fs->journal = NULL;
    // All that has been read may have been replaced.
    ext4_buffers_destroy(fs);
    fs->buffer_count = 0;
    list_init(&fs->lru);
    return error == 0 ? read_super(fs) : error;
}

int ext4_fs_start(struct ext4_fs *fs, bool write)
{
    int error = 0;
    if (fs->groups == NULL) { // the first time
        if (fs->incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
            error = recover(fs);
        if (error == 0)
            error = ext4_groups_load(fs, false);
    }
    if (error != 0 || !write)
        return error;
    const char *why = why_not_writable(fs);
    if (why != NULL) {
        log_warning("ext4: %s: mounted read-only: %s", fs->device->name, why);
        return -EROFS;
    }
    if (fs->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL && fs->journal == NULL)
        error = ext4_journal_open(fs);
    if (error == 0 && fs->super == NULL)
        error = ext4_buffer_read(
            fs, EXT4_SUPER_OFFSET >> fs->block_bits, EXT4_KIND_RAW, NULL, &fs->super);
    if (error == 0)
        error = mark_mounted(fs);
    if (error == 0 && fs->journal != NULL)
        error = ext4_journal_start(fs->journal);
    if (error == 0) {
        fs->transaction_max = fs->journal != NULL ? ext4_journal_transaction_max(fs->journal) : 512;
        fs->read_only = false;
    }
    return error;
}

int ext4_fs_stop(struct ext4_fs *fs)
{
    if (fs->read_only)
        return 0;
    int error = ext4_commit(fs, ext4_running_id(fs));
    if (error == 0 && fs->journal != NULL)
        error = ext4_journal_stop(fs->journal);
    fs->read_only = true;
    if (error != 0 || fs->error != 0)
        return error != 0 ? error : fs->error;
    struct ext2_super_block *super = ext4_super(fs);
    super->s_feature_incompat &= ~(uint32_t)EXT3_FEATURE_INCOMPAT_RECOVER;
    super->s_state |= EXT2_VALID_FS;
    super->s_wtime = (uint32_t)(fs->device->ops->now_ns(fs->device->context) / 1000000000);
    return write_super(fs);
}
