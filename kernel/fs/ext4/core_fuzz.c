// SPDX-License-Identifier: MIT
//
// A file system with damage, as a disk that is mounted, listed, read, written to and unmounted:
// every number on it may be wrong, and nothing but errors may come of it.
//
// The image is made once, without checksums, or nothing would get past them. The input says which
// bytes are changed and how: three bytes of place, one of value.
#include "kernel/core/errno.h"
#include "kernel/core/host/host_core.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/host/test_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_BYTES (UINT64_C(4) << 20)
#define VISITS_MAX  400

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerInitialize(int *count, char ***arguments);

static struct test_disk base, disk;
static uint32_t used[IMAGE_BYTES / 1024], used_count; // blocks that are not all zero

struct walk {
    struct ext4_fs *fs;
    unsigned visits, depth;
};

static struct ext4_node *node_get(struct ext4_fs *fs, uint32_t number)
{
    struct ext4_node *node = base_alloc(sizeof(*node));
    if (node != NULL && ext4_node_read(fs, number, node) != 0) {
        base_free(node);
        node = NULL;
    }
    return node;
}

static void read_map(struct ext4_node *node)
{
    struct ext4_run run = {.count = 1};
    for (uint32_t at = 0, steps = 0; steps < 50 && at < EXT4_BLOCKS_MAX - run.count; steps++) {
        if (ext4_map_find(node, at, 1000, &run) != 0)
            return;
        at += run.count;
    }
}

static bool visit(
    void *context, const struct ext4_name *name, uint32_t number, uint32_t file_type, uint64_t next)
{
    struct walk *walk = context;
    uint64_t position = 0;
    uint32_t found;
    (void)file_type;
    (void)next;
    if (++walk->visits > VISITS_MAX)
        return false;
    struct ext4_node *node = node_get(walk->fs, number);
    if (node == NULL)
        return true;
    if (S_ISREG(node->mode))
        read_map(node);
    if (S_ISDIR(node->mode) && name->text[0] != '.' && walk->depth < 4) {
        walk->depth++;
        (void)ext4_directory_find(node, name, &found);
        (void)ext4_directory_list(node, &position, visit, walk);
        walk->depth--;
    }
    base_free(node);
    return true;
}

// Makes, fills, moves and removes files in the root.
static void change(struct ext4_fs *fs, struct ext4_node *root)
{
    static const char *const names[] = {"one", "two", "d00", "f07"};
    const struct ext4_new new = {.mode = S_IFREG | 0644, .now_ns = 1};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct ext4_name name = {.text = names[i], .len = 3};
        uint32_t number = 0;
        struct ext4_node *node = base_alloc(sizeof(*node));
        if (node == NULL)
            return;
        int error = ext4_directory_find(root, &name, &number);
        if (error == -ENOENT)
            error = ext4_create(root, &name, &new, node);
        else if (error == 0)
            error = ext4_node_read(fs, number, node);
        if (error == 0 && S_ISREG(node->mode)) {
            struct ext4_run run;
            bool ordered;
            (void)ext4_content_reserve(node, 3, 20, EXT4_ALLOC_ROOT);
            if (ext4_content_write_begin(node, 5, 4, 20000, &run, &ordered) == 0)
                ext4_content_write_end(node, ordered);
            (void)ext4_content_resize(node, 5000);
        }
        if (error == 0 && number != EXT4_ROOT_INODE && node->links != 0 &&
            ext4_unlink(root, &name, node, 2) == 0 && node->links == 0)
            (void)ext4_remove(node);
        if (node->orphan)
            list_remove(&node->orphan_node);
        base_free(node);
    }
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    char text[64];
    struct ext4_fs *fs;
    (void)count;
    (void)arguments;
    host_cpu_begin(0);
    test_disk_create(&base, IMAGE_BYTES);
    test_disk_format(&base, "-t ext4 -b 1024 -J size=1 -N 256 -O ^metadata_csum,^uninit_bg");
    if (ext4_fs_open(&base.device, &fs) != 0 || ext4_fs_start(fs, true) != 0)
        abort();
    struct ext4_node *root = node_get(fs, EXT4_ROOT_INODE);
    for (int i = 0; i < 90; i++) {
        struct ext4_new new = {.mode = (i < 10 ? S_IFDIR : S_IFREG) | 0755, .now_ns = 1};
        struct ext4_node *node = base_alloc(sizeof(*node));
        snprintf(text, sizeof(text), "%c%02d", i < 10 ? 'd' : 'f', i % 10 + i / 20 * 10);
        const struct ext4_name name = {.text = text, .len = 3};
        uint32_t number;
        if (ext4_directory_find(root, &name, &number) == -ENOENT &&
            ext4_create(root, &name, &new, node) == 0 && i >= 10)
            for (uint32_t at = 0; at < 12; at += 2)
                (void)ext4_content_reserve(node, at, 1, 0);
        base_free(node);
    }
    base_free(root);
    if (ext4_fs_stop(fs) != 0)
        abort();
    ext4_fs_destroy(fs);
    for (uint32_t block = 0; block < ARRAY_SIZE(used); block++)
        for (uint32_t at = 0; at < 1024; at++)
            if (base.bytes[block * 1024 + at] != 0) {
                used[used_count++] = block;
                break;
            }
    test_disk_create(&disk, IMAGE_BYTES);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ext4_fs *fs;
    memcpy(disk.bytes, base.bytes, IMAGE_BYTES);
    for (size_t i = 0; i + 4 <= size; i += 4) {
        const uint32_t place =
            bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16;
        const uint32_t block = used[place / 1024 % used_count];
        disk.bytes[block * 1024 + place % 1024] = bytes[i + 3];
    }
    if (ext4_fs_open(&disk.device, &fs) != 0)
        return 0;
    if (ext4_fs_start(fs, true) == 0) {
        (void)ext4_orphans_clean(fs);
        struct ext4_node *root = node_get(fs, EXT4_ROOT_INODE);
        struct walk walk = {.fs = fs};
        uint64_t position = 0;
        if (root != NULL && S_ISDIR(root->mode)) {
            (void)ext4_directory_list(root, &position, visit, &walk);
            change(fs, root);
        }
        base_free(root);
        (void)ext4_fs_stop(fs);
    }
    ext4_fs_destroy(fs);
    // What was written is forgotten with the image.
    for (size_t i = 0; i < disk.pending_count; i++)
        free(disk.pending[i].before);
    disk.pending_count = 0;
    return 0;
}
