// SPDX-License-Identifier: MIT
// What the files of the path walk share; the theory is in name_walk.c.
#pragma once

#include "kernel/fs/name_walk.h"

#define WALK_RCU_DEPTH 3 // nesting of links in RCU mode

// The rest of a path in whose middle stood a link, and what keeps the link's text alive.
struct walk_rest {
    struct path_walk rest;
    bool pending;        // something is left of it
    struct inode *inode; // reference mode: holds the text; or
    const char *text;    // memory of its own
};

struct walk {
    struct path path;    // where it stands; references in reference mode
    struct path root;    // ".." stops here; references in reference mode
    struct inode *inode; // of path.dentry
    uint32_t sequence;   // RCU mode: of path.dentry, mount_sequence and renames at the start
    uint32_t mount_sequence;
    uint32_t rename_sequence;
    uint32_t flags; // WALK_*
    bool rcu;
    uint32_t links;         // followed so far
    uint32_t depth;         // of stack
    uint32_t pending;       // entries of stack with something left
    bool must_be_directory; // a slash follows the last component
    struct walk_last last;  // WALK_PARENT, WALK_CREATE
    walk_visitor *visit;    // walk_visit(): called with what was found, or NULL
    void *visit_context;
    bool visited;            // it was called: no references are held
    bool missing;            // WALK_CREATE: path is the directory, last what is missing
    struct walk_rest *stack; // inline_stack or memory for WALK_LINKS_MAX
    struct walk_rest inline_stack[WALK_RCU_DEPTH];
};

// One entry of the directory where the walk stands, not yet entered.
struct walk_entry {
    struct dentry *dentry; // with a reference in reference mode
    struct inode *inode;
    uint32_t sequence;
};

// name_walk_step.c: the moves, in both modes. 0, or -errno; -ECHILD: RCU mode can't.
[[nodiscard]] int walk_start_rcu(
    struct walk *walk, struct fs_context *fs, const struct file *directory, bool absolute);
[[nodiscard]] int walk_start_reference(
    struct walk *walk, struct fs_context *fs, const struct file *directory, bool absolute);
[[nodiscard]] int walk_jump_root(struct walk *walk);
// The entry of the directory, not yet entered; in reference mode with a reference to entry->dentry.
// -ENOENT.
[[nodiscard]] int walk_step(
    struct walk *walk, const struct path_component *component, struct walk_entry *entry);
void walk_enter(struct walk *walk, const struct walk_entry *entry);
[[nodiscard]] int walk_mounts(struct walk *walk); // over to what is mounted here
[[nodiscard]] int walk_up(struct walk *walk);     // ".."

// name_walk_fast.c: goes down plain directories in RCU mode as far as nothing special comes up;
// walk and *rest then stand before that.
void walk_fast(struct walk *walk, struct path_walk *rest);

// name_walk_link.c: symbolic links. The entry's reference is used up; *rest becomes the walk over
// the link's text.
[[nodiscard]] int walk_link(
    struct walk *walk, const struct walk_entry *entry, struct path_walk *rest);
void walk_pop(struct walk *walk, struct path_walk *rest); // back to the path that the link stood in
