// SPDX-License-Identifier: MIT
// Claim: whatever is done to a file system leaves one that e2fsck finds nothing wrong with, on all
// block sizes and with or without extents, checksums, indexes and a journal; also when the power
// goes at any write, and then no file shows a block that was never written to it.
// Method: random operations on images of mke2fs through the core, on a disk in memory whose writes
// since the last flush survive or not, each by chance. Each block of data names its file.
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/errno.h"
#include "kernel/core/host/host_core.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/host/test_disk.h"
#include "kernel/fs/ext4/name_hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 400

struct file {
    char name[64];
    struct ext4_node *node; // NULL: free
    uint32_t directory;     // index in files; 0: the root
    uint32_t users;         // names
};

struct world {
    struct test_disk disk;
    struct ext4_fs *fs;
    struct prng random;
    struct file files[FILES_MAX]; // [0]: the root
    uint32_t serial;
    uint64_t refused; // operations that found no room
};

static uint32_t below(struct world *world, uint32_t limit)
{
    return (uint32_t)(prng_u64(&world->random) % limit);
}

static void mount_world(struct world *world)
{
    assert_int_equal(ext4_fs_open(&world->disk.device, &world->fs), 0);
    assert_int_equal(ext4_fs_start(world->fs, true), 0);
    assert_int_equal(ext4_orphans_clean(world->fs), 0);
    memset(world->files, 0, sizeof(world->files));
    struct ext4_node *root = base_alloc(sizeof(*root));
    assert_int_equal(ext4_node_read(world->fs, EXT4_ROOT_INODE, root), 0);
    world->files[0].node = root;
}

static void forget_files(struct world *world)
{
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        struct ext4_node *node = world->files[i].node;
        if (node != NULL && node->orphan)
            list_remove(&node->orphan_node);
        base_free(node);
        world->files[i].node = NULL;
    }
}

static void unmount_world(struct world *world)
{
    assert_int_equal(ext4_fs_stop(world->fs), 0);
    forget_files(world);
    ext4_fs_destroy(world->fs);
}

// ---- data ----

static void stamp(uint8_t *block, uint32_t bytes, const struct ext4_node *node)
{
    for (uint32_t at = 0; at < bytes; at += 8) {
        memcpy(block + at, &node->number, 4);
        memcpy(block + at + 4, &node->generation, 4);
    }
}

static int write_data(struct world *world, struct ext4_node *node, uint32_t first, uint32_t count)
{
    struct ext4_fs *fs = world->fs;
    const uint64_t size = MAX(node->size, ((uint64_t)first + count) << fs->block_bits);
    uint8_t block[4096];
    int error = ext4_content_reserve(node, first, count, EXT4_ALLOC_ROOT);
    stamp(block, fs->block_bytes, node);
    while (count != 0 && error == 0) {
        struct ext4_run run;
        bool ordered;
        error = ext4_content_write_begin(node, first, count, size, &run, &ordered);
        if (error != 0)
            break;
        for (uint32_t i = 0; i < run.count && error == 0; i++) {
            const struct ext4_write write = {.block = run.physical + i, .data = block};
            error = fs->device->ops->write(fs->device->context, &write, 1, fs->block_bytes, false);
        }
        ext4_content_write_end(node, ordered);
        first += run.count;
        count -= run.count;
    }
    return error;
}

// Every written block names the file.
static void check_data(struct world *world, struct ext4_node *node)
{
    struct ext4_fs *fs = world->fs;
    uint8_t wanted[4096], found[4096];
    const uint32_t end = (uint32_t)DIV_ROUND_UP(node->size, fs->block_bytes);
    stamp(wanted, fs->block_bytes, node);
    for (uint32_t at = 0; at < end;) {
        struct ext4_run run;
        assert_int_equal(ext4_map_find(node, at, end - at, &run), 0);
        for (uint32_t i = 0; i < run.count && run.physical != 0 && !run.unwritten; i++) {
            assert_int_equal(fs->device->ops->read(
                                 fs->device->context, run.physical + i, fs->block_bytes, found),
                0);
            assert_memory_equal(found, wanted, fs->block_bytes);
        }
        at += run.count;
    }
}

