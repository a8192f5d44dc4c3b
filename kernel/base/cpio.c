// SPDX-License-Identifier: MIT
//
// newc: a header of 6 + 13 * 8 characters (magic and thirteen numbers in hexadecimal), the name
// with its terminating 0, padding to 4, the data, padding to 4. The last entry of an archive has
// the name TRAILER!!! and nothing else of interest.
//
// A boot loader hands over one piece of memory in which several archives may lie one behind the
// other: each is padded with zeros to whatever its tool likes (cpio: 512 bytes), and the memory to
// a page. The reader is therefore always in one of two states, inside an archive or between two
// (in_archive), and a zero byte is allowed in the second only.
//
// An error leaves the offset at the header of the entry that is wrong: that, with the reason, is
// what somebody who made a broken image wants to know.
#include "kernel/base/cpio.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

#define CPIO_HEADER_BYTES 110
#define CPIO_FIELD_BYTES  8
#define CPIO_ALIGNMENT    4

// Number of a field of the header, in the order of the header.
enum cpio_field {
    CPIO_INO,
    CPIO_MODE,
    CPIO_UID,
    CPIO_GID,
    CPIO_NLINK,
    CPIO_MTIME,
    CPIO_FILE_SIZE,
    CPIO_DEV_MAJOR,
    CPIO_DEV_MINOR,
    CPIO_RDEV_MAJOR,
    CPIO_RDEV_MINOR,
    CPIO_NAME_SIZE,
    CPIO_CHECK,
    CPIO_FIELD_COUNT,
};

static_assert(6 + CPIO_FIELD_COUNT * CPIO_FIELD_BYTES == CPIO_HEADER_BYTES);

// Nothing is looked at before the first cpio_next.
void cpio_reader_init(struct cpio_reader *reader, const void *bytes, size_t size)
{
    *reader = (struct cpio_reader){.bytes = bytes, .size = size};
}

// Keeps the reason; the offset still points to the header in question.
static int fail(struct cpio_reader *reader, int error, const char *reason)
{
    reader->reason = reason;
    return error;
}

// Skips zero bytes between archives. Inside one there are none: padding belongs to the entry
// before.
static void skip_padding(struct cpio_reader *reader)
{
    while (reader->offset < reader->size && reader->bytes[reader->offset] == 0) {
        reader->offset++;
    }
    reader->archive_start = reader->offset;
}

// `offset` rounded up to the alignment, counted from the beginning of this archive. May exceed the
// size.
static size_t align(const struct cpio_reader *reader, size_t offset)
{
    return reader->archive_start + ALIGN_UP(offset - reader->archive_start, CPIO_ALIGNMENT);
}

// Eight hexadecimal digits, the most significant one in the lowest byte, all at once: an archive
// has thousands of numbers, and it is read at every boot. Something not zero is added to *wrong if
// a byte is no digit.
//
// A digit's low four bits are its value, a letter's ('a' 0x61, 'A' 0x41) are 1 to 6, and bit 6
// tells letters from digits. No sum below leaves its byte.
static uint32_t parse_hex8(uint64_t text, uint64_t *wrong)
{
    const uint64_t ones = 0x0101010101010101ul;
    uint64_t is_letter = (text >> 6) & ones;
    uint64_t letters = is_letter * 0xff; // all bits of those bytes
    uint64_t low = text & ones * 0x0f;
    uint64_t value = low + is_letter * 9;
    *wrong |= ((text & ones * 0xf0) ^ ones * 0x30) & ~letters; // 0x3_ ...
    *wrong |= (low + ones * 6) & ones * 0x10 & ~letters;       // ... and at most 9
    *wrong |= ((text & ones * 0xd0) ^ ones * 0x40) & letters;  // 0x4_ or 0x6_ ...
    *wrong |= value & ones * 0x10 & letters;                   // ... at most 6 ...
    *wrong |= ~(low + ones * 0x0f) & ones * 0x10 & letters;    // ... and not 0
    value = __builtin_bswap64(value); // now the least significant digit is the lowest byte
    value = (value | value >> 4) & 0x00ff00ff00ff00fful;
    value = (value | value >> 8) & 0x0000ffff0000fffful;
    return (uint32_t)(value | value >> 16);
}

