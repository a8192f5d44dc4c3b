// SPDX-License-Identifier: MIT
// The build-id of an ELF64 file that anybody may have written.
#include "perf/build_id.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/elf.h>

#define HEADERS_MAX     64  // program headers that are looked at
#define NOTES_MAX_BYTES 512 // of a note segment: the build-id is among the first

#define NOTE_TYPE_BUILD_ID 3 // NT_GNU_BUILD_ID; linux/elf.h does not name it

static bool read_all(perf_file_reader *reader, void *file, void *to, size_t len, uint64_t offset)
{
    return reader(file, to, len, offset) == (int64_t)len;
}

// Walks the notes; length of the build-id or 0.
static uint32_t find_note(const uint8_t *notes, size_t len, uint8_t build_id[PERF_BUILD_ID_MAX])
{
    size_t at = 0;
    while (len - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof(note));
        at += sizeof(note);
        if (note.n_namesz > len || note.n_descsz > len)
            return 0;
        size_t name_len = ALIGN_UP((size_t)note.n_namesz, 4ul);
        size_t description_len = ALIGN_UP((size_t)note.n_descsz, 4ul);
        if (name_len > len - at || description_len > len - at - name_len)
            return 0;
        if (note.n_type == NOTE_TYPE_BUILD_ID && note.n_namesz == 4 && note.n_descsz != 0 &&
            note.n_descsz <= PERF_BUILD_ID_MAX && memcmp(notes + at, "GNU", 4) == 0) {
            memcpy(build_id, notes + at + name_len, note.n_descsz);
            return note.n_descsz;
        }
        at += name_len + description_len;
    }
    return 0;
}

static bool header_is_valid(const Elf64_Ehdr *header)
{
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB &&
           header->e_phentsize == sizeof(Elf64_Phdr);
}

uint32_t perf_build_id_read(
    perf_file_reader *reader, void *file, uint8_t build_id[PERF_BUILD_ID_MAX])
{
    Elf64_Ehdr header;
    assert(reader != NULL);
    if (!read_all(reader, file, &header, sizeof(header), 0) || !header_is_valid(&header))
        return 0;
    for (uint32_t i = 0; i < header.e_phnum && i < HEADERS_MAX; i++) {
        Elf64_Phdr segment;
        uint8_t notes[NOTES_MAX_BYTES];
        if (!read_all(
                reader, file, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)))
            return 0;
        if (segment.p_type != PT_NOTE)
            continue;
        int64_t len =
            reader(file, notes, MIN((uint64_t)sizeof(notes), segment.p_filesz), segment.p_offset);
        uint32_t found = len > 0 ? find_note(notes, (size_t)len, build_id) : 0;
        if (found != 0)
            return found;
    }
    return 0;
}
