// SPDX-License-Identifier: MIT
//
// Writing an initial file system as a cpio archive ("newc").
#include "tools/lodger/cpio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct entry {
    mode_t mode;
    unsigned major;
    unsigned minor;
    const void *data;
    size_t len_bytes;
};

static const char *without_slash(const char *path)
{
    return path + strspn(path, "/");
}

// Writes one entry: header of 13 hexadecimal fields, name and data, each padded to four bytes.
static void write_entry(
    struct cpio *cpio, const char *name, uint32_t inode, const struct entry *entry)
{
    if (entry->len_bytes > UINT32_MAX) {
        die("%s is too big for an initial file system (4 GiB is the most)", name);
    }
    char header[6 + 13 * 8 + 1];
    unsigned links = S_ISDIR(entry->mode) ? 2 : 1;
    snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
        inode, (unsigned)entry->mode, 0u, 0u, links, 0u, (unsigned)entry->len_bytes, 0u, 0u,
        entry->major, entry->minor, (unsigned)strlen(name) + 1, 0u);
    buffer_add(&cpio->archive, header, sizeof(header) - 1);
    buffer_add(&cpio->archive, name, strlen(name) + 1);
    buffer_align(&cpio->archive, 4);
    buffer_add(&cpio->archive, entry->data, entry->len_bytes);
    buffer_align(&cpio->archive, 4);
}

static bool add(struct cpio *cpio, const char *path, const struct entry *entry)
{
    const char *name = without_slash(path);
    if (*name == '\0' || strings_contain(&cpio->paths, name)) {
        return false;
    }
    const char *slash = strrchr(name, '/');
    if (slash != NULL) {
        char *parent = xstrndup(name, (size_t)(slash - name));
        cpio_add_folder(cpio, parent, 0755);
        free(parent);
    }
    strings_add(&cpio->paths, name);
    write_entry(cpio, name, ++cpio->last_inode, entry);
    return true;
}

bool cpio_add_folder(struct cpio *cpio, const char *path, mode_t permissions)
{
    return add(cpio, path, &(struct entry){.mode = S_IFDIR | permissions});
}

bool cpio_add_file(
    struct cpio *cpio, const char *path, mode_t permissions, const void *data, size_t len_bytes)
{
    return add(cpio, path,
        &(struct entry){.mode = S_IFREG | permissions, .data = data, .len_bytes = len_bytes});
}

bool cpio_add_symlink(struct cpio *cpio, const char *path, const char *target)
{
    return add(cpio, path,
        &(struct entry){.mode = S_IFLNK | 0777, .data = target, .len_bytes = strlen(target)});
}

bool cpio_add_device(struct cpio *cpio, const char *path, mode_t type_and_permissions,
    unsigned major, unsigned minor)
{
    return add(
        cpio, path, &(struct entry){.mode = type_and_permissions, .major = major, .minor = minor});
}

int cpio_add_host_file(struct cpio *cpio, const char *path, mode_t permissions, const char *source)
{
    struct buffer content = {};
    int error = file_read(source, &content);
    if (error == 0) {
        cpio_add_file(cpio, path, permissions, content.data, content.len_bytes);
    }
    buffer_free(&content);
    return error;
}

bool cpio_contains(const struct cpio *cpio, const char *path)
{
    return strings_contain(&cpio->paths, without_slash(path));
}

void cpio_finish(struct cpio *cpio)
{
    write_entry(cpio, "TRAILER!!!", 0, &(struct entry){});
    buffer_align(&cpio->archive, 512);
}

void cpio_free(struct cpio *cpio)
{
    buffer_free(&cpio->archive);
    strings_free(&cpio->paths);
}
