// SPDX-License-Identifier: MIT
//
// Reading ELF files with libelf: build-ids, sections, one symbol.
#include "tools/lodger/perf/kernel_elf.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Copies the build-id out of one section or segment of notes. Returns its length.
static unsigned build_id_in_notes(Elf_Data *data, uint8_t build_id[static 20])
{
    GElf_Nhdr note;
    size_t at = 0, name, descriptor;
    while (data != NULL && (at = gelf_getnote(data, at, &note, &name, &descriptor)) > 0) {
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz > 0 &&
            memcmp((char *)data->d_buf + name, "GNU", 4) == 0) {
            unsigned len_bytes = note.n_descsz < 20 ? note.n_descsz : 20;
            memcpy(build_id, (char *)data->d_buf + descriptor, len_bytes);
            return len_bytes;
        }
    }
    return 0;
}

static unsigned read_build_id(Elf *elf, uint8_t build_id[static 20])
{
    size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) {
        return 0;
    }
    unsigned len_bytes = 0;
    for (size_t i = 0; i < count && len_bytes == 0; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, (int)i, &header) != NULL && header.p_type == PT_NOTE) {
            Elf_Type type = header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
            Elf_Data *data =
                elf_getdata_rawchunk(elf, (int64_t)header.p_offset, header.p_filesz, type);
            len_bytes = build_id_in_notes(data, build_id);
        }
    }
    return len_bytes;
}

unsigned elf_build_id(const void *image, size_t len_bytes, uint8_t build_id[static 20])
{
    elf_version(EV_CURRENT);
    Elf *elf = elf_memory((char *)(uintptr_t)image, len_bytes);
    if (elf == NULL) {
        return 0;
    }
    unsigned id_bytes = elf_kind(elf) == ELF_K_ELF ? read_build_id(elf, build_id) : 0;
    elf_end(elf);
    return id_bytes;
}

static void read_symbol(Elf_Scn *section, const GElf_Shdr *header, Elf *elf, struct kernel_elf *out)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = header->sh_entsize > 0 ? header->sh_size / header->sh_entsize : 0;
    for (size_t i = 0; data != NULL && i < count; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) == NULL) {
            return;
        }
        const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
        if (name != NULL && strcmp(name, "perf_export_descriptor") == 0) {
            out->descriptor = symbol.st_value;
            return;
        }
    }
}

static void read_sections(Elf *elf, struct kernel_elf *out)
{
    size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) {
        return;
    }
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(elf, section)) != NULL) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == NULL) {
            continue;
        }
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (name != NULL && strcmp(name, ".text") == 0) {
            out->text_start = header.sh_addr;
            out->text_end = header.sh_addr + header.sh_size;
        } else if (header.sh_type == SHT_SYMTAB) {
            read_symbol(section, &header, elf, out);
        }
    }
}

int kernel_elf_read(const char *path, struct kernel_elf *out)
{
    *out = (struct kernel_elf){};
    elf_version(EV_CURRENT);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    int error = elf == NULL || elf_kind(elf) != ELF_K_ELF ? -ENOEXEC : 0;
    if (error == 0) {
        out->build_id_bytes = read_build_id(elf, out->build_id);
        read_sections(elf, out);
        error = out->text_start == 0 ? -ENOENT : 0;
    }
    elf_end(elf);
    close(fd);
    if (error == 0) {
        out->path = realpath(path, NULL);
        error = out->path == NULL ? -errno : 0;
    }
    return error;
}

void kernel_elf_free(struct kernel_elf *elf)
{
    free(elf->path);
    *elf = (struct kernel_elf){};
}

const char *build_id_text(const uint8_t *build_id, unsigned build_id_bytes)
{
    static char text[41];
    for (unsigned i = 0; i < build_id_bytes && i < 20; i++) {
        snprintf(&text[i * 2], 3, "%02x", build_id[i]);
    }
    text[build_id_bytes < 20 ? build_id_bytes * 2 : 40] = '\0';
    return text;
}

static bool is_kernel(
    const char *path, const uint8_t *build_id, unsigned build_id_bytes, struct kernel_elf *elf)
{
    if (kernel_elf_read(path, elf) == 0 && elf->build_id_bytes == build_id_bytes &&
        build_id_bytes > 0 && memcmp(elf->build_id, build_id, build_id_bytes) == 0) {
        return true;
    }
    kernel_elf_free(elf);
    return false;
}

int kernel_elf_find(
    const char *hint, const uint8_t *build_id, unsigned build_id_bytes, struct kernel_elf *elf)
{
    static const char *const variants[] = {"release", "debug", "kasan"};
    if (hint != NULL && is_kernel(hint, build_id, build_id_bytes, elf)) {
        return 0;
    }
    bool found = false;
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]) && !found; i++) {
        char *path = tree_path("out/%s/lodger.elf", variants[i]);
        found = is_kernel(path, build_id, build_id_bytes, elf);
        free(path);
    }
    const char *home = getenv("HOME");
    if (!found && home != NULL && build_id_bytes > 0) {
        const char *text = build_id_text(build_id, build_id_bytes);
        char *path = xasprintf("%s/.debug/.build-id/%.2s/%s/elf", home, text, text + 2);
        found = is_kernel(path, build_id, build_id_bytes, elf);
        free(path);
    }
    return found ? 0 : -ENOENT;
}