static bool visit_check(
    void *context, const struct ext4_name *name, uint32_t number, uint32_t file_type, uint64_t next)
{
    struct world *world = context;
    struct ext4_node *node = base_alloc(sizeof(*node));
    (void)file_type;
    (void)next;
    assert_int_equal(ext4_node_read(world->fs, number, node), 0);
    assert_true(node->links != 0);
    if (S_ISREG(node->mode) && world->fs->journal != NULL)
        check_data(world, node);
    const bool dots = name->text[0] == '.';
    if (S_ISDIR(node->mode) && !dots && memcmp(name->text, "lost", 4) != 0) {
        uint64_t position = 0;
        assert_int_equal(ext4_directory_list(node, &position, visit_check, world), 0);
    }
    base_free(node);
    return true;
}

static void check_tree(struct world *world)
{
    uint64_t position = 0;
    assert_int_equal(ext4_directory_list(world->files[0].node, &position, visit_check, world), 0);
}

// ---- random operations ----

static struct file *pick(struct world *world, bool directory)
{
    for (int tries = 0; tries < 50; tries++) {
        struct file *file = &world->files[below(world, FILES_MAX)];
        if (file->node != NULL && S_ISDIR(file->node->mode) == directory &&
            (directory || file != world->files))
            return file;
    }
    return directory ? world->files : NULL;
}

