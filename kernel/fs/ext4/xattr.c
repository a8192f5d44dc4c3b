// SPDX-License-Identifier: MIT
// Extended attributes.
#include "kernel/fs/ext4/xattr.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"

int ext4_xattr_block_release(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_fs *fs = node->fs;
    struct ext4_buffer *buffer;
    const uint64_t block = node->xattr_block;
    assert(block != 0);
    int error = ext4_buffer_read(fs, block, EXT4_KIND_XATTR, NULL, &buffer);
    if (error != 0)
        return error;
    struct ext2_ext_attr_header *header = (struct ext2_ext_attr_header *)buffer->data;
    const bool last = header->h_refcount <= 1;
    if (!last) {
        ext4_modify(handle, buffer);
        header->h_refcount--;
    }
    ext4_buffer_put(fs, buffer);
    if (last)
        error = ext4_blocks_free(handle, block, 1, true);
    if (error == 0) {
        node->xattr_block = 0;
        node->blocks -= MIN(node->blocks, (uint64_t)fs->block_bytes / 512);
    }
    return error;
}
