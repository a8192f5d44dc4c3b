// SPDX-License-Identifier: MIT
// One function for each message of 9P2000.L. The layouts stand above each: request; answer.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/9p/call.h"
#include "kernel/fs/9p/client.h"
#include "kernel/fs/inode.h"
#include "mm/slab.h"

// Runs a call whose answer is of no more interest, and frees it. NULL: -ENOMEM.
static int run_simple(struct p9_call *call)
{
    struct p9_reader reader;
    if (call == NULL)
        return -ENOMEM;
    const int error = p9_call_run(call, &reader);
    p9_call_free(call);
    return error;
}

// A call that begins with a fid and a name. NULL: no memory.
static struct p9_call *named_call(
    struct p9_client *client, enum p9_type type, uint32_t fid, const char *name, size_t len)
{
    struct p9_call *call = p9_call_create(client, type, len + 64, 64, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, fid);
        p9_put_text(&call->writer, name, len);
    }
    return call;
}

// Tgetattr fid[4] mask[8]; Rgetattr: see p9_get_attributes()
int p9_get_attributes_of(struct p9_client *client, uint32_t fid, struct p9_attributes *attributes)
{
    struct p9_reader reader;
    struct p9_call *call = p9_call_create(client, P9_TGETATTR, 16, 192, 0);
    if (call == NULL)
        return -ENOMEM;
    p9_put_u32(&call->writer, fid);
    p9_put_u64(&call->writer, P9_GETATTR_BASIC);
    int error = p9_call_run(call, &reader);
    if (error == 0) {
        p9_get_attributes(&reader, attributes);
        error = p9_reader_end(&reader);
    }
    p9_call_free(call);
    return error;
}

static void put_time(struct p9_writer *writer, int64_t time_ns)
{
    const int64_t ns_per_second = (int64_t)NS_PER_SECOND;
    int64_t seconds = time_ns / ns_per_second;
    int64_t nanoseconds = time_ns % ns_per_second;
    if (nanoseconds < 0) {
        seconds--;
        nanoseconds += ns_per_second;
    }
    p9_put_u64(writer, (uint64_t)seconds);
    p9_put_u64(writer, (uint64_t)nanoseconds);
}

// Tsetattr fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime[16] mtime[16]; Rsetattr
int p9_set_attributes(struct p9_client *client, uint32_t fid, const struct inode_change *change)
{
    static const struct {
        uint32_t change, valid;
    } table[] = {
        {INODE_CHANGE_MODE, P9_SETATTR_MODE},
        {INODE_CHANGE_UID, P9_SETATTR_UID},
        {INODE_CHANGE_GID, P9_SETATTR_GID},
        {INODE_CHANGE_SIZE, P9_SETATTR_SIZE},
        {INODE_CHANGE_ATIME, P9_SETATTR_ATIME | P9_SETATTR_ATIME_SET},
        {INODE_CHANGE_MTIME, P9_SETATTR_MTIME | P9_SETATTR_MTIME_SET},
    };
    uint32_t valid = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (change->valid & table[i].change)
            valid |= table[i].valid;
    struct p9_call *call = p9_call_create(client, P9_TSETATTR, 80, P9_DATA_HEADER_BYTES, 0);
    if (call == NULL)
        return -ENOMEM;
    p9_put_u32(&call->writer, fid);
    p9_put_u32(&call->writer, valid);
    p9_put_u32(&call->writer, change->mode & 07777);
    p9_put_u32(&call->writer, change->uid);
    p9_put_u32(&call->writer, change->gid);
    p9_put_u64(&call->writer, change->size_bytes);
    put_time(&call->writer, change->atime_ns);
    put_time(&call->writer, change->mtime_ns);
    return run_simple(call);
}

// Tlopen fid[4] flags[4]; Rlopen qid iounit[4]
int p9_open(struct p9_client *client, uint32_t fid, uint32_t flags)
{
    struct p9_call *call = p9_call_create(client, P9_TLOPEN, 8, 32, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, fid);
        p9_put_u32(&call->writer, flags);
    }
    return run_simple(call);
}

// Tlcreate fid[4] name[s] flags[4] mode[4] gid[4]; Rlcreate qid iounit[4]
int p9_create(struct p9_client *client, uint32_t fid, const char *name, size_t len, uint32_t flags,
    uint32_t mode, uint32_t gid)
{
    struct p9_call *call = named_call(client, P9_TLCREATE, fid, name, len);
    if (call != NULL) {
        p9_put_u32(&call->writer, flags);
        p9_put_u32(&call->writer, mode);
        p9_put_u32(&call->writer, gid);
    }
    return run_simple(call);
}

