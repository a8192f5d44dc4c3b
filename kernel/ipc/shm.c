// SPDX-License-Identifier: MIT
// System V shared memory: segments with ids and keys over unnamed files of tmpfs.
//
// A segment lives in a table by index; its id is index + SEQUENCE_STEP * the index' sequence
// number, so that the id of a removed segment does not soon name another. Keys are found by hash.
//
// References: the table holds one, each area that shows the segment one, and calls one for their
// length. IPC_RMID takes the key away; the table's reference goes when the segment is marked so and
// nobody has it attached. The file, which sleeps when it goes, is put with the last reference,
// outside the lock.
//   I1  a segment is in the table exactly if it was not removed, or is attached (attach_count > 0);
//   I2  a segment is in the key table exactly if it has a key (not IPC_PRIVATE) and was not
//       removed.
//
// Locking: shm_mutex over the tables and all fields. An area's open and close run under its space's
// lock: space->lock > shm_mutex. Attaching calls into mm, so it drops shm_mutex before and keeps
// the segment by attach_count meanwhile.
#include "kernel/ipc/shm.h"

#include "kernel/base/fmt.h"
#include "kernel/base/hash.h"
#include "kernel/base/hlist.h"
#include "kernel/base/ida.h"
#include "kernel/base/refcount.h"
#include "kernel/base/string.h"
#include "kernel/base/xarray.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/page_cache.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/ipc.h>
#include <linux/resource.h>
#include <linux/stat.h>

#define SEQUENCE_STEP 32768 // ids of one index differ by this, as on Linux
#define SEQUENCE_MAX  (0x7fffffff / SEQUENCE_STEP)
#define KEY_BITS      6
#define MODE_DEST     01000 // in shm_perm.mode: removed, but attached still
#define MODE_LOCKED   02000
#define SEGMENT_MAX   ((uint64_t)INT64_MAX - PAGE_SIZE)

static_assert(SHMMNI <= SEQUENCE_STEP);

struct segment {
    struct shmid64_ds about; // what IPC_STAT gives, but for shm_nattch
    uint32_t index;
    int32_t id;
    uint64_t attach_count; // areas, and attaching calls
    struct hlist_node key_node;
    struct file *file; // constant
    struct refcount refcount;
};

static struct mutex shm_mutex = MUTEX_INIT(shm_mutex, "shm");
static struct xarray segments;                        // by index
static struct ida indices;                            // in use
static uint32_t next_index;                           // where the search for a free one begins
static uint32_t sequence;                             // of the next segment
static struct hlist_head keys[(size_t)1 << KEY_BITS]; // segments by key

static int64_t now_seconds(void)
{
    return time_realtime_ns() / (int64_t)NS_PER_SECOND;
}

static void segment_put(struct segment *segment)
{
    if (!refcount_put(&segment->refcount))
        return;
    file_put(segment->file);
    kfree(segment);
}

static struct hlist_head *key_bucket(int32_t key)
{
    return &keys[hash_to_index(hash_u64((uint32_t)key), KEY_BITS)];
}

// shm_mutex held. NULL: none.
static struct segment *find_key(int32_t key)
{
    struct segment *segment;
    hlist_for_each_entry (segment, key_bucket(key), key_node) {
        if (segment->about.shm_perm.key == key)
            return segment;
    }
    return NULL;
}

// shm_mutex held. -EINVAL: there is no such id; -EIDRM: there was.
static int find_id(int id, struct segment **result)
{
    if (id < 0)
        return -EINVAL;
    *result = xarray_load(&segments, (uint32_t)id % SEQUENCE_STEP);
    if (*result == NULL)
        return -EINVAL;
    return (*result)->id == id ? 0 : -EIDRM;
}

// shm_mutex held. Removed and not attached: leaves the table (I1). The caller puts the table's
// reference then.
static bool leaves_table(struct segment *segment)
{
    if (segment->attach_count != 0 || (segment->about.shm_perm.mode & MODE_DEST) == 0)
        return false;
    (void)xarray_erase(&segments, segment->index);
    ida_free(&indices, segment->index);
    return true;
}

