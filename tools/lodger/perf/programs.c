// SPDX-License-Identifier: MIT
//
// Copies of the guest's files, in perf's cache of build-ids.
#include "tools/lodger/perf/programs.h"

#include "tools/lodger/perf/kernel_elf.h"
#include "tools/lodger/perf/program_image.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A header of the newc format is 110 characters of hexadecimal fields.
#define CPIO_HEADER_BYTES 110u
#define CPIO_FIELD_SIZE   6u
#define CPIO_FIELD_NAME   11u

void programs_init(struct programs *programs, const char *initrd)
{
    *programs = (struct programs){};
    if (initrd != NULL && file_read(initrd, &programs->initrd) != 0) {
        buffer_free(&programs->initrd);
        programs->initrd = (struct buffer){};
    }
}

void programs_free(struct programs *programs)
{
    for (size_t i = 0; i < programs->count; i++) {
        struct program *program = programs->items[i];
        program_image_close(program->image);
        if (program->shown_path != program->name && program->shown_path != program->host_path) {
            free(program->shown_path);
        }
        free(program->name);
        free(program->host_path);
        free(program);
    }
    free(programs->items);
    buffer_free(&programs->initrd);
    *programs = (struct programs){};
}

static uint64_t cpio_field(const uint8_t *header, unsigned field)
{
    char digits[9] = {};
    memcpy(digits, header + 6 + field * 8, 8);
    return strtoull(digits, NULL, 16);
}

// Finds a file of the initial file system by its path without the first slash.
static bool find_in_initrd(
    const struct buffer *initrd, const char *path, const uint8_t **data, size_t *len_bytes)
{
    size_t at = 0;
    while (at + CPIO_HEADER_BYTES <= initrd->len_bytes) {
        const uint8_t *header = initrd->data + at;
        if (memcmp(header, "070701", 6) != 0) {
            return false;
        }
        uint64_t name_bytes = cpio_field(header, CPIO_FIELD_NAME);
        uint64_t size_bytes = cpio_field(header, CPIO_FIELD_SIZE);
        uint64_t start = (at + CPIO_HEADER_BYTES + name_bytes + 3) & ~3ull;
        if (name_bytes == 0 || start > initrd->len_bytes ||
            size_bytes > initrd->len_bytes - start) {
            return false;
        }
        const char *name = (const char *)header + CPIO_HEADER_BYTES;
        name += name[0] == '/' ? 1 : 0;
        if (size_bytes > 0 && strncmp(name, path, name_bytes) == 0) {
            *data = initrd->data + start;
            *len_bytes = size_bytes;
            return true;
        }
        at = (start + size_bytes + 3) & ~3ull;
    }
    return false;
}

// FNV-1a, for the folder of a file that has no build-id.
static uint64_t hash(const uint8_t *data, size_t len_bytes)
{
    uint64_t value = 0xcbf29ce484222325;
    for (size_t i = 0; i < len_bytes; i++) {
        value = (value ^ data[i]) * 0x100000001b3;
    }
    return value;
}

// Creates the folders above `path`. False: that is not possible (the cache is a convenience).
static bool create_folders(const char *path)
{
    char *copy = xstrdup(path);
    bool done = true;
    for (char *slash = strchr(copy + 1, '/'); slash != NULL && done;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        done = mkdir(copy, 0755) == 0 || errno == EEXIST;
        *slash = '/';
    }
    free(copy);
    return done;
}

// Writes a file that appears whole or not at all.
static bool write_file(const char *path, const void *data, size_t len_bytes)
{
    if (access(path, R_OK) == 0) {
        return true;
    }
    if (!create_folders(path)) {
        return false;
    }
    char *temporary = xasprintf("%s.%d", path, (int)getpid());
    FILE *file = fopen(temporary, "w");
    bool done = file != NULL && fwrite(data, 1, len_bytes, file) == len_bytes;
    if (file != NULL) {
        done = fclose(file) == 0 && done;
    }
    done = done && rename(temporary, path) == 0;
    if (!done) {
        unlink(temporary);
    }
    free(temporary);
    return done;
}

// Puts the file into the cache as `perf buildid-cache --add` does: a folder with the file `elf`,
// and a link to it by build-id. Returns the path of the copy, or NULL.
static char *cache_file(const struct program *program, const uint8_t *data, size_t len_bytes)
{
    const char *home = getenv("HOME");
    if (home == NULL) {
        return NULL;
    }
    const char *slash = strrchr(program->name, '/');
    const char *base = slash != NULL ? slash + 1 : program->name;
    if (program->build_id_bytes == 0) {
        char *path = xasprintf(
            "%s/.debug/lodger/%016llx/%s", home, (unsigned long long)hash(data, len_bytes), base);
        if (!write_file(path, data, len_bytes)) {
            free(path);
            return NULL;
        }
        return path;
    }
    const char *id = build_id_text(program->build_id, program->build_id_bytes);
    char *link = xasprintf("%s/.debug/.build-id/%.2s/%s", home, id, id + 2);
    char *in_link = xasprintf("%s/elf", link);
    if (access(in_link, R_OK) == 0) {
        free(link);
        return in_link;
    }
    char *path = xasprintf("%s/.debug/lodger/%s/%s/elf", home, base, id);
    char *target = xasprintf("../../lodger/%s/%s", base, id);
    bool done = write_file(path, data, len_bytes) && create_folders(link) &&
                (symlink(target, link) == 0 || errno == EEXIST);
    free(target);
    free(link);
    free(in_link);
    if (!done) {
        free(path);
        return NULL;
    }
    return path;
}

