// SPDX-License-Identifier: MIT
//
// Tracepoints from the ELF file; format of the section: trace-cmd.dat(5), the parts "INITIAL
// FORMAT" to "CMDLINE DATA", which perf.data has taken over.
#include "tools/lodger/perf/tracepoints.h"

#include "perf/export.h"
#include "perf/format.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRACEPOINTS_MAX 4096u
#define FIELDS_MAX      64u
#define TEXT_MAX        65536u

// What the kernel's addresses hold, or NULL: not `len_bytes` of it are in the file.
static const void *at_address(Elf *elf, uint64_t address, uint64_t len_bytes)
{
    size_t count = 0, size_bytes = 0;
    const char *file = elf_rawfile(elf, &size_bytes);
    if (file == NULL || elf_getphdrnum(elf, &count) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, (int)i, &header) == NULL || header.p_type != PT_LOAD ||
            address < header.p_vaddr || address - header.p_vaddr >= header.p_filesz) {
            continue;
        }
        uint64_t offset = address - header.p_vaddr;
        bool fits = len_bytes <= header.p_filesz - offset && header.p_offset <= size_bytes &&
                    header.p_filesz <= size_bytes - header.p_offset;
        return fits ? file + header.p_offset + offset : NULL;
    }
    return NULL;
}

// A string at an address, or NULL: it has no end there.
static const char *text_at(Elf *elf, uint64_t address)
{
    for (uint64_t len_bytes = TEXT_MAX; len_bytes >= 1; len_bytes /= 2) {
        const char *text = at_address(elf, address, len_bytes);
        if (text != NULL && memchr(text, '\0', len_bytes) != NULL) {
            return text;
        }
    }
    return NULL;
}

static int read_fields(Elf *elf, const struct perf_export_tracepoint *entry,
    struct perf_format_field fields[FIELDS_MAX])
{
    if (entry->field_count > FIELDS_MAX) {
        return -ENOEXEC;
    }
    const struct perf_export_field *table =
        at_address(elf, entry->fields, (uint64_t)entry->field_count * sizeof(*table));
    if (table == NULL && entry->field_count > 0) {
        return -ENOEXEC;
    }
    for (uint32_t i = 0; i < entry->field_count; i++) {
        fields[i] = (struct perf_format_field){.type = text_at(elf, table[i].type),
            .name = text_at(elf, table[i].name),
            .offset = table[i].offset,
            .size = table[i].size,
            .array_len = table[i].array_len,
            .is_signed = table[i].is_signed};
        if (fields[i].type == NULL || fields[i].name == NULL) {
            return -ENOEXEC;
        }
    }
    return 0;
}

static int read_entry(Elf *elf, const struct perf_export_tracepoint *entry, uint32_t id,
    struct tracepoint *tracepoint)
{
    struct perf_format_field fields[FIELDS_MAX];
    const char *system = text_at(elf, entry->system), *name = text_at(elf, entry->name);
    const char *print = text_at(elf, entry->print);
    if (entry->size > PERF_EXPORT_RECORD_MAX || system == NULL || name == NULL || print == NULL ||
        read_fields(elf, entry, fields) != 0) {
        return -ENOEXEC;
    }
    struct perf_format format = {.name = name,
        .print = print,
        .id = id,
        .field_count = entry->field_count,
        .fields = fields};
    size_t len_bytes = perf_format_text(&format, NULL, 0);
    *tracepoint = (struct tracepoint){.system = xstrdup(system),
        .name = xstrdup(name),
        .format = xmalloc(len_bytes + 1),
        .id = id,
        .size_bytes = entry->size};
    perf_format_text(&format, tracepoint->format, len_bytes + 1);
    return 0;
}

