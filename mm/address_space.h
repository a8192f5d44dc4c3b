// SPDX-License-Identifier: MIT
// A program's memory: areas, page tables, faults.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/numa.h"
#include "kernel/base/rbtree.h"
#include "kernel/base/rcu_head.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/mutex.h"
#include "kernel/core/user.h"
#include "mm/page.h"
#include <linux/errno.h>

struct memory_policy;
struct vm_area;
struct page_cache;

// What backs an area that is not anonymous private memory. Reference counting of the backing object
// (struct file) is by open/close.
struct vm_area_ops {
    void (*open)(struct vm_area *area);  // the area was copied (fork, split)
    void (*close)(struct vm_area *area); // the area goes away
    // Path or name for /proc/PID/maps into buffer (size bytes). NULL: no name.
    void (*name)(struct vm_area *area, char *buffer, size_t size);
    // Identity for /proc/PID/maps.
    void (*identity)(
        struct vm_area *area, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode);
    // Called before a shared area's page is made writable (file times, a place on the disk). May be
    // NULL. 0 or -errno: SIGBUS.
    int (*page_mkwrite)(struct vm_area *area, struct page *page);
};

struct vm_area {
    struct rbtree_node node; // in space->areas, by start; under space->lock
    uintptr_t gap,
        subtree_gap; // unmapped bytes before the area; greatest gap of the subtree; under space->lock
    uintptr_t start, end; // [start, end), page-aligned
    uint32_t flags;       // VM_*
    struct address_space *space;
    struct page_cache *cache; // NULL: anonymous
    uint64_t cache_index;     // page number in the cache at start
    void *backing;            // e.g. struct file *; belongs to ops
    const struct vm_area_ops *ops;
    union {
        struct list_node cache_node; // in cache->areas, under cache->lock
        struct rcu_head rcu;         // once it has left tree and list
    };
    // The hold of space->lock that changes, or changed, it last, or AREA_LEAVES: V1 of
    // fault_view.h. Written under space->lock for writing, atomic.
    uint64_t changed_in;
    struct vm_area *leaving_next; // the next one that the same unmapping removes; belongs to it
    const char *label;            // "[heap]", "[stack]", "[vdso]", ... or NULL
    struct memory_policy *policy; // where pages come from, NULL: as the thread's; under space->lock
    // May hold private pages that fork has to copy; only ever set, before the first such page is
    // mapped (V4 of fault_view.h); atomic.
    bool has_anonymous;
    uint32_t pool_reserved; // with VM_POOL: pages promised and not used (huge_pool.c); atomic
};

#define VM_READ        BIT(0)
#define VM_WRITE       BIT(1)
#define VM_EXEC        BIT(2)
#define VM_SHARED      BIT(3)
#define VM_GROWSDOWN   BIT(4)
#define VM_LOCKED      BIT(5)
#define VM_MAYWRITE    BIT(6) // a shared mapping of a file opened for writing, or private
#define VM_DONTFORK    BIT(7)
#define VM_WIPEFORK    BIT(8)
#define VM_FIXED_PAGES BIT(9) // vDSO: pages belong to the kernel
#define VM_NORESERVE   BIT(10)
#define VM_HUGE        BIT(11)
#define VM_NOHUGE      BIT(12)
#define VM_DONTDUMP    BIT(13)
#define VM_POOL        BIT(14) // pages of the pool (MAP_HUGETLB)
// Being unmapped: there is nothing at its addresses any more, but they are not free yet (unmap.c).
#define VM_LEAVING     BIT(15)
#define VM_ACCESS      (VM_READ | VM_WRITE | VM_EXEC)

#define VM_AREAS_MAX   65530             // most areas in a space (as Linux: vm.max_map_count)
#define VM_MIN         UINT64_C(0x10000) // lowest address that is given out (vm.mmap_min_addr)
#define VM_STACK_GUARD (256 * PAGE_SIZE) // kept free below a growing stack

