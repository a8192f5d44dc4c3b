// SPDX-License-Identifier: MIT
//
// EFI images and disks. Formats: Microsoft PE/COFF specification; UEFI specification 2.10, chapter
// 5 (GPT); Microsoft FAT specification 1.03 (the copy that UEFI refers to).
#include "tools/lodger/efi_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define OVMF_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"

// ---- PE ----

// Offsets within the headers.
enum {
    DOS_PE_OFFSET = 0x3c,
    COFF_SECTION_COUNT = 6, // from the "PE\0\0" on
    COFF_OPTIONAL_BYTES = 20,
    COFF_HEADER_BYTES = 24,
    OPTIONAL_DATA_BYTES = 8, // from the optional header on
    OPTIONAL_SECTION_ALIGNMENT = 32,
    OPTIONAL_FILE_ALIGNMENT = 36,
    OPTIONAL_IMAGE_BYTES = 56,
    OPTIONAL_HEADERS_BYTES = 60,
    SECTION_HEADER_BYTES = 40,
};

#define SECTION_INITIALIZED_DATA 0x00000040u
#define SECTION_READ             0x40000000u

struct section_header {
    char name[8];
    uint32_t virtual_bytes;
    uint32_t virtual_address;
    uint32_t file_bytes;
    uint32_t file_offset;
    uint32_t relocations_offset;
    uint32_t line_numbers_offset;
    uint16_t relocation_count;
    uint16_t line_number_count;
    uint32_t characteristics;
};
static_assert(sizeof(struct section_header) == SECTION_HEADER_BYTES);

// A PE file in memory. All offsets were checked against its length.
struct pe {
    const char *path;
    struct buffer file;
    size_t pe_offset;
    size_t optional_offset;
    size_t sections_offset;
    uint16_t section_count;
};

static uint32_t get32(const struct pe *pe, size_t offset)
{
    uint32_t value;
    memcpy(&value, pe->file.data + offset, sizeof(value));
    return value;
}

static void put32(struct pe *pe, size_t offset, uint32_t value)
{
    memcpy(pe->file.data + offset, &value, sizeof(value));
}

static uint16_t get16(const struct pe *pe, size_t offset)
{
    uint16_t value;
    memcpy(&value, pe->file.data + offset, sizeof(value));
    return value;
}

static void pe_read(struct pe *pe, const char *path)
{
    *pe = (struct pe){.path = path};
    int error = file_read(path, &pe->file);
    if (error != 0) {
        die("cannot read %s: %s", path, strerror(-error));
    }
    size_t len_bytes = pe->file.len_bytes;
    pe->pe_offset = len_bytes >= 0x40 ? get32(pe, DOS_PE_OFFSET) : SIZE_MAX;
    if (len_bytes < 0x1000 || memcmp(pe->file.data, "MZ", 2) != 0 || pe->pe_offset > 0x800 ||
        memcmp(pe->file.data + pe->pe_offset, "PE\0\0", 4) != 0) {
        die("%s is not a PE file", path);
    }
    pe->optional_offset = pe->pe_offset + COFF_HEADER_BYTES;
    pe->sections_offset = pe->optional_offset + get16(pe, pe->pe_offset + COFF_OPTIONAL_BYTES);
    pe->section_count = get16(pe, pe->pe_offset + COFF_SECTION_COUNT);
    uint32_t headers_bytes = get32(pe, pe->optional_offset + OPTIONAL_HEADERS_BYTES);
    if (pe->sections_offset + (pe->section_count + 2u) * SECTION_HEADER_BYTES > headers_bytes ||
        headers_bytes > len_bytes) {
        die("%s has no room for two more section headers", path);
    }
}

static uint32_t align_up(uint32_t value, uint32_t alignment)
{
    return alignment > 1 ? (value + alignment - 1) / alignment * alignment : value;
}

