// SPDX-License-Identifier: MIT
//
// Packing a program of the host with its interpreter and libraries.
#include "tools/lodger/program.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <glob.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// An interpreter that is itself a script, and so on: as deep as Linux goes.
#define SCRIPT_DEPTH_MAX 5

// The folder in which the programs' root file system lies: "" is the host's own. Set for the time
// of one program_pack_from().
static _Thread_local const char *root = "";

static char *pack(struct cpio *cpio, const char *path, const char *source, unsigned depth);

// Packs what lies at `path` in the programs' root file system, unless it is there already.
static char *pack_at_root(struct cpio *cpio, const char *path, unsigned depth)
{
    if (cpio_contains(cpio, path)) {
        return NULL;
    }
    char *source = xasprintf("%s%s", root, path);
    char *reason = pack(cpio, path, source, depth);
    free(source);
    return reason;
}

static bool readable(const char *path)
{
    char *source = xasprintf("%s%s", root, path);
    bool found = access(source, R_OK) == 0;
    free(source);
    return found;
}

// What matters of a program's ELF file.
struct elf_info {
    char *interpreter; // NULL: a static program, or a library
    struct strings needed;
    struct strings folders; // DT_RUNPATH, or DT_RPATH where there is none; $ORIGIN is replaced
};

static void elf_info_free(struct elf_info *info)
{
    free(info->interpreter);
    strings_free(&info->needed);
    strings_free(&info->folders);
}

// Splits a DT_RUNPATH, with $ORIGIN being the folder of `source`.
static void add_folders(struct strings *folders, const char *runpath, const char *source)
{
    const char *slash = strrchr(source, '/');
    char *origin = slash != NULL ? xstrndup(source, (size_t)(slash - source)) : xstrdup(".");
    while (*runpath != '\0') {
        size_t len_bytes = strcspn(runpath, ":");
        char *folder = xstrndup(runpath, len_bytes);
        const char *rest = folder;
        if (strncmp(folder, "$ORIGIN", 7) == 0 || strncmp(folder, "${ORIGIN}", 9) == 0) {
            rest = folder + (folder[1] == '{' ? 9 : 7);
            strings_addf(folders, "%s%s", origin, rest);
        } else if (len_bytes > 0) {
            strings_add(folders, folder);
        }
        free(folder);
        runpath += len_bytes + (runpath[len_bytes] == ':');
    }
    free(origin);
}

static void read_dynamic(
    Elf *elf, Elf_Scn *section, const GElf_Shdr *header, const char *source, struct elf_info *info)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = header->sh_entsize > 0 ? header->sh_size / header->sh_entsize : 0;
    const char *rpath = NULL;
    const char *runpath = NULL;
    for (size_t i = 0; data != NULL && i < count; i++) {
        GElf_Dyn entry;
        if (gelf_getdyn(data, (int)i, &entry) == NULL || entry.d_tag == DT_NULL) {
            break;
        }
        const char *text = NULL;
        if (entry.d_tag == DT_NEEDED || entry.d_tag == DT_RPATH || entry.d_tag == DT_RUNPATH) {
            text = elf_strptr(elf, header->sh_link, entry.d_un.d_val);
        }
        if (text == NULL) {
            continue;
        }
        if (entry.d_tag == DT_NEEDED) {
            strings_add(&info->needed, text);
        } else if (entry.d_tag == DT_RPATH) {
            rpath = text;
        } else {
            runpath = text;
        }
    }
    if (runpath != NULL || rpath != NULL) {
        add_folders(&info->folders, runpath != NULL ? runpath : rpath, source + strlen(root));
    }
}