// `wanted` has the bits of one class or more: 0444 to read, 0222 to write.
static bool may(const struct segment *segment, uint32_t wanted)
{
    const struct credentials *cred = credentials_current();
    const struct ipc64_perm *perm = &segment->about.shm_perm;
    uint32_t requested = wanted >> 6 | wanted >> 3 | wanted, granted = perm->mode;
    if (cred->euid == perm->cuid || cred->euid == perm->uid)
        granted >>= 6;
    else if (credentials_in_group(cred, perm->cgid) || credentials_in_group(cred, perm->gid))
        granted >>= 3;
    return (requested & ~granted & 0007) == 0 || capable(CAP_IPC_OWNER);
}

static bool is_owner(const struct segment *segment)
{
    uint32_t euid = credentials_current()->euid;
    return euid == segment->about.shm_perm.cuid || euid == segment->about.shm_perm.uid;
}

// ---- areas ----

static void shm_area_open(struct vm_area *area)
{
    struct segment *segment = area->backing;
    refcount_get(&segment->refcount);
    mutex_lock(&shm_mutex);
    segment->attach_count++;
    mutex_unlock(&shm_mutex);
}

// An area or an attaching call has done with the segment.
static void release(struct segment *segment)
{
    mutex_lock(&shm_mutex);
    segment->attach_count--;
    bool left = leaves_table(segment);
    mutex_unlock(&shm_mutex);
    if (left)
        segment_put(segment);
    segment_put(segment);
}

static void shm_area_close(struct vm_area *area)
{
    struct segment *segment = area->backing;
    mutex_lock(&shm_mutex);
    segment->about.shm_dtime = now_seconds();
    segment->about.shm_lpid = process_current()->pid;
    mutex_unlock(&shm_mutex);
    release(segment);
}

static void shm_area_name(struct vm_area *area, char *buffer, size_t size)
{
    const struct segment *segment = area->backing;
    fmt_snprintf(buffer, size, "/SYSV%08x (deleted)", (uint32_t)segment->about.shm_perm.key);
}

static void shm_area_identity(
    struct vm_area *area, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode)
{
    const struct segment *segment = area->backing;
    *dev_major = 0;
    *dev_minor = 1;
    *inode = (uint32_t)segment->id;
}

static const struct vm_area_ops shm_area_ops = {
    .open = shm_area_open,
    .close = shm_area_close,
    .name = shm_area_name,
    .identity = shm_area_identity,
};

// ---- shmget ----

static struct segment *segment_create(int32_t key, size_t size_bytes, int flags)
{
    char name[16];
    const struct credentials *cred = credentials_current();
    struct segment *segment = kzalloc(sizeof(*segment));
    if (segment == NULL)
        return NULL;
    fmt_snprintf(name, sizeof(name), "SYSV%08x", (uint32_t)key);
    segment->file = tmpfs_unnamed_create(name, ALIGN_UP(size_bytes, PAGE_SIZE), 0);
    if (segment->file == NULL) {
        kfree(segment);
        return NULL;
    }
    refcount_init(&segment->refcount, 1);
    segment->about = (struct shmid64_ds){
        .shm_perm = {.key = key,
            .uid = cred->euid,
            .gid = cred->egid,
            .cuid = cred->euid,
            .cgid = cred->egid,
            .mode = (uint32_t)flags & 0777},
        .shm_segsz = size_bytes,
        .shm_ctime = now_seconds(),
        .shm_cpid = process_current()->pid,
    };
    return segment;
}