struct address_space {
    // The areas. Most faults do without it (fault_view.h), the others take it for reading.
    struct rwlock lock;
    struct rbtree areas; // under lock; faults look through it without
    // The number of the hold of lock for writing, now or next; written under it, atomic.
    uint64_t write_hold;
    uint32_t area_count;       // under lock
    struct vm_area *last_area; // hint of the last found area: set under lock; racy store fine
    // Those that walk page tables without the lock, see unmap.c; under lock.
    struct list_node unmappings;
    uint32_t leaving_count;    // areas that are VM_LEAVING; under lock
    uint32_t unmap_waiters;    // threads that wait for one of those to end; under lock
    uint32_t unmappings_ended; // changes with each that ended; written under lock, atomic
    struct spinlock table_lock; // page tables below the top level
    uint64_t *page_table;       // top level, kernel address
    uint32_t users;             // tasks that run in it (mm_users); atomic
    uint32_t refcount;          // struct itself: users count one, each lazily using CPU one; atomic
    uint64_t id;                // never reused: PCID allocation
    uint64_t tlb_generation;    // bumped by each unmapping; see mm/tlb.c
    struct cpumask cpus;        // CPUs that have it loaded (lazily too)
    uintptr_t brk_start, brk_end; // under lock
    uintptr_t mmap_base;          // top-down placement starts here
    uintptr_t stack_top;
    uintptr_t arg_start, arg_end, env_start, env_end; // for /proc; under lock
    uintptr_t code_start, code_end, data_start, data_end;
    uintptr_t vdso_base;
    uint64_t auxv[48];     // /proc/PID/auxv
    uint64_t mapped_pages; // total_vm; under lock
    uint64_t locked_pages;
    int64_t resident_anonymous; // atomic, pages
    int64_t resident_file;
    // Pages, as of the last time some were removed; see address_space_resident_peak().
    uint64_t resident_peak;
    uint64_t table_pages;
    bool huge_disabled; // PR_SET_THP_DISABLE; atomic
    // Of collapse.c, under its list's lock; the cursor belongs to its thread.
    bool collapse_registered;
    uint32_t collapse_looks;
    uint64_t collapse_due_ns;
    uintptr_t collapse_cursor;
    struct list_node collapse_node;
    bool may_share_tables; // fork has shared some, once; set under lock for writing
    uint64_t limit_as_bytes, limit_data_bytes, limit_stack_bytes,
        limit_memlock_bytes; // copies of the rlimits; UINT64_MAX: none
    uint32_t
        default_flags; // VM_LOCKED after mlockall(MCL_FUTURE): given to every new area; under lock
    uint32_t membarrier_commands; // registered MEMBARRIER_CMD_*_EXPEDITED; atomic
    void *exe;                    // struct file * of the program, owned by process/; NULL for none
};

// Set by process/: gives space->exe (not NULL) back when the last user leaves (in
// address_space_put()).
extern void (*address_space_exe_put)(void *exe);

// A new one with an empty user half. NULL: no memory.
struct address_space *address_space_create(void);
// Copy for fork: areas copied, private pages copy-on-write. Result or NULL (-ENOMEM).
struct address_space *address_space_fork(struct address_space *parent);
void address_space_get(struct address_space *space); // another user
void address_space_put(struct address_space *space); // last user: everything unmapped (may sleep)
void address_space_release(struct address_space *space); // drops a refcount (lazy users)
// Runs `space` (NULL: kernel only) on the running thread: exec, exit, kernel threads that borrow
// one. Preemption on.
void address_space_activate(struct address_space *space);
// From the scheduler, interrupts off: loads next's page tables if it has a space; a kernel thread
// keeps the old ones (lazy).
struct thread;
void mm_switch(struct thread *previous, struct thread *next);

// ---- the calls behind the system calls; all may sleep; address/length unchecked by the caller
// unless said ----
struct vm_map_request {
    uintptr_t address; // hint, or exact with fixed
    size_t len_bytes;
    uint32_t flags; // VM_*
    bool fixed, fixed_noreplace;
    bool low_allowed; // a fixed address may lie below VM_MIN
    bool low_2g;      // without a fixed address or a hint that fits: below 2 GiB (MAP_32BIT)
    bool populate;
    struct page_cache *cache; // NULL: anonymous (shared anonymous: mm makes a cache itself)
    uint64_t cache_index;
    void *backing; // with VM_FIXED_PAGES: const uint64_t *, the physical address of each page
    const struct vm_area_ops *ops; // its open() is called for the new area
    const char *label;
};
// Address, or -EINVAL, -ENOMEM, -EEXIST, -EPERM.
[[nodiscard]] int64_t vm_map(struct address_space *space, const struct vm_map_request *request);
[[nodiscard]] int vm_unmap(struct address_space *space, uintptr_t address, size_t len_bytes);
// Unmaps what is left of one mapping (shmdt(2)): the first area with these operations that lies as a
// mapping which began at `address` would, and those behind it of the same backing that do. -EINVAL:
// there is none.
[[nodiscard]] int vm_unmap_backing(
    struct address_space *space, uintptr_t address, const struct vm_area_ops *ops);
