// SPDX-License-Identifier: MIT
// Mounting a folder of the host: mount -t 9p TAG /mnt.
//
// Options, as Linux' where it has them: trans=virtio, version=9p2000.L (both are the only ones),
// msize=BYTES, cache=none|loose. Everybody's files are seen as one user, the server's; who may do
// what is decided here by mode bits, and there by the server.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/9p/9p.h"
#include "kernel/fs/9p/internal.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/mount_options.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"

#include <linux/magic.h>

#define MESSAGE_DEFAULT (P9_PIECES_MAX * PAGE_SIZE)
#define MESSAGE_MAX     (1u << 20)

struct options {
    uint32_t message_max;
    bool is_cached;
};

static int parse_option(struct options *options, const struct mount_option *option)
{
    uint64_t value;
    const char *text = option->value;
    const size_t len = option->value_len;
    if (mount_option_is(option, "trans"))
        return string_equals_bytes("virtio", text, len) ? 0 : -EINVAL;
    if (mount_option_is(option, "version"))
        return string_equals_bytes("9p2000.L", text, len) ? 0 : -EINVAL;
    if (mount_option_is(option, "msize")) {
        const int error = mount_option_size(option, &value);
        if (error != 0 || value < P9_MESSAGE_MIN)
            return -EINVAL;
        options->message_max = (uint32_t)MIN(value, (uint64_t)MESSAGE_MAX);
        return 0;
    }
    if (mount_option_is(option, "cache")) {
        options->is_cached = string_equals_bytes("loose", text, len);
        return options->is_cached || string_equals_bytes("none", text, len) ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static void statfs(struct superblock *superblock, struct statfs_info *info)
{
    struct p9_superblock *p9 = superblock->private_data;
    // An error leaves what is there: nothing.
    (void)p9_statfs(&p9->client, p9_inode_of(superblock->root->inode)->fid, info);
}

static void show_options(struct superblock *superblock, char *buffer, size_t size)
{
    const struct p9_superblock *p9 = superblock->private_data;
    struct fmt_buffer text;
    fmt_buffer_init(&text, buffer, size);
    fmt_append(&text, ",cache=%s,msize=%u,trans=virtio,version=9p2000.L",
        p9->is_cached ? "loose" : "none", p9->client.message_max);
}

static void destroy(struct superblock *superblock)
{
    struct p9_superblock *p9 = superblock->private_data;
    p9_client_stop(&p9->client);
    kfree(p9);
}

static const struct superblock_ops superblock_ops = {
    .statfs = statfs,
    .show_options = show_options,
    .destroy = destroy,
};

static int make_root(struct superblock *superblock)
{
    struct p9_superblock *p9 = superblock->private_data;
    struct inode *root;
    uint32_t fid;
    int error = p9_attach(&p9->client, credentials_current()->uid, &fid);
    if (error == 0)
        error = p9_inode_create(superblock, fid, &root);
    if (error != 0)
        return error;
    if (!inode_is_directory(root)) {
        inode_put(root);
        return -ENOTDIR;
    }
    superblock->root = dentry_create_root(superblock, root);
    return superblock->root != NULL ? 0 : -ENOMEM;
}

static int mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    struct options options = {.message_max = MESSAGE_DEFAULT};
    struct mount_option option;
    const char *text = request->options;
    while (mount_option_next(&text, &option)) {
        const int error = parse_option(&options, &option);
        if (error != 0)
            return error;
    }
    struct p9_superblock *p9 = kzalloc(sizeof(*p9));
    if (p9 == NULL)
        return -ENOMEM;
    p9->is_cached = options.is_cached;
    int error = p9_client_start(&p9->client, request->source, options.message_max);
    if (error != 0) {
        kfree(p9);
        return error;
    }
    struct superblock *superblock = superblock_create(type, &superblock_ops, V9FS_MAGIC);
    if (superblock == NULL) {
        p9_client_stop(&p9->client);
        kfree(p9);
        return -ENOMEM;
    }
    superblock->private_data = p9;
    error = make_root(superblock);
    if (error != 0) {
        superblock_put(superblock);
        return error;
    }
    *result = superblock;
    return 0;
}

void p9_init(void)
{
    static struct filesystem_type type = {.name = "9p", .user_mountable = true, .mount = mount};
    filesystem_register(&type);
}