// Paths that may be looked for: absolute, without steps upwards, printable.
static bool is_plain_path(const char *name)
{
    if (name[0] != '/' || strstr(name, "/../") != NULL || strlen(name) < 2) {
        return false;
    }
    const char *base = strrchr(name, '/') + 1;
    if (base[0] == '\0' || strcmp(base, "..") == 0 || strcmp(base, ".") == 0) {
        return false;
    }
    for (const char *at = name; *at != '\0'; at++) {
        if (!isprint((unsigned char)*at)) {
            return false;
        }
    }
    return true;
}

// Whether these bytes are the file that the guest runs.
static bool is_same_file(const struct program *program, const uint8_t *data, size_t len_bytes)
{
    uint8_t build_id[20];
    unsigned bytes = elf_build_id(data, len_bytes, build_id);
    return bytes == program->build_id_bytes &&
           memcmp(build_id, program->build_id, program->build_id_bytes) == 0;
}

// Looks for a copy and caches it.
static void locate(struct programs *programs, struct program *program)
{
    if (!is_plain_path(program->name)) {
        return;
    }
    const uint8_t *data = NULL;
    size_t len_bytes = 0;
    struct buffer host = {};
    bool found = find_in_initrd(&programs->initrd, program->name + 1, &data, &len_bytes) &&
                 (program->build_id_bytes == 0 || is_same_file(program, data, len_bytes));
    struct stat status;
    if (!found && program->build_id_bytes > 0 && stat(program->name, &status) == 0 &&
        S_ISREG(status.st_mode) && file_read(program->name, &host) == 0) {
        data = host.data;
        len_bytes = host.len_bytes;
        found = is_same_file(program, data, len_bytes);
    }
    if (found && program->build_id_bytes == 0) {
        program->build_id_bytes = elf_build_id(data, len_bytes, program->build_id);
    }
    if (found) {
        program->host_path = cache_file(program, data, len_bytes);
    }
    if (program->host_path != NULL && program->build_id_bytes == 0) {
        program->shown_path = program->host_path;
    }
    buffer_free(&host);
}

static struct program *add(
    struct programs *programs, const char *name, const uint8_t *build_id, unsigned build_id_bytes)
{
    struct program *program = xmalloc(sizeof(*program));
    *program = (struct program){.name = xstrdup(name), .build_id_bytes = build_id_bytes};
    program->shown_path = program->name;
    memcpy(program->build_id, build_id, build_id_bytes);
    programs->items = xrealloc(programs->items, (programs->count + 1) * sizeof(programs->items[0]));
    programs->items[programs->count++] = program;
    return program;
}

struct program *programs_get(
    struct programs *programs, const char *name, const uint8_t *build_id, unsigned build_id_bytes)
{
    for (size_t i = 0; i < programs->count; i++) {
        struct program *program = programs->items[i];
        // A copy may have told the build-id that the guest does not know.
        bool same_id =
            build_id_bytes == 0 || (program->build_id_bytes == build_id_bytes &&
                                       memcmp(program->build_id, build_id, build_id_bytes) == 0);
        if (same_id && !program->kernel && strcmp(program->name, name) == 0) {
            return program;
        }
    }
    if (programs->count >= PROGRAMS_MAX) {
        return NULL;
    }
    struct program *program = add(programs, name, build_id, build_id_bytes);
    locate(programs, program);
    return program;
}

struct program *programs_add_kernel(
    struct programs *programs, const char *path, const uint8_t *build_id, unsigned build_id_bytes)
{
    struct program *program = add(programs, path, build_id, build_id_bytes);
    program->kernel = true;
    program->host_path = xstrdup(path);
    // A rebuild replaces the file; the cache keeps this one.
    struct buffer file = {};
    if (build_id_bytes > 0 && file_read(path, &file) == 0) {
        free(cache_file(program, file.data, file.len_bytes));
    }
    buffer_free(&file);
    return program;
}

static struct program_image *image(struct program *program)
{
    if (program->image == NULL && !program->image_failed && program->host_path != NULL) {
        program->image = program_image_open(program->host_path);
        program->image_failed = program->image == NULL;
    }
    return program->image;
}

const char *program_symbol(struct program *program, uint64_t address, uint64_t *offset)
{
    struct program_image *opened = image(program);
    return opened != NULL ? program_image_symbol(opened, address, offset) : NULL;
}

bool program_address(struct program *program, uint64_t file_offset, uint64_t *address)
{
    struct program_image *opened = image(program);
    return opened != NULL && program_image_address(opened, file_offset, address);
}

bool program_leaf_caller(
    struct program *program, uint64_t address, const uint64_t words[2], uint64_t *caller)
{
    struct program_image *opened = image(program);
    return opened != NULL && program_image_leaf_caller(opened, address, words, caller);
}
