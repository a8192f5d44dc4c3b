// SPDX-License-Identifier: MIT
// Messages of 9P2000.L: writing requests, and reading what a server answered.
#include "kernel/fs/9p/wire.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

#define ERRNO_MAX   4095
#define NS_PER_S    INT64_C(1000000000)
#define SECONDS_MAX (INT64_MAX / NS_PER_S - 1)

// ---- requests ----

static void put(struct p9_writer *writer, const void *bytes, uint32_t count)
{
    if (writer->is_full || writer->size - writer->len < count) {
        writer->is_full = true;
        return;
    }
    memcpy(writer->data + writer->len, bytes, count);
    writer->len += count;
}

void p9_message_begin(
    struct p9_writer *writer, void *data, uint32_t size, enum p9_type type, uint16_t tag)
{
    assert(size >= P9_HEADER_BYTES);
    *writer = (struct p9_writer){.data = data, .size = size};
    p9_put_u32(writer, 0); // the length, when it is known
    p9_put_u8(writer, (uint8_t)type);
    p9_put_u16(writer, tag);
}

void p9_put_u8(struct p9_writer *writer, uint8_t value)
{
    put(writer, &value, sizeof(value));
}

// The processor is little-endian, as the protocol.
void p9_put_u16(struct p9_writer *writer, uint16_t value)
{
    put(writer, &value, sizeof(value));
}

void p9_put_u32(struct p9_writer *writer, uint32_t value)
{
    put(writer, &value, sizeof(value));
}

void p9_put_u64(struct p9_writer *writer, uint64_t value)
{
    put(writer, &value, sizeof(value));
}

void p9_put_text(struct p9_writer *writer, const char *text, size_t len)
{
    if (len > UINT16_MAX) {
        writer->is_full = true;
        return;
    }
    p9_put_u16(writer, (uint16_t)len);
    put(writer, text, (uint32_t)len);
}

int p9_message_end(struct p9_writer *writer, uint32_t data_bytes)
{
    if (writer->is_full)
        return -ENAMETOOLONG;
    const uint32_t total = writer->len + data_bytes;
    assert(total >= writer->len);
    memcpy(writer->data, &total, sizeof(total));
    return 0;
}

// ---- answers ----

static void get(struct p9_reader *reader, void *to, uint32_t count)
{
    if (reader->is_bad || reader->left < count) {
        reader->is_bad = true;
        memset(to, 0, count);
        return;
    }
    memcpy(to, reader->data, count);
    reader->data += count;
    reader->left -= count;
}

uint8_t p9_get_u8(struct p9_reader *reader)
{
    uint8_t value;
    get(reader, &value, sizeof(value));
    return value;
}

uint16_t p9_get_u16(struct p9_reader *reader)
{
    uint16_t value;
    get(reader, &value, sizeof(value));
    return value;
}

uint32_t p9_get_u32(struct p9_reader *reader)
{
    uint32_t value;
    get(reader, &value, sizeof(value));
    return value;
}

uint64_t p9_get_u64(struct p9_reader *reader)
{
    uint64_t value;
    get(reader, &value, sizeof(value));
    return value;
}

uint16_t p9_get_text(struct p9_reader *reader, const char **text)
{
    const uint16_t len = p9_get_u16(reader);
    *text = NULL;
    if (reader->is_bad || reader->left < len) {
        reader->is_bad = true;
        return 0;
    }
    *text = (const char *)reader->data;
    reader->data += len;
    reader->left -= len;
    return len;
}

int p9_reader_end(const struct p9_reader *reader)
{
    return reader->is_bad ? -EIO : 0;
}

int p9_reply_begin(struct p9_reader *reader, const void *data, uint32_t size, uint32_t len_bytes,
    enum p9_type type, uint16_t tag)
{
    *reader = (struct p9_reader){.data = data, .left = len_bytes < size ? len_bytes : size};
    const uint32_t stated = p9_get_u32(reader);
    const uint8_t answer = p9_get_u8(reader);
    const uint16_t answer_tag = p9_get_u16(reader);
    if (reader->is_bad || stated != len_bytes || answer_tag != tag)
        return -EIO;
    if (answer == P9_RLERROR) {
        const uint32_t number = p9_get_u32(reader);
        return reader->is_bad || number == 0 || number > ERRNO_MAX ? -EIO : -(int)number;
    }
    return answer == (uint8_t)type + 1 ? 0 : -EIO;
}

void p9_get_qid(struct p9_reader *reader, struct p9_qid *qid)
{
    qid->type = p9_get_u8(reader);
    qid->version = p9_get_u32(reader);
    qid->path = p9_get_u64(reader);
}

// seconds[8] nanoseconds[8]
static int64_t get_time(struct p9_reader *reader)
{
    const int64_t seconds = (int64_t)p9_get_u64(reader);
    const uint64_t nanoseconds = p9_get_u64(reader);
    if (nanoseconds >= (uint64_t)NS_PER_S || seconds > SECONDS_MAX || seconds < -SECONDS_MAX) {
        reader->is_bad = true;
        return 0;
    }
    return seconds * NS_PER_S + (int64_t)nanoseconds;
}

// The file types of st_mode's upper bits, which linux/stat.h does not define beside a C library:
// pipe, character device, directory, block device, regular file, link, socket.
static bool type_exists(uint32_t mode)
{
    static const uint32_t types = BIT(1) | BIT(2) | BIT(4) | BIT(6) | BIT(8) | BIT(10) | BIT(12);
    return mode >> 12 < 16 && types & BIT(mode >> 12);
}

void p9_get_attributes(struct p9_reader *reader, struct p9_attributes *attributes)
{
    (void)p9_get_u64(reader); // which fields are valid: those that were asked for, or an Rlerror
    p9_get_qid(reader, &attributes->qid);
    attributes->mode = p9_get_u32(reader);
    attributes->uid = p9_get_u32(reader);
    attributes->gid = p9_get_u32(reader);
    attributes->nlink = p9_get_u64(reader);
    attributes->device = p9_get_u64(reader);
    attributes->size_bytes = p9_get_u64(reader);
    (void)p9_get_u64(reader); // block size
    attributes->blocks = p9_get_u64(reader);
    attributes->atime_ns = get_time(reader);
    attributes->mtime_ns = get_time(reader);
    attributes->ctime_ns = get_time(reader);
    if (!type_exists(attributes->mode) || attributes->size_bytes > INT64_MAX)
        reader->is_bad = true;
}

int64_t p9_entry_read(const void *data, uint32_t len_bytes, struct p9_entry *entry)
{
    struct p9_reader reader = {.data = data, .left = len_bytes};
    if (len_bytes == 0)
        return 0;
    p9_get_qid(&reader, &entry->qid);
    entry->next = p9_get_u64(&reader);
    entry->type = p9_get_u8(&reader);
    entry->name_len = p9_get_text(&reader, &entry->name);
    if (reader.is_bad || entry->name_len == 0 || entry->name_len > P9_NAME_MAX ||
        entry->next > INT64_MAX)
        return -EIO;
    for (uint16_t i = 0; i < entry->name_len; i++)
        if (entry->name[i] == '/' || entry->name[i] == 0)
            return -EIO;
    assert(reader.left < len_bytes);
    return len_bytes - reader.left;
}