// shm_mutex held. Takes the reference over. The id, -ENOSPC or -ENOMEM.
static int64_t enter(struct segment *segment)
{
    uint32_t index;
    int error = ida_alloc_cyclic(&indices, 0, SHMMNI - 1, next_index, &index);
    if (error != 0)
        return error;
    error = xarray_insert(&segments, index, segment);
    if (error != 0) {
        ida_free(&indices, index);
        return error;
    }
    if (index < next_index) // once around
        sequence = sequence == SEQUENCE_MAX ? 0 : sequence + 1;
    next_index = (index + 1) % SHMMNI;
    segment->index = index;
    segment->about.shm_perm.seq = (uint16_t)sequence;
    segment->id = (int32_t)(sequence * SEQUENCE_STEP + index);
    if (segment->about.shm_perm.key != IPC_PRIVATE)
        hlist_add_head(key_bucket(segment->about.shm_perm.key), &segment->key_node);
    return segment->id;
}

static int64_t create(int32_t key, size_t size_bytes, int flags)
{
    if (size_bytes < SHMMIN || size_bytes > SEGMENT_MAX)
        return -EINVAL;
    if ((flags & SHM_HUGETLB) != 0)
        return -ENOMEM; // there is no pool of huge pages
    struct segment *segment = segment_create(key, size_bytes, flags);
    if (segment == NULL)
        return -ENOMEM;
    int64_t id = enter(segment);
    if (id < 0)
        segment_put(segment);
    return id;
}

int64_t shm_get(int32_t key, size_t size_bytes, int flags)
{
    int64_t result;
    mutex_lock(&shm_mutex);
    struct segment *segment = key == IPC_PRIVATE ? NULL : find_key(key);
    if (segment == NULL)
        result = key == IPC_PRIVATE || (flags & IPC_CREAT) != 0 ? create(key, size_bytes, flags)
                                                                : -ENOENT;
    else if ((flags & IPC_CREAT) != 0 && (flags & IPC_EXCL) != 0)
        result = -EEXIST;
    else if (size_bytes > segment->about.shm_segsz)
        result = -EINVAL;
    else
        result = may(segment, (uint32_t)flags & 0777) ? segment->id : -EACCES;
    mutex_unlock(&shm_mutex);
    return result;
}

// ---- shmat, shmdt ----

// The request to mm for what shmat(2) was told. -EINVAL.
static int prepare_request(struct vm_map_request *request, uintptr_t address, int flags)
{
    bool read_only = (flags & SHM_RDONLY) != 0;
    if ((flags & SHM_RND) != 0)
        address = ALIGN_DOWN(address, PAGE_SIZE);
    if (!IS_ALIGNED(address, PAGE_SIZE) || (address == 0 && (flags & SHM_REMAP) != 0))
        return -EINVAL;
    *request = (struct vm_map_request){
        .address = address,
        .flags = VM_SHARED | VM_READ | (read_only ? 0 : VM_WRITE | VM_MAYWRITE),
        .fixed = address != 0 && (flags & SHM_REMAP) != 0,
        .fixed_noreplace = address != 0 && (flags & SHM_REMAP) == 0,
        .ops = &shm_area_ops,
    };
    if ((flags & SHM_EXEC) != 0)
        request->flags |= VM_EXEC;
    return 0;
}

// Finds the segment and keeps it attached for the length of the call. -EINVAL, -EIDRM, -EACCES.
static int hold(int id, int flags, struct segment **result)
{
    uint32_t wanted = (flags & SHM_RDONLY) != 0 ? 0444 : 0666;
    if ((flags & SHM_EXEC) != 0)
        wanted |= 0111;
    mutex_lock(&shm_mutex);
    int error = find_id(id, result);
    if (error == 0 && !may(*result, wanted))
        error = -EACCES;
    if (error == 0) {
        refcount_get(&(*result)->refcount);
        (*result)->attach_count++;
    }
    mutex_unlock(&shm_mutex);
    return error;
}

int64_t shm_attach(int id, uintptr_t address, int flags)
{
    struct vm_map_request request;
    struct segment *segment;
    int error = prepare_request(&request, address, flags);
    if (error == 0)
        error = hold(id, flags, &segment);
    if (error != 0)
        return error;
    request.len_bytes = ALIGN_UP(segment->about.shm_segsz, PAGE_SIZE);
    request.cache = segment->file->inode->cache;
    request.backing = segment;
    struct address_space *space = thread_current()->space;
    space->limit_as_bytes = process_limit(RLIMIT_AS);
    int64_t result = vm_map(space, &request);
    if (result == -EEXIST) // something is there, and SHM_REMAP was not given
        result = -EINVAL;
    if (result >= 0) {
        mutex_lock(&shm_mutex);
        segment->about.shm_atime = now_seconds();
        segment->about.shm_lpid = process_current()->pid;
        mutex_unlock(&shm_mutex);
    }
    release(segment);
    return result;
}