// Checks that every segment lies within the file, and finds the interpreter. Returns NULL or a
// reason.
static char *read_segments(
    Elf *elf, const char *source, uint64_t file_size_bytes, struct elf_info *info)
{
    size_t count;
    if (elf_getphdrnum(elf, &count) != 0 || count == 0) {
        return xasprintf("%s is a corrupt ELF file: it has no program headers", source);
    }
    bool loadable = false;
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, (int)i, &segment) == NULL) {
            return xasprintf(
                "%s is a corrupt ELF file: program header %zu: %s", source, i, elf_errmsg(-1));
        }
        bool in_file = segment.p_offset <= file_size_bytes &&
                       segment.p_filesz <= file_size_bytes - segment.p_offset;
        if ((segment.p_type == PT_LOAD || segment.p_type == PT_INTERP) && !in_file) {
            return xasprintf(
                "%s is a corrupt ELF file: segment %zu lies beyond the end of the file", source, i);
        }
        loadable = loadable || segment.p_type == PT_LOAD;
        if (segment.p_type == PT_INTERP && segment.p_filesz > 1) {
            const char *raw = elf_rawfile(elf, NULL);
            info->interpreter = xstrndup(raw + segment.p_offset, segment.p_filesz - 1);
        }
    }
    if (!loadable) {
        return xasprintf("%s is a corrupt ELF file: it has nothing to load", source);
    }
    return NULL;
}

// Reads the ELF file. Returns NULL, or the reason why it is no program for x86-64 Linux.
static char *read_elf(const char *source, bool library, struct elf_info *info)
{
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return xasprintf("cannot read %s: %s", source, strerror(errno));
    }
    struct stat status;
    char *reason = NULL;
    elf_version(EV_CURRENT);
    Elf *elf = fstat(fd, &status) == 0 ? elf_begin(fd, ELF_C_READ, NULL) : NULL;
    GElf_Ehdr header;
    if (elf == NULL || elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == NULL) {
        reason = xasprintf("%s is a corrupt ELF file", source);
    } else if (header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64) {
        reason = xasprintf("%s is not a 64-bit x86 program", source);
    } else if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
        reason = xasprintf("%s is an ELF file, but not a program", source);
    } else {
        reason = read_segments(elf, source, (uint64_t)status.st_size, info);
    }
    Elf_Scn *section = NULL;
    while (reason == NULL && (section = elf_nextscn(elf, section)) != NULL) {
        GElf_Shdr section_header;
        if (gelf_getshdr(section, &section_header) != NULL &&
            section_header.sh_type == SHT_DYNAMIC) {
            read_dynamic(elf, section, &section_header, source, info);
        }
    }
    elf_end(elf);
    close(fd);
    return reason;
}

// Adds the folders that a file in the manner of /etc/ld.so.conf names.
static void read_ld_so_conf(struct strings *folders, const char *path, unsigned depth)
{
    char *text = file_read_text(path);
    char *rest = text;
    char *line;
    while (text != NULL && depth < 4 && (line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, "#")] = '\0';
        struct strings words = {};
        strings_add_words(&words, line);
        if (words.count == 2 && strcmp(words.items[0], "include") == 0) {
            glob_t found;
            if (glob(words.items[1], 0, NULL, &found) == 0) {
                for (size_t i = 0; i < found.gl_pathc; i++) {
                    read_ld_so_conf(folders, found.gl_pathv[i], depth + 1);
                }
                globfree(&found);
            }
        } else if (words.count == 1) {
            strings_add(folders, words.items[0]);
        }
        strings_free(&words);
    }
    free(text);
}

static const struct strings *default_folders(void)
{
    static struct strings host, elsewhere;
    struct strings *folders = root[0] == '\0' ? &host : &elsewhere;
    if (folders->count == 0) {
        if (root[0] == '\0') {
            read_ld_so_conf(folders, "/etc/ld.so.conf", 0);
        }
        strings_add(folders, "/lib/x86_64-linux-gnu");
        strings_add(folders, "/usr/lib/x86_64-linux-gnu");
        strings_add(folders, "/lib64");
        strings_add(folders, "/usr/lib64");
        strings_add(folders, "/lib");
        strings_add(folders, "/usr/lib");
    }
    return folders;
}