// Magic and numbers. The rest of a header that is cut off could still have been right: that is
// -ENODATA, as long as what is there looks like the beginning of one.
static int parse_header(struct cpio_reader *reader, uint32_t fields[CPIO_FIELD_COUNT])
{
    const char *header = (const char *)reader->bytes + reader->offset;
    if (reader->size - reader->offset < CPIO_HEADER_BYTES) {
        size_t len = MIN(reader->size - reader->offset, (size_t)5);
        bool could_be_header = memcmp(header, "07070", len) == 0;
        return could_be_header ? fail(reader, -ENODATA, "the archive ends inside a header")
                               : fail(reader, -EINVAL, "not a cpio header");
    }
    bool magic = load_unaligned_u32(header) == load_unaligned_u32("0707") && header[4] == '0' &&
                 (header[5] == '1' || header[5] == '2');
    if (!magic) {
        return fail(reader, -EINVAL, "not a cpio header (newc, not compressed)");
    }
    uint64_t wrong = 0;
    for (unsigned int field = 0; field < CPIO_FIELD_COUNT; field++) {
        const char *digits = header + 6 + field * CPIO_FIELD_BYTES;
        fields[field] = parse_hex8(load_unaligned_u64(digits), &wrong);
    }
    if (wrong != 0) {
        return fail(reader, -EINVAL, "a field of the header is no hexadecimal number");
    }
    return 0;
}

// Places and checks name and data of the entry whose header is at reader->offset; *next is where
// the next header is.
static int parse_body(struct cpio_reader *reader, const uint32_t fields[CPIO_FIELD_COUNT],
    struct cpio_entry *entry, size_t *next)
{
    size_t name_offset = reader->offset + CPIO_HEADER_BYTES;
    size_t name_size = fields[CPIO_NAME_SIZE];
    const char *name = (const char *)reader->bytes + name_offset;

    if (name_size < 2 || name_size > CPIO_NAME_MAX) {
        return fail(reader, -EINVAL, "the name is empty or too long");
    }
    if (range_exceeds(name_offset, name_size, reader->size)) {
        return fail(reader, -ENODATA, "the archive ends inside a name");
    }
    if (strnlen(name, name_size) != name_size - 1) {
        return fail(reader, -EINVAL, "the name is not terminated where its length says");
    }
    size_t data_offset = align(reader, name_offset + name_size);
    size_t data_size = fields[CPIO_FILE_SIZE];
    if (data_size > 0 && range_exceeds(data_offset, data_size, reader->size)) {
        return fail(reader, -ENODATA, "the archive ends inside a file's data");
    }
    data_offset = MIN(data_offset, reader->size);
    entry->name = name;
    entry->name_len = name_size - 1;
    entry->data = reader->bytes + data_offset;
    entry->size = data_size;
    *next = MIN(align(reader, data_offset + data_size), reader->size);
    return 0;
}

// 070702 carries the sum of the data's bytes; 070701 a 0.
static bool check_sum(
    const struct cpio_reader *reader, const struct cpio_entry *entry, uint32_t expected)
{
    uint32_t sum = 0;
    if (reader->bytes[reader->offset + 5] != '2') {
        return true;
    }
    for (size_t i = 0; i < entry->size; i++) {
        sum += entry->data[i];
    }
    return sum == expected;
}

// Reads the entry or trailer at reader->offset and moves behind it.
static int read_entry(struct cpio_reader *reader, struct cpio_entry *entry, bool *is_trailer)
{
    uint32_t fields[CPIO_FIELD_COUNT];
    size_t next = 0;
    int error = parse_header(reader, fields);

    if (error == 0) {
        error = parse_body(reader, fields, entry, &next);
    }
    if (error != 0) {
        return error;
    }
    if (!check_sum(reader, entry, fields[CPIO_CHECK])) {
        return fail(reader, -EINVAL, "the checksum of a file is wrong");
    }
    entry->ino = fields[CPIO_INO];
    entry->mode = fields[CPIO_MODE];
    entry->uid = fields[CPIO_UID];
    entry->gid = fields[CPIO_GID];
    entry->nlink = fields[CPIO_NLINK];
    entry->mtime = fields[CPIO_MTIME];
    entry->dev_major = fields[CPIO_DEV_MAJOR];
    entry->dev_minor = fields[CPIO_DEV_MINOR];
    entry->rdev_major = fields[CPIO_RDEV_MAJOR];
    entry->rdev_minor = fields[CPIO_RDEV_MINOR];
    entry->archive = reader->archive;
    *is_trailer = entry->name[0] == 'T' && strcmp(entry->name, "TRAILER!!!") == 0;
    debug_assert(next > reader->offset);
    reader->offset = next;
    return 0;
}

// Outside an archive zero bytes are padding and the end of the input is the end. Inside one the
// next thing is a header, and the end of the input means that something is missing. The loop
// runs once for an entry and once more for each trailer.
int cpio_next(struct cpio_reader *reader, struct cpio_entry *entry)
{
    for (;;) {
        bool is_trailer;
        if (!reader->in_archive) {
            skip_padding(reader);
        }
        if (reader->offset >= reader->size) {
            return reader->in_archive ? fail(reader, -ENODATA, "the archive has no trailer")
                                      : -ENOENT;
        }
        int error = read_entry(reader, entry, &is_trailer);
        if (error != 0) {
            return error;
        }
        reader->in_archive = !is_trailer;
        if (!is_trailer) {
            return 0;
        }
        reader->archive++;
    }
}