int shm_detach(uintptr_t address)
{
    if (!IS_ALIGNED(address, PAGE_SIZE))
        return -EINVAL;
    return vm_unmap_backing(thread_current()->space, address, &shm_area_ops);
}

// ---- shmctl ----

int64_t shm_describe(int id, bool by_index, bool any, struct shmid64_ds *about)
{
    struct segment *segment = NULL;
    int64_t result = 0;
    mutex_lock(&shm_mutex);
    if (by_index) {
        segment = id < 0 || id >= SHMMNI ? NULL : xarray_load(&segments, (uint32_t)id);
        result = segment == NULL ? -EINVAL : 0;
    } else {
        result = find_id(id, &segment);
    }
    if (result == 0 && !any && !may(segment, 0444))
        result = -EACCES;
    if (result == 0) {
        *about = segment->about;
        about->shm_nattch = segment->attach_count;
        result = by_index ? segment->id : 0;
    }
    mutex_unlock(&shm_mutex);
    return result;
}

int shm_change(int id, const struct shmid64_ds *about)
{
    struct segment *segment;
    mutex_lock(&shm_mutex);
    int error = find_id(id, &segment);
    if (error == 0 && !is_owner(segment) && !capable(CAP_SYS_ADMIN))
        error = -EPERM;
    if (error == 0) {
        struct ipc64_perm *perm = &segment->about.shm_perm;
        perm->uid = about->shm_perm.uid;
        perm->gid = about->shm_perm.gid;
        perm->mode = (perm->mode & ~0777u) | (about->shm_perm.mode & 0777u);
        segment->about.shm_ctime = now_seconds();
    }
    mutex_unlock(&shm_mutex);
    return error;
}

int shm_remove(int id)
{
    struct segment *segment;
    bool left = false;
    mutex_lock(&shm_mutex);
    int error = find_id(id, &segment);
    if (error == 0 && !is_owner(segment) && !capable(CAP_SYS_ADMIN))
        error = -EPERM;
    if (error == 0) {
        if (hlist_is_linked(&segment->key_node))
            hlist_remove(&segment->key_node);
        segment->about.shm_perm.key = IPC_PRIVATE;
        segment->about.shm_perm.mode |= MODE_DEST;
        left = leaves_table(segment);
    }
    mutex_unlock(&shm_mutex);
    if (left)
        segment_put(segment);
    return error;
}

int shm_lock(int id, bool lock)
{
    struct segment *segment;
    mutex_lock(&shm_mutex);
    int error = find_id(id, &segment);
    if (error == 0 && !capable(CAP_IPC_LOCK)) {
        if (!is_owner(segment) || (lock && process_limit(RLIMIT_MEMLOCK) == 0))
            error = -EPERM;
    }
    if (error == 0)
        segment->about.shm_perm.mode =
            (segment->about.shm_perm.mode & ~(uint32_t)MODE_LOCKED) | (lock ? MODE_LOCKED : 0);
    mutex_unlock(&shm_mutex);
    return error;
}

int64_t shm_usage(struct shm_info *usage)
{
    uint64_t index, last = 0;
    struct segment *segment;
    *usage = (struct shm_info){};
    mutex_lock(&shm_mutex);
    xarray_for_each(&segments, index, segment)
    {
        usage->used_ids++;
        usage->shm_tot += ALIGN_UP(segment->about.shm_segsz, PAGE_SIZE) >> PAGE_SHIFT;
        usage->shm_rss += segment->file->inode->cache->count;
        last = index;
    }
    mutex_unlock(&shm_mutex);
    return (int64_t)last;
}
