// SPDX-License-Identifier: MIT
// Folders of the host: the file system type "9p".
#pragma once

// Registers the type. Once, at start-up, after vfs_init().
void p9_init(void);