// Tmkdir dfid[4] name[s] mode[4] gid[4]; Rmkdir qid
int p9_make_directory(struct p9_client *client, uint32_t directory, const char *name, size_t len,
    uint32_t mode, uint32_t gid)
{
    struct p9_call *call = named_call(client, P9_TMKDIR, directory, name, len);
    if (call != NULL) {
        p9_put_u32(&call->writer, mode);
        p9_put_u32(&call->writer, gid);
    }
    return run_simple(call);
}

// Tmknod dfid[4] name[s] mode[4] major[4] minor[4] gid[4]; Rmknod qid
int p9_make_node(struct p9_client *client, uint32_t directory, const char *name, size_t len,
    uint32_t mode, uint32_t major, uint32_t minor, uint32_t gid)
{
    struct p9_call *call = named_call(client, P9_TMKNOD, directory, name, len);
    if (call != NULL) {
        p9_put_u32(&call->writer, mode);
        p9_put_u32(&call->writer, major);
        p9_put_u32(&call->writer, minor);
        p9_put_u32(&call->writer, gid);
    }
    return run_simple(call);
}

// Tsymlink dfid[4] name[s] target[s] gid[4]; Rsymlink qid
int p9_make_link(struct p9_client *client, uint32_t directory, const char *name, size_t len,
    const char *target, size_t target_len, uint32_t gid)
{
    struct p9_call *call = p9_call_create(client, P9_TSYMLINK, len + target_len + 16, 32, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, directory);
        p9_put_text(&call->writer, name, len);
        p9_put_text(&call->writer, target, target_len);
        p9_put_u32(&call->writer, gid);
    }
    return run_simple(call);
}

// Tlink dfid[4] fid[4] name[s]; Rlink
int p9_link(
    struct p9_client *client, uint32_t directory, uint32_t fid, const char *name, size_t len)
{
    struct p9_call *call = p9_call_create(client, P9_TLINK, len + 16, P9_DATA_HEADER_BYTES, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, directory);
        p9_put_u32(&call->writer, fid);
        p9_put_text(&call->writer, name, len);
    }
    return run_simple(call);
}

// Trenameat olddirfid[4] oldname[s] newdirfid[4] newname[s]; Rrenameat
int p9_rename(struct p9_client *client, uint32_t old_directory, const char *old_name,
    size_t old_len, uint32_t new_directory, const char *new_name, size_t new_len)
{
    struct p9_call *call =
        p9_call_create(client, P9_TRENAMEAT, old_len + new_len + 16, P9_DATA_HEADER_BYTES, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, old_directory);
        p9_put_text(&call->writer, old_name, old_len);
        p9_put_u32(&call->writer, new_directory);
        p9_put_text(&call->writer, new_name, new_len);
    }
    return run_simple(call);
}

// Tunlinkat dirfid[4] name[s] flags[4]; Runlinkat
int p9_unlink(
    struct p9_client *client, uint32_t directory, const char *name, size_t len, bool is_directory)
{
    struct p9_call *call = named_call(client, P9_TUNLINKAT, directory, name, len);
    if (call != NULL)
        p9_put_u32(&call->writer, is_directory ? P9_UNLINK_DIRECTORY : 0);
    return run_simple(call);
}

// Treadlink fid[4]; Rreadlink target[s]
int64_t p9_read_link(struct p9_client *client, uint32_t fid, char *buffer, size_t size)
{
    struct p9_reader reader;
    const char *target;
    struct p9_call *call = p9_call_create(client, P9_TREADLINK, 4, size + 16, 0);
    if (call == NULL)
        return -ENOMEM;
    p9_put_u32(&call->writer, fid);
    int64_t result = p9_call_run(call, &reader);
    if (result == 0) {
        const uint16_t len = p9_get_text(&reader, &target);
        result = p9_reader_end(&reader);
        if (result == 0 && len == 0)
            result = -EIO;
        if (result == 0) {
            result = (int64_t)MIN((size_t)len, size);
            memcpy(buffer, target, (size_t)result);
        }
    }
    p9_call_free(call);
    return result;
}

// Tfsync fid[4] datasync[4]; Rfsync
int p9_sync(struct p9_client *client, uint32_t fid, bool data_only)
{
    struct p9_call *call = p9_call_create(client, P9_TFSYNC, 8, P9_DATA_HEADER_BYTES, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, fid);
        p9_put_u32(&call->writer, data_only);
    }
    return run_simple(call);
}

