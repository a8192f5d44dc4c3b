// SPDX-License-Identifier: MIT
// Extended attributes of a node: behind its fields in the inode table, and in a block.
#pragma once

#include "kernel/fs/ext4/core.h"

// The node's block of attributes has one user less; the caller writes the node.
[[nodiscard]] int ext4_xattr_block_release(struct ext4_handle *handle, struct ext4_node *node);