static void choose_name(struct world *world, char *name)
{
    static const char filler[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV";
    snprintf(name, 64, "%u-%s", world->serial++, filler + below(world, sizeof(filler) - 1));
}

static struct ext4_name name_of(const char *text)
{
    return (struct ext4_name){.text = text, .len = (uint32_t)strlen(text)};
}

static int do_create(struct world *world)
{
    static const uint32_t modes[] = {S_IFREG | 0644, S_IFREG | 0600, S_IFREG | 0755, S_IFDIR | 0755,
        S_IFLNK | 0777, S_IFIFO | 0600, S_IFCHR | 0600};
    char target[300];
    struct file *directory = pick(world, true);
    struct file *file = NULL;
    for (uint32_t i = 1; i < FILES_MAX && file == NULL; i++)
        if (world->files[i].node == NULL)
            file = &world->files[i];
    if (file == NULL)
        return 0;
    memset(target, 't', sizeof(target));
    const struct ext4_new new = {.mode = modes[below(world, ARRAY_SIZE(modes))],
        .uid = below(world, 100000),
        .now_ns = world->disk.now_ns,
        .target = target,
        .target_len = 1 + below(world, 299),
        .device = {0x0501}};
    choose_name(world, file->name);
    const struct ext4_name name = name_of(file->name);
    struct ext4_node *node = base_alloc(sizeof(*node));
    int error = ext4_create(directory->node, &name, &new, node);
    if (error != 0) {
        base_free(node);
        return error;
    }
    file->node = node;
    file->directory = (uint32_t)(directory - world->files);
    file->users = 1;
    return 0;
}

static bool has_children(const struct world *world, const struct file *directory)
{
    for (uint32_t i = 1; i < FILES_MAX; i++)
        if (world->files[i].node != NULL &&
            world->files[i].directory == (uint32_t)(directory - world->files))
            return true;
    return false;
}

static int do_remove(struct world *world)
{
    struct file *file = pick(world, below(world, 4) == 0);
    if (file == NULL || file == world->files)
        return 0;
    const struct ext4_name name = name_of(file->name);
    const bool full = S_ISDIR(file->node->mode) && has_children(world, file);
    int error =
        ext4_unlink(world->files[file->directory].node, &name, file->node, world->disk.now_ns);
    if (full) {
        assert_int_equal(error, -ENOTEMPTY);
        return 0;
    }
    if (error != 0)
        return error;
    error = ext4_remove(file->node);
    if (error != 0)
        return error;
    base_free(file->node);
    file->node = NULL;
    return 0;
}

static int do_write(struct world *world)
{
    struct file *file = pick(world, false);
    if (file == NULL || !S_ISREG(file->node->mode))
        return 0;
    static const uint32_t ranges[] = {8, 30, 300, 5000, 100000};
    const uint32_t range = ranges[below(world, ARRAY_SIZE(ranges))];
    return write_data(world, file->node, below(world, range), 1 + below(world, 40));
}

static int do_resize(struct world *world)
{
    struct file *file = pick(world, false);
    if (file == NULL || !S_ISREG(file->node->mode))
        return 0;
    const uint64_t size = (uint64_t)below(world, 4000) * world->fs->block_bytes;
    return ext4_content_resize(file->node, below(world, 3) == 0 ? 0 : size);
}

static int do_punch(struct world *world)
{
    struct file *file = pick(world, false);
    if (file == NULL || !S_ISREG(file->node->mode))
        return 0;
    const uint32_t first = below(world, 300);
    return ext4_map_remove_all(file->node, first, first + below(world, 50));
}

static bool lies_below(const struct world *world, const struct file *at, const struct file *above)
{
    while (at != above && at != world->files)
        at = &world->files[at->directory];
    return at == above;
}

static int do_rename(struct world *world)
{
    struct file *file = pick(world, below(world, 3) == 0), *to = pick(world, true);
    struct file *other = pick(world, file != NULL && S_ISDIR(file->node->mode));
    char name[64];
    if (file == NULL || file == world->files || lies_below(world, to, file))
        return 0;
    choose_name(world, name);
    struct ext4_rename rename = {.old_directory = world->files[file->directory].node,
        .new_directory = to->node,
        .old_name = name_of(file->name),
        .new_name = name_of(name),
        .node = file->node,
        .now_ns = world->disk.now_ns};
    // Over another one now and then.
    if (other != NULL && other != file && other != world->files && below(world, 3) == 0 &&
        !has_children(world, other) && !lies_below(world, &world->files[other->directory], file)) {
        to = &world->files[other->directory];
        rename.new_directory = to->node;
        rename.new_name = name_of(other->name);
        rename.replaced = other->node;
        strcpy(name, other->name);
    }
    int error = ext4_rename(&rename);
    if (error != 0)
        return error;
    strcpy(file->name, name);
    file->directory = (uint32_t)(to - world->files);
    if (rename.replaced != NULL) {
        error = ext4_remove(other->node);
        base_free(other->node);
        other->node = NULL;
    }
    return error;
}

// -EIO once the power is gone; no room is no error.
static int do_something(struct world *world)
{
    const uint32_t dice = below(world, 100);
    int error = 0;
    if (dice < 40)
        error = do_create(world);
    else if (dice < 55)
        error = do_remove(world);
    else if (dice < 75)
        error = do_write(world);
    else if (dice < 80)
        error = do_resize(world);
    else if (dice < 84)
        error = do_punch(world);
    else if (dice < 98)
        error = do_rename(world);
    else
        error = ext4_commit(world->fs, ext4_running_id(world->fs));
    if (error == -ENOSPC || error == -EFBIG) {
        world->refused++;
        error = 0;
    }
    return error;
}

static const struct kind {
    const char *options;
    uint64_t megabytes;
    bool journal;
} kinds[] = {
    {"-t ext4 -b 1024", 40, true},
    {"-t ext4 -b 4096", 64, true},
    {"-t ext4 -b 1024 -O ^metadata_csum,^64bit -J size=1", 24, true},
    {"-t ext4 -b 2048 -O ^metadata_csum,uninit_bg,^flex_bg -I 128", 32, true},
    {"-t ext3 -b 1024", 24, true},
    {"-t ext2 -b 1024", 24, false},
    {"-t ext4 -b 4096 -O ^has_journal,^dir_index", 32, false},
};

static void test_random(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct world *world = calloc(1, sizeof(*world));
        world->random = host_seed(kinds[i].options);
        test_disk_create(&world->disk, kinds[i].megabytes << 20);
        test_disk_format(&world->disk, kinds[i].options);
        for (int round = 0; round < 2; round++) {
            mount_world(world);
            for (int step = 0; step < 1500; step++)
                assert_int_equal(do_something(world), 0);
            check_tree(world);
            unmount_world(world);
            assert_int_equal(test_disk_check(&world->disk, false), 0);
        }
        test_disk_destroy(&world->disk);
        free(world);
    }
}