// Tstatfs fid[4]; Rstatfs type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] ...
int p9_statfs(struct p9_client *client, uint32_t fid, struct statfs_info *info)
{
    struct p9_reader reader;
    struct p9_call *call = p9_call_create(client, P9_TSTATFS, 4, 80, 0);
    if (call == NULL)
        return -ENOMEM;
    p9_put_u32(&call->writer, fid);
    int error = p9_call_run(call, &reader);
    if (error == 0) {
        (void)p9_get_u32(&reader); // the type of what lies below: this is 9p
        const uint32_t block_size = p9_get_u32(&reader);
        info->blocks = p9_get_u64(&reader);
        info->blocks_free = p9_get_u64(&reader);
        (void)p9_get_u64(&reader); // free for others than root
        info->files = p9_get_u64(&reader);
        info->files_free = p9_get_u64(&reader);
        error = p9_reader_end(&reader);
        if (error == 0 && block_size == 0)
            error = -EIO;
        if (error == 0)
            info->block_size = block_size;
    }
    p9_call_free(call);
    return error;
}

// ---- data ----

// The count of an Rread, Rreaddir or Rwrite: bytes, or -errno. More than was asked for, or than
// came, is a lie.
static int64_t data_count(struct p9_call *call, int error, struct p9_reader *reader)
{
    if (error != 0)
        return error;
    const uint32_t count = p9_get_u32(reader);
    if (reader->is_bad || count > call->data_bytes)
        return -EIO;
    if (call->request.pieces_are_reply && call->request.reply_bytes != P9_DATA_HEADER_BYTES + count)
        return -EIO;
    return count;
}

// Tread fid[4] offset[8] count[4]; Rread count[4] data. Treaddir is the same.
static struct p9_call *read_call(struct p9_client *client, enum p9_type type, uint32_t fid,
    uint64_t offset, uint32_t len_bytes, uint32_t pieces_kept)
{
    assert(len_bytes <= p9_client_data_max(client));
    struct p9_call *call = p9_call_create(client, type, 16, P9_DATA_HEADER_BYTES, pieces_kept);
    if (call == NULL)
        return NULL;
    p9_put_u32(&call->writer, fid);
    p9_put_u64(&call->writer, offset);
    p9_put_u32(&call->writer, len_bytes);
    call->data_bytes = len_bytes;
    call->request.pieces_are_reply = true;
    return call;
}

static int64_t run_data(struct p9_call *call, const struct p9_piece *pieces, uint32_t count)
{
    struct p9_reader reader;
    if (call == NULL)
        return -ENOMEM;
    call->request.pieces = pieces;
    call->request.piece_count = count;
    const int error = p9_call_run(call, &reader);
    const int64_t result = data_count(call, error, &reader);
    p9_call_free(call);
    return result;
}

int64_t p9_read_directory(
    struct p9_client *client, uint32_t fid, uint64_t offset, void *buffer, uint32_t size)
{
    const struct p9_piece piece = {virt_to_phys(buffer), size};
    return run_data(read_call(client, P9_TREADDIR, fid, offset, size, 0), &piece, 1);
}

int64_t p9_read(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes)
{
    return run_data(read_call(client, P9_TREAD, fid, offset, len_bytes, 0), pieces, count);
}

// Twrite fid[4] offset[8] count[4] data; Rwrite count[4]
int64_t p9_write(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes)
{
    assert(len_bytes <= p9_client_data_max(client));
    struct p9_call *call = p9_call_create(client, P9_TWRITE, 16, P9_DATA_HEADER_BYTES, 0);
    if (call != NULL) {
        p9_put_u32(&call->writer, fid);
        p9_put_u64(&call->writer, offset);
        p9_put_u32(&call->writer, len_bytes);
        call->data_bytes = len_bytes;
    }
    return run_data(call, pieces, count);
}

static void read_finished(struct p9_call *call)
{
    struct p9_reader reader;
    void (*done)(void *context, int64_t result) = call->done;
    void *context = call->context;
    const int error = p9_call_answer(call, &reader);
    const int64_t result = data_count(call, error, &reader);
    p9_call_free(call);
    done(context, result);
}

int p9_read_begin(struct p9_client *client, uint32_t fid, uint64_t offset,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes,
    void (*done)(void *context, int64_t result), void *context)
{
    struct p9_call *call = read_call(client, P9_TREAD, fid, offset, len_bytes, count);
    if (call == NULL)
        return -ENOMEM;
    memcpy(call->pieces, pieces, count * sizeof(*pieces));
    call->request.pieces = call->pieces;
    call->request.piece_count = count;
    call->finished = read_finished;
    call->done = done;
    call->context = context;
    const int error = p9_call_begin(call);
    if (error != 0)
        p9_call_free(call);
    return error;
}
