// SPDX-License-Identifier: MIT
// Controllers, their queue pairs and namespaces: what the files of this folder share.
//
// A controller has the admin pair and one pair for each CPU (fewer, if it does not have so many).
// Each namespace is a block device with one block queue for each pair, so that a pair is used by
// one CPU; if there are several namespaces, they share the pairs, which is why a pair has a lock of
// its own.
//
// Lock order: queue of the block layer, pair.
//
// Life of a controller (`state`): STARTING → LIVE; LIVE → RESETTING when a command takes too long,
// or the controller says that it has failed, or breaks a rule; RESETTING → LIVE, and what it had is
// given to it again, at most NVME_TRIES times; → DEAD if it does not come back, or is gone: then
// everything fails with EIO.
#pragma once

#include "kernel/block/block.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/timer.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "kernel/nvme/identify.h"
#include "kernel/nvme/queue.h"

struct pci_device;
struct nvme_controller;

#define NVME_NAMESPACES_MAX 16
#define NVME_TRIES          3
#define NVME_LIST_BYTES     128u // of each slot's own list: 8 SGL descriptors or 16 pages
#define NVME_ADMIN_ENTRIES  32

enum nvme_state : uint32_t { NVME_STARTING, NVME_LIVE, NVME_RESETTING, NVME_DEAD };

struct nvme_pair {
    struct spinlock lock; // everything below; taken with interrupts off
    struct nvme_queue queue;
    struct nvme_controller *controller; // fixed
    bool open;                          // commands may be added
    volatile char *tail_doorbell, *head_doorbell;
    uint32_t *shadow; // [tail, head] as memory that the controller reads, or NULL
    uint32_t *event;  // where it wants to be told nevertheless
    char *lists;      // [slot_count][NVME_LIST_BYTES]: PRP and SGL lists of small requests
    void **pages;     // [slot_count] lists of large requests, each a page, or NULL
    uint32_t vector;
    struct list_node retry;    // requests that are to be given to the controller (again)
    struct list_node finished; // requests of namespaces other than the one that found them
};

struct nvme_namespace {
    struct nvme_controller *controller;
    struct block_device *block;
    uint32_t id;
    uint32_t block_shift;
};

// Fixed after start-up, where nothing else is said.
struct nvme_controller {
    struct pci_device *pci;
    volatile char *registers, *doorbells;
    struct nvme_capabilities capabilities;
    struct nvme_controller_facts facts;
    char name[16]; // "nvme0"
    uint32_t index;
    uint32_t state;             // enum nvme_state; atomic
    const char *why;            // it is reset; written before the state, for the log
    struct nvme_pair admin;     // its tokens are struct admin_wait
    struct wait_queue answered; // an admin command has been
    struct nvme_pair *pairs;
    uint32_t pair_count;
    bool shares_vector;  // one interrupt for everything
    uint32_t *shadow;    // a page of doorbells, and one of events behind it; or NULL
    char *identify_page; // one thread at a time: start-up, then resets
    struct nvme_namespace namespaces[NVME_NAMESPACES_MAX];
    uint32_t namespace_count; // atomic: released after the namespace was filled in
    struct timer watchdog;
    struct work reset_work;
};

static inline enum nvme_state nvme_state(const struct nvme_controller *controller)
{
    return __atomic_load_n(&controller->state, __ATOMIC_ACQUIRE);
}

// ---- controller.c ----

// Brings a controller to life whose registers are mapped: queues, interrupts, facts. Also after a
// reset. Task context. 0 or -errno.
[[nodiscard]] int nvme_controller_start(struct nvme_controller *controller);
// Switches it off: it touches no memory any more. -EIO: it does not answer; then it is kept from
// memory by its PCI function.
int nvme_controller_stop(struct nvme_controller *controller);
// The machine ends: what is in its cache is written. Task context; waits for a bounded time.
void nvme_controller_shut_down(struct nvme_controller *controller);
// Identify: namespace `nsid`, structure `cns` into controller->identify_page.
[[nodiscard]] int nvme_identify(struct nvme_controller *controller, uint32_t nsid, uint32_t cns);
// Memory of the pairs, and back. Task context.
[[nodiscard]] int nvme_pair_create(
    struct nvme_controller *controller, struct nvme_pair *pair, uint16_t entries);
void nvme_pair_destroy(struct nvme_pair *pair);
// Tells the controller about new commands, and that completions were taken. Pair locked.
void nvme_pair_publish(struct nvme_pair *pair);
void nvme_pair_taken(struct nvme_pair *pair);
// Interrupt of the admin queue. Interrupts off.
void nvme_admin_interrupt(struct nvme_controller *controller);

// ---- recovery.c ----

void nvme_recovery_init(struct nvme_controller *controller);
// It works: commands may come, and are watched.
void nvme_recovery_start(struct nvme_controller *controller);
// The controller is to be reset: any context but NMI, also with pairs locked.
void nvme_controller_reset(struct nvme_controller *controller, const char *why);
// The controller is gone: everything fails. Task context.
void nvme_controller_kill(struct nvme_controller *controller, const char *why);

// ---- disk.c ----

// Makes block devices of the namespaces that there are. Task context.
[[nodiscard]] int nvme_namespaces_find(struct nvme_controller *controller);
// After a reset: are they what they were? 0 or -ENODEV.
[[nodiscard]] int nvme_namespaces_check(struct nvme_controller *controller);
// The pair may have completions. Interrupts off, nothing locked.
void nvme_pair_interrupt(struct nvme_pair *pair);
// What the controller had is to be given to it again, or fails where it has been tried often
// enough. The controller does not touch memory. Pair locked.
void nvme_pair_take_back(struct nvme_pair *pair);