static void pe_add_section(struct pe *pe, const char *name, const void *data, size_t len_bytes)
{
    if (len_bytes > UINT32_MAX / 2) {
        die("%s: section %s is too big", pe->path, name);
    }
    uint32_t section_alignment = get32(pe, pe->optional_offset + OPTIONAL_SECTION_ALIGNMENT);
    uint32_t file_alignment = get32(pe, pe->optional_offset + OPTIONAL_FILE_ALIGNMENT);
    uint32_t image_bytes = get32(pe, pe->optional_offset + OPTIONAL_IMAGE_BYTES);
    uint32_t data_bytes = get32(pe, pe->optional_offset + OPTIONAL_DATA_BYTES);
    while (pe->file.len_bytes % file_alignment != 0) {
        buffer_add(&pe->file, "", 1);
    }
    struct section_header header = {
        .virtual_bytes = (uint32_t)len_bytes,
        .virtual_address = align_up(align_up(image_bytes, section_alignment), 0x1000),
        .file_bytes = align_up((uint32_t)len_bytes, file_alignment),
        .file_offset = (uint32_t)pe->file.len_bytes,
        .characteristics = SECTION_INITIALIZED_DATA | SECTION_READ,
    };
    memcpy(header.name, name, strlen(name));
    buffer_add(&pe->file, data, len_bytes);
    while (pe->file.len_bytes % file_alignment != 0) {
        buffer_add(&pe->file, "", 1);
    }
    memcpy(pe->file.data + pe->sections_offset + pe->section_count * SECTION_HEADER_BYTES, &header,
        sizeof(header));
    pe->section_count++;
    memcpy(pe->file.data + pe->pe_offset + COFF_SECTION_COUNT, &pe->section_count,
        sizeof(pe->section_count));
    put32(pe, pe->optional_offset + OPTIONAL_DATA_BYTES, data_bytes + header.file_bytes);
    put32(pe, pe->optional_offset + OPTIONAL_IMAGE_BYTES,
        align_up(header.virtual_address + header.virtual_bytes, section_alignment));
}

void efi_image_write(const char *kernel, const uint8_t *initrd, size_t initrd_len_bytes,
    const char *kernel_line, const char *output)
{
    struct pe pe;
    pe_read(&pe, kernel);
    if (initrd_len_bytes > 0) {
        pe_add_section(&pe, ".initrd", initrd, initrd_len_bytes);
    }
    pe_add_section(&pe, ".cmdline", kernel_line, strlen(kernel_line) + 1);
    file_write(output, pe.file.data, pe.file.len_bytes);
    buffer_free(&pe.file);
}

// ---- FAT16 and GPT ----

#define SECTOR_BYTES         512u
#define GPT_ENTRY_COUNT      128u
#define GPT_TABLE_SECTORS    (GPT_ENTRY_COUNT * 128 / SECTOR_BYTES)
#define PARTITION_LBA        2048u
#define FAT_ROOT_ENTRY_COUNT 512u
#define FAT_RESERVED_SECTORS 8u
#define FAT_CLUSTERS_MIN     4200u // a FAT16 has at least 4085
#define FAT_CLUSTERS_MAX     65000u
#define FAT_ATTRIBUTE_DIR    0x10
#define FAT_ATTRIBUTE_FILE   0x20

struct fat_boot_sector {
    uint8_t jump[3];
    char oem[8];
    uint16_t sector_bytes;
    uint8_t cluster_sectors;
    uint16_t reserved_sectors;
    uint8_t fat_count;
    uint16_t root_entry_count;
    uint16_t sector_count_16;
    uint8_t media;
    uint16_t fat_sectors;
    uint16_t track_sectors;
    uint16_t head_count;
    uint32_t hidden_sectors;
    uint32_t sector_count_32;
    uint8_t drive;
    uint8_t reserved;
    uint8_t signature;
    uint32_t serial;
    char label[11];
    char type[8];
} __attribute__((packed));
static_assert(sizeof(struct fat_boot_sector) == 62);