// The power goes after so many writes; then either e2fsck or our own replay repairs.
static void test_power(void **state)
{
    (void)state;
    const char *rounds_text = getenv("LODGER_ROUNDS");
    const int rounds = rounds_text != NULL ? atoi(rounds_text) : 8;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!kinds[i].journal)
            continue;
        struct world *world = calloc(1, sizeof(*world));
        world->random = host_seed(kinds[i].options);
        test_disk_create(&world->disk, kinds[i].megabytes << 20);
        test_disk_format(&world->disk, kinds[i].options);
        for (int round = 0; round < rounds; round++) {
            mount_world(world);
            world->disk.writes_left = 50 + below(world, 3000);
            int error = 0;
            for (int step = 0; step < 3000 && error == 0; step++)
                error = do_something(world);
            forget_files(world);
            ext4_fs_destroy(world->fs);
            test_disk_lose_power(&world->disk, &world->random);
            world->disk.writes_left = UINT64_MAX;
            if (round % 2 == 0) {
                assert_int_equal(test_disk_check(&world->disk, true), 0);
            }
            mount_world(world);
            check_tree(world);
            unmount_world(world);
            assert_int_equal(test_disk_check(&world->disk, false), 0);
        }
        test_disk_destroy(&world->disk);
        free(world);
    }
}

// Thousands of names in one directory: two levels of index at 1 KiB blocks.
static void test_directory(void **state)
{
    (void)state;
    struct world *world = calloc(1, sizeof(*world));
    char text[300];
    world->random = host_seed("directory");
    test_disk_create(&world->disk, UINT64_C(48) << 20);
    test_disk_format(&world->disk, "-t ext4 -b 1024 -N 12000");
    mount_world(world);
    struct ext4_node *root = world->files[0].node;
    struct ext4_node *node = base_alloc(sizeof(*node));
    const struct ext4_new new = {.mode = S_IFREG | 0644, .now_ns = 1};
    for (int i = 0; i < 9000; i++) {
        const int len = snprintf(text, sizeof(text), "%0*d", 20 + i % 60, i);
        const struct ext4_name name = {.text = text, .len = (uint32_t)len};
        memset(node, 0, sizeof(*node));
        assert_int_equal(ext4_create(root, &name, &new, node), 0);
    }
    for (int i = 0; i < 9000; i++) {
        uint32_t number;
        const int len = snprintf(text, sizeof(text), "%0*d", 20 + i % 60, i);
        const struct ext4_name name = {.text = text, .len = (uint32_t)len};
        assert_int_equal(ext4_directory_find(root, &name, &number), 0);
        if (i % 3 != 0)
            continue;
        memset(node, 0, sizeof(*node));
        assert_int_equal(ext4_node_read(world->fs, number, node), 0);
        assert_int_equal(ext4_unlink(root, &name, node, 1), 0);
        assert_int_equal(ext4_remove(node), 0);
        assert_int_equal(ext4_directory_find(root, &name, &number), -ENOENT);
    }
    base_free(node);
    unmount_world(world);
    assert_int_equal(test_disk_check(&world->disk, false), 0);
    test_disk_destroy(&world->disk);
    free(world);
}

static void test_checksums(void **state)
{
    (void)state;
    uint32_t hash, minor;
    const uint32_t seed[4] = {};
    ext4_checksum_init();
    // RFC 3720, B.4: 32 bytes of zeroes.
    const uint8_t zeroes[32] = {};
    assert_int_equal(ext4_crc32c(~0u, zeroes, sizeof(zeroes)), ~UINT32_C(0x8a9136aa));
    assert_int_equal(ext4_crc16(0, "123456789", 9), 0xbb3d);
    assert_int_equal(ext4_name_hash("a", 1, 77, seed, &hash, &minor), -EINVAL);
}

int main(void)
{
    host_cpu_begin(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
