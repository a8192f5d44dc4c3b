// SPDX-License-Identifier: MIT
// What is counted for each real user id over all processes: tasks (RLIMIT_NPROC) and queued signals
// (RLIMIT_SIGPENDING). Found through credentials.
#include "kernel/process/process.h"
#include "mm/slab.h"

#define TABLE_SIZE 64

static struct spinlock accounts_lock = SPINLOCK_INIT("accounts_lock");
static struct hlist_head table[TABLE_SIZE]; // under accounts_lock; root is not in it

struct user_account user_account_root = {.refcount = 1};

struct user_account *user_account_get(uint32_t uid)
{
    if (uid == 0)
        return user_account_reference(&user_account_root);
    struct user_account *fresh = kzalloc(sizeof(*fresh));
    uint64_t flags = spin_lock_irqsave(&accounts_lock);
    struct user_account *account;
    hlist_for_each_entry (account, &table[uid % TABLE_SIZE], node) {
        if (account->uid == uid) {
            account->refcount++;
            goto out;
        }
    }
    account = fresh;
    fresh = NULL;
    if (account != NULL) {
        account->uid = uid;
        account->refcount = 1;
        hlist_add_head(&table[uid % TABLE_SIZE], &account->node);
    }
out:
    spin_unlock_irqrestore(&accounts_lock, flags);
    kfree(fresh);
    return account;
}

struct user_account *user_account_reference(struct user_account *account)
{
    if (account != &user_account_root) {
        uint64_t flags = spin_lock_irqsave(&accounts_lock);
        account->refcount++;
        spin_unlock_irqrestore(&accounts_lock, flags);
    }
    return account;
}

void user_account_put(struct user_account *account)
{
    if (account == &user_account_root)
        return;
    uint64_t flags = spin_lock_irqsave(&accounts_lock);
    bool last = --account->refcount == 0;
    if (last)
        hlist_remove(&account->node);
    spin_unlock_irqrestore(&accounts_lock, flags);
    if (last)
        kfree(account);
}