[[nodiscard]] int vm_protect(
    struct address_space *space, uintptr_t address, size_t len_bytes, uint32_t vm_access);
[[nodiscard]] int64_t vm_remap(struct address_space *space, uintptr_t old, size_t old_len,
    size_t new_len, int flags, uintptr_t new_address);
[[nodiscard]] int vm_advise(
    struct address_space *space, uintptr_t address, size_t len_bytes, int advice);
[[nodiscard]] int vm_sync(
    struct address_space *space, uintptr_t address, size_t len_bytes, int flags);
[[nodiscard]] int vm_lock(
    struct address_space *space, uintptr_t address, size_t len_bytes, bool lock, bool on_fault);
[[nodiscard]] int vm_lock_all(struct address_space *space, int flags);
[[nodiscard]] int vm_incore(
    struct address_space *space, uintptr_t address, size_t len_bytes, uintptr_t user_vector);
uintptr_t vm_brk(
    struct address_space *space, uintptr_t new_end); // as the system call: the (old or new) break
// Pages of another or the own address space, with references, for ptrace-like access,
// /proc/PID/mem, futex keys, pinned I/O. Returns the number got or -EFAULT.
[[nodiscard]] int64_t vm_pin(
    struct address_space *space, uintptr_t address, size_t pages, bool write, struct page **result);
// Reads from another space (for /proc/PID/cmdline ...): bytes read.
size_t vm_read_remote(struct address_space *space, uintptr_t address, void *to, size_t len_bytes);
size_t vm_write_remote(
    struct address_space *space, uintptr_t address, const void *from, size_t len_bytes);
// Identity of the memory word for a shared futex: the cache+index+offset, or space+address for
// private memory. 0 or -EFAULT.
struct vm_word_key {
    uint64_t object;
    uint64_t index;
    uint32_t offset;
};
[[nodiscard]] int vm_word_key_shared(
    struct address_space *space, uintptr_t address, struct vm_word_key *key);
[[nodiscard]] static inline int vm_word_key(
    struct address_space *space, uintptr_t address, bool shared, struct vm_word_key *key)
{
    if (!user_range_ok(address, sizeof(uint32_t)))
        return -EFAULT;
    *key = (struct vm_word_key){.object = (uint64_t)(uintptr_t)space,
        .index = address >> PAGE_SHIFT,
        .offset = address % PAGE_SIZE};
    return shared ? vm_word_key_shared(space, address, key) : 0;
}

// What is resident of an area, in pages; space->lock held in any way. A snapshot; huge pages count
// as anonymous ones, too.
struct vm_area_usage {
    uint64_t anonymous, file, huge, exclusive;
};
void vm_area_usage_read(struct vm_area *area, struct vm_area_usage *usage);
// How many of its pages lie on each node.
void vm_area_nodes_read(struct vm_area *area, uint64_t pages[NUMA_NODES_MAX]);

struct vm_area *vm_area_find(
    struct address_space *space, uintptr_t address); // first area with end > address; under lock
struct vm_area *vm_area_first(struct address_space *space);
struct vm_area *vm_area_next(struct vm_area *area);

// Resident pages now, and the most there ever were. Snapshots.
static inline uint64_t address_space_resident(const struct address_space *space)
{
    int64_t pages = __atomic_load_n(&space->resident_anonymous, __ATOMIC_RELAXED) +
                    __atomic_load_n(&space->resident_file, __ATOMIC_RELAXED);
    return pages > 0 ? (uint64_t)pages : 0;
}
static inline uint64_t address_space_resident_peak(const struct address_space *space)
{
    uint64_t peak = __atomic_load_n(&space->resident_peak, __ATOMIC_RELAXED);
    uint64_t pages = address_space_resident(space);
    return pages > peak ? pages : peak;
}

void mm_init_early(void); // direct map, vmemmap, buddy: nothing of the kernel can allocate before
void mm_init(void);       // slabs, vmap, page cache
void mm_start(void);      // the rest, in task context
// What the running CPU keeps of free memory is given back, before it goes off: stacks and tables,
// with preemption off and interrupts on; then objects and pages, interrupts off. May be called
// again.
void mm_cpu_leave(void);
void mm_cpu_leave_last(void);