int tracepoints_read(
    const char *kernel_elf, uint64_t start, uint64_t end, struct tracepoints *tracepoints)
{
    *tracepoints = (struct tracepoints){};
    uint64_t count = end >= start ? (end - start) / sizeof(struct perf_export_tracepoint) : 0;
    if (count == 0 || count > TRACEPOINTS_MAX) {
        return -ENOEXEC;
    }
    elf_version(EV_CURRENT);
    int fd = open(kernel_elf, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    const struct perf_export_tracepoint *table =
        elf != NULL ? at_address(elf, start, count * sizeof(*table)) : NULL;
    int error = table == NULL ? -ENOEXEC : 0;
    for (uint64_t i = 0; i < count && error == 0; i++) {
        struct tracepoint tracepoint;
        error = read_entry(elf, &table[i], (uint32_t)i + PERF_EXPORT_TRACEPOINT_FIRST, &tracepoint);
        if (error == 0) {
            tracepoints->items = xrealloc(
                tracepoints->items, (tracepoints->count + 1) * sizeof(tracepoints->items[0]));
            tracepoints->items[tracepoints->count++] = tracepoint;
        }
    }
    elf_end(elf);
    close(fd);
    if (error != 0) {
        tracepoints_free(tracepoints);
    }
    return error;
}

void tracepoints_free(struct tracepoints *tracepoints)
{
    for (size_t i = 0; i < tracepoints->count; i++) {
        free(tracepoints->items[i].system);
        free(tracepoints->items[i].name);
        free(tracepoints->items[i].format);
    }
    free(tracepoints->items);
    *tracepoints = (struct tracepoints){};
}

static void add_u32(struct buffer *section, uint32_t value)
{
    buffer_add(section, &value, sizeof(value));
}

static void add_u64(struct buffer *section, uint64_t value)
{
    buffer_add(section, &value, sizeof(value));
}

static void add_text(struct buffer *section, const char *text)
{
    buffer_add(section, text, strlen(text) + 1);
}

// Whether an earlier tracepoint is of the same system.
static bool seen_before(const struct tracepoint *const *tracepoints, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(tracepoints[i]->system, tracepoints[index]->system) == 0) {
            return true;
        }
    }
    return false;
}

// The events of one system.
static void add_system(struct buffer *section, const struct tracepoint *const *tracepoints,
    size_t count, const char *system)
{
    add_text(section, system);
    uint32_t events = 0;
    for (size_t i = 0; i < count; i++) {
        events += strcmp(tracepoints[i]->system, system) == 0 ? 1 : 0;
    }
    add_u32(section, events);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tracepoints[i]->system, system) == 0) {
            size_t len_bytes = strlen(tracepoints[i]->format);
            add_u64(section, len_bytes);
            buffer_add(section, tracepoints[i]->format, len_bytes);
        }
    }
}

void tracepoints_add_tracing_data(
    struct buffer *section, const struct tracepoint *const *tracepoints, size_t count)
{
    static const uint8_t magic[] = {23, 8, 68, 't', 'r', 'a', 'c', 'i', 'n', 'g'};
    buffer_add(section, magic, sizeof(magic));
    add_text(section, "0.6");
    static const uint8_t little_endian_long_64[] = {0, 8};
    buffer_add(section, little_endian_long_64, sizeof(little_endian_long_64));
    add_u32(section, 4096); // page size
    // How a page of ftrace's own buffer looks. There is none here, but perf wants to read it.
    static const char header_page[] = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
                                      "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
                                      "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n";
    add_text(section, "header_page");
    add_u64(section, sizeof(header_page) - 1);
    buffer_add(section, header_page, sizeof(header_page) - 1);
    static const char header_event[] = "# compressed entry header\n";
    add_text(section, "header_event");
    add_u64(section, sizeof(header_event) - 1);
    buffer_add(section, header_event, sizeof(header_event) - 1);
    add_u32(section, 0); // events of ftrace itself
    uint32_t systems = 0;
    for (size_t i = 0; i < count; i++) {
        systems += seen_before(tracepoints, i) ? 0 : 1;
    }
    add_u32(section, systems);
    for (size_t i = 0; i < count; i++) {
        if (!seen_before(tracepoints, i)) {
            add_system(section, tracepoints, count, tracepoints[i]->system);
        }
    }
    add_u32(section, 0); // kallsyms
    add_u32(section, 0); // formats of trace_printk
    add_u64(section, 0); // command lines
}