struct fat_entry {
    char name[11];
    uint8_t attributes;
    uint8_t times[14];
    uint16_t first_cluster;
    uint32_t len_bytes;
} __attribute__((packed));
static_assert(sizeof(struct fat_entry) == 32);

struct gpt_header {
    char signature[8];
    uint32_t revision;
    uint32_t header_bytes;
    uint32_t header_crc;
    uint32_t reserved;
    uint64_t own_lba;
    uint64_t other_lba;
    uint64_t first_usable_lba;
    uint64_t last_usable_lba;
    uint8_t disk_id[16];
    uint64_t table_lba;
    uint32_t entry_count;
    uint32_t entry_bytes;
    uint32_t table_crc;
} __attribute__((packed));
static_assert(sizeof(struct gpt_header) == 92);

struct gpt_entry {
    uint8_t type[16];
    uint8_t id[16];
    uint64_t first_lba;
    uint64_t last_lba;
    uint64_t attributes;
    uint16_t name[36];
} __attribute__((packed));
static_assert(sizeof(struct gpt_entry) == 128);

static uint32_t crc32(const void *data, size_t len_bytes)
{
    const uint8_t *bytes = data;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len_bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

// Where the parts of the file system lie, in sectors from its start.
struct fat_layout {
    uint32_t cluster_sectors;
    uint32_t cluster_count;
    uint32_t fat_sectors;
    uint32_t data_start;
    uint32_t sector_count;
};

static struct fat_layout fat_plan(size_t file_bytes)
{
    struct fat_layout layout = {.cluster_sectors = 4};
    for (;; layout.cluster_sectors *= 2) {
        size_t cluster_bytes = layout.cluster_sectors * SECTOR_BYTES;
        size_t clusters = (file_bytes + cluster_bytes - 1) / cluster_bytes + 2 + 16;
        if (clusters <= FAT_CLUSTERS_MAX) {
            layout.cluster_count =
                clusters < FAT_CLUSTERS_MIN ? FAT_CLUSTERS_MIN : (uint32_t)clusters;
            break;
        }
        if (layout.cluster_sectors == 64) {
            die("the EFI image is too big for a FAT16 partition (2 GiB)");
        }
    }
    layout.fat_sectors = ((layout.cluster_count + 2) * 2 + SECTOR_BYTES - 1) / SECTOR_BYTES;
    layout.data_start = FAT_RESERVED_SECTORS + 2 * layout.fat_sectors +
                        FAT_ROOT_ENTRY_COUNT * sizeof(struct fat_entry) / SECTOR_BYTES;
    layout.sector_count = layout.data_start + layout.cluster_count * layout.cluster_sectors;
    return layout;
}

static void fat_write_boot_sector(uint8_t *volume, const struct fat_layout *layout)
{
    struct fat_boot_sector boot = {
        .jump = {0xeb, 0x3c, 0x90},
        .oem = "LODGER  ",
        .sector_bytes = SECTOR_BYTES,
        .cluster_sectors = (uint8_t)layout->cluster_sectors,
        .reserved_sectors = FAT_RESERVED_SECTORS,
        .fat_count = 2,
        .root_entry_count = FAT_ROOT_ENTRY_COUNT,
        .media = 0xf8,
        .fat_sectors = (uint16_t)layout->fat_sectors,
        .track_sectors = 63,
        .head_count = 255,
        .hidden_sectors = PARTITION_LBA,
        .sector_count_32 = layout->sector_count,
        .drive = 0x80,
        .signature = 0x29,
        .serial = 0x10d6e700,
        .label = "NO NAME    ",
        .type = "FAT16   ",
    };
    memcpy(volume, &boot, sizeof(boot));
    volume[510] = 0x55;
    volume[511] = 0xaa;
}

static void fat_put_entry(uint8_t *folder, unsigned index, const char *name, uint8_t attributes,
    uint16_t cluster, uint32_t len)
{
    struct fat_entry entry = {.attributes = attributes, .first_cluster = cluster, .len_bytes = len};
    memcpy(entry.name, name, sizeof(entry.name));
    // Firmware wants a valid date of last change (offset 24 of the entry): 1 January 2020.
    uint16_t date = (uint16_t)((2020 - 1980) << 9 | 1 << 5 | 1);
    memcpy(&entry.times[12], &date, sizeof(date));
    memcpy(folder + index * sizeof(entry), &entry, sizeof(entry));
}

// Fills a zeroed volume: folder EFI in cluster 2, folder BOOT in cluster 3, the file from cluster 4
// on.
static void fat_fill(uint8_t *volume, const struct fat_layout *layout, const struct buffer *file)
{
    fat_write_boot_sector(volume, layout);
    size_t cluster_bytes = layout->cluster_sectors * SECTOR_BYTES;
    uint32_t file_clusters = (uint32_t)((file->len_bytes + cluster_bytes - 1) / cluster_bytes);
    for (unsigned copy = 0; copy < 2; copy++) {
        uint16_t *fat = (uint16_t *)(volume + (FAT_RESERVED_SECTORS + copy * layout->fat_sectors) *
                                                  SECTOR_BYTES);
        fat[0] = 0xfff8;
        fat[1] = 0xffff;
        fat[2] = 0xffff;
        fat[3] = 0xffff;
        for (uint32_t i = 0; i < file_clusters; i++) {
            fat[4 + i] = i + 1 < file_clusters ? (uint16_t)(5 + i) : 0xffff;
        }
    }
    uint8_t *root = volume + (FAT_RESERVED_SECTORS + 2 * layout->fat_sectors) * SECTOR_BYTES;
    uint8_t *data = volume + layout->data_start * SECTOR_BYTES;
    fat_put_entry(root, 0, "EFI        ", FAT_ATTRIBUTE_DIR, 2, 0);
    fat_put_entry(data, 0, ".          ", FAT_ATTRIBUTE_DIR, 2, 0);
    fat_put_entry(data, 1, "..         ", FAT_ATTRIBUTE_DIR, 0, 0);
    fat_put_entry(data, 2, "BOOT       ", FAT_ATTRIBUTE_DIR, 3, 0);
    uint8_t *boot = data + cluster_bytes;
    fat_put_entry(boot, 0, ".          ", FAT_ATTRIBUTE_DIR, 3, 0);
    fat_put_entry(boot, 1, "..         ", FAT_ATTRIBUTE_DIR, 2, 0);
    fat_put_entry(boot, 2, "BOOTX64 EFI", FAT_ATTRIBUTE_FILE, 4, (uint32_t)file->len_bytes);
    memcpy(data + 2 * cluster_bytes, file->data, file->len_bytes);
}

static void gpt_put_header(uint8_t *disk, uint64_t own_lba, uint64_t other_lba, uint64_t table_lba,
    uint64_t last_usable_lba, const uint8_t disk_id[16], uint32_t table_crc)
{
    struct gpt_header header = {
        .signature = "EFI PART",
        .revision = 0x10000,
        .header_bytes = sizeof(header),
        .own_lba = own_lba,
        .other_lba = other_lba,
        .first_usable_lba = 2 + GPT_TABLE_SECTORS,
        .last_usable_lba = last_usable_lba,
        .table_lba = table_lba,
        .entry_count = GPT_ENTRY_COUNT,
        .entry_bytes = sizeof(struct gpt_entry),
        .table_crc = table_crc,
    };
    memcpy(header.disk_id, disk_id, 16);
    header.header_crc = crc32(&header, sizeof(header));
    memcpy(disk + own_lba * SECTOR_BYTES, &header, sizeof(header));
}

static void gpt_fill(uint8_t *disk, uint64_t sector_count, uint64_t partition_sectors)
{
    static const uint8_t efi_system_partition[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
        0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
    uint8_t ids[2][16];
    if (getrandom(ids, sizeof(ids), 0) != sizeof(ids)) {
        die("no random bytes: %s", strerror(errno));
    }
    struct gpt_entry entry = {
        .first_lba = PARTITION_LBA, .last_lba = PARTITION_LBA + partition_sectors - 1};
    memcpy(entry.type, efi_system_partition, 16);
    memcpy(entry.id, ids[0], 16);
    for (unsigned i = 0; i < 3; i++) {
        entry.name[i] = (uint16_t)"EFI"[i];
    }
    uint64_t last_lba = sector_count - 1;
    uint64_t second_table_lba = last_lba - GPT_TABLE_SECTORS;
    memcpy(disk + 2 * SECTOR_BYTES, &entry, sizeof(entry));
    memcpy(disk + second_table_lba * SECTOR_BYTES, &entry, sizeof(entry));
    uint32_t table_crc = crc32(disk + 2 * SECTOR_BYTES, GPT_ENTRY_COUNT * sizeof(entry));
    gpt_put_header(disk, 1, last_lba, 2, second_table_lba - 1, ids[1], table_crc);
    gpt_put_header(disk, last_lba, 1, second_table_lba, second_table_lba - 1, ids[1], table_crc);
    // The protective MBR: one partition of type 0xee over the whole disk.
    uint8_t *partition = disk + 446;
    uint32_t first = 1;
    uint32_t count = last_lba > UINT32_MAX ? UINT32_MAX : (uint32_t)last_lba;
    partition[2] = 2;
    partition[4] = 0xee;
    memset(partition + 5, 0xff, 3);
    memcpy(partition + 8, &first, 4);
    memcpy(partition + 12, &count, 4);
    disk[510] = 0x55;
    disk[511] = 0xaa;
}

void efi_disk_write(const char *image, const char *output)
{
    struct buffer file = {};
    int error = file_read(image, &file);
    if (error != 0) {
        die("cannot read %s: %s", image, strerror(-error));
    }
    struct fat_layout layout = fat_plan(file.len_bytes);
    uint64_t sector_count = PARTITION_LBA + layout.sector_count + GPT_TABLE_SECTORS + 1;
    uint8_t *disk = calloc(sector_count, SECTOR_BYTES);
    if (disk == NULL) {
        die("out of memory");
    }
    fat_fill(disk + PARTITION_LBA * SECTOR_BYTES, &layout, &file);
    gpt_fill(disk, sector_count, layout.sector_count);
    file_write(output, disk, sector_count * SECTOR_BYTES);
    free(disk);
    buffer_free(&file);
}

void efi_prepare_vars(struct machine *machine, const char *folder, const char *name)
{
    struct buffer vars = {};
    int error = file_read(OVMF_VARS, &vars);
    if (error != 0) {
        die("cannot read %s: %s (package ovmf)", OVMF_VARS, strerror(-error));
    }
    char *copy = xasprintf("%s/%s-vars.fd", folder, name);
    file_write(copy, vars.data, vars.len_bytes);
    machine->uefi_vars = copy;
    buffer_free(&vars);
}

void efi_prepare_machine(
    struct machine *machine, const char *kernel, const char *folder, const char *name)
{
    struct buffer initrd = {};
    int error = machine->initrd != NULL ? file_read(machine->initrd, &initrd) : 0;
    if (error != 0) {
        die("cannot read %s: %s", machine->initrd, strerror(-error));
    }
    efi_prepare_vars(machine, folder, name);
    char *line = machine_kernel_line(machine);
    char *image = xasprintf("%s/%s.efi", folder, name);
    efi_image_write(kernel, initrd.data, initrd.len_bytes, line, image);
    machine->kernel = image;
    machine->initrd = NULL;
    strings_free(&machine->append);
    if (machine->boot_from_disk) {
        char *disk = xasprintf("%s/%s.disk", folder, name);
        efi_disk_write(image, disk);
        machine->efi_disk = disk;
    }
    buffer_free(&initrd);
    free(line);
}