static char *find_in(const struct strings *folders, const char *library)
{
    for (size_t i = 0; i < folders->count; i++) {
        char *path = xasprintf("%s/%s", folders->items[i], library);
        if (readable(path)) {
            return path;
        }
        free(path);
    }
    return NULL;
}

static char *pack_libraries(
    struct cpio *cpio, const char *source, const struct elf_info *info, unsigned depth)
{
    for (size_t i = 0; i < info->needed.count; i++) {
        const char *name = info->needed.items[i];
        char *library = strchr(name, '/') != NULL ? xstrdup(name) : find_in(&info->folders, name);
        if (library == NULL) {
            library = find_in(default_folders(), name);
        }
        if (library == NULL) {
            return xasprintf(
                "%s needs the library %s, which this host does not have", source, name);
        }
        char *reason = pack_at_root(cpio, library, depth);
        free(library);
        if (reason != NULL) {
            return reason;
        }
    }
    return NULL;
}

static char *pack_elf(struct cpio *cpio, const char *source, unsigned depth)
{
    struct elf_info info = {};
    char *reason = read_elf(source, depth > 0, &info);
    if (reason == NULL && info.interpreter != NULL) {
        if (!readable(info.interpreter)) {
            reason = xasprintf("%s is a dynamic program and needs the interpreter %s, which this "
                               "host does not have; "
                               "link it statically",
                source, info.interpreter);
        } else {
            reason = pack_at_root(cpio, info.interpreter, depth + 1);
        }
    }
    if (reason == NULL) {
        reason = pack_libraries(cpio, source, &info, depth);
    }
    elf_info_free(&info);
    return reason;
}

static char *pack_script(
    struct cpio *cpio, const char *source, const uint8_t *text, size_t len_bytes, unsigned depth)
{
    char *line = xstrndup((const char *)text + 2, strnlen((const char *)text + 2, len_bytes - 2));
    line[strcspn(line, "\n")] = '\0';
    struct strings words = {};
    strings_add_words(&words, line);
    free(line);
    char *reason = NULL;
    if (words.count == 0) {
        reason = xasprintf("%s is a script without an interpreter", source);
    } else if (!readable(words.items[0])) {
        reason = xasprintf(
            "%s is a script for %s, which this host does not have", source, words.items[0]);
    } else {
        reason = pack_at_root(cpio, words.items[0], depth + 1);
    }
    strings_free(&words);
    return reason;
}

static char *pack(struct cpio *cpio, const char *path, const char *source, unsigned depth)
{
    struct stat status;
    if (stat(source, &status) != 0) {
        return xasprintf("cannot read %s: %s", source, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return xasprintf("%s is not a file", source);
    }
    struct buffer content = {};
    int error = file_read(source, &content);
    if (error != 0) {
        return xasprintf("cannot read %s: %s", source, strerror(-error));
    }
    cpio_add_file(cpio, path, 0755, content.data, content.len_bytes);
    char *reason;
    if (content.len_bytes >= 4 && memcmp(content.data, ELFMAG, SELFMAG) == 0) {
        reason = pack_elf(cpio, source, depth);
    } else if (content.len_bytes > 2 && memcmp(content.data, "#!", 2) == 0 &&
               depth < SCRIPT_DEPTH_MAX) {
        reason = pack_script(cpio, source, content.data, content.len_bytes, depth);
    } else {
        reason = xasprintf("%s is neither an ELF program nor a #! script", source);
    }
    buffer_free(&content);
    return reason;
}

char *program_pack_from(struct cpio *cpio, const char *folder, const char *path)
{
    root = folder;
    char *reason = pack_at_root(cpio, path, 0);
    root = "";
    return reason;
}

char *program_pack(struct cpio *cpio, const char *path, const char *source)
{
    if (access(source, R_OK) == 0 && access(source, X_OK) != 0) {
        return xasprintf("%s is not executable (chmod +x)", source);
    }
    return pack(cpio, path, source, 0);
}
