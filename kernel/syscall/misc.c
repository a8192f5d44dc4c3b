// SPDX-License-Identifier: MIT
// The system itself: its name, its state, random numbers, the log, power.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/shutdown.h"
#include "kernel/core/log.h"
#include "kernel/core/random.h"
#include "kernel/core/time.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include "kernel/syscall/system_names.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/pv.h"
#include "sched/sched.h"
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/personality.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/sysinfo.h>

// ---- uname -------------------------------------------------------------------------------------

static struct spinlock names_lock = SPINLOCK_INIT("names_lock");
static char system_names[2][__NEW_UTS_LEN + 1] = {
    [SYSTEM_NAME_HOST] = "lodger", [SYSTEM_NAME_DOMAIN] = "(none)"}; // under names_lock

void system_name_get(enum system_name which, char to[__NEW_UTS_LEN + 1])
{
    spin_lock(&names_lock);
    memcpy(to, system_names[which], __NEW_UTS_LEN + 1);
    spin_unlock(&names_lock);
}

void system_name_set(enum system_name which, const char *name, size_t len)
{
    assert(len <= __NEW_UTS_LEN);
    spin_lock(&names_lock);
    memset(system_names[which], 0, __NEW_UTS_LEN + 1);
    memcpy(system_names[which], name, len);
    spin_unlock(&names_lock);
}

SYSCALL1(uname, uintptr_t, user)
{
    struct new_utsname names = {.sysname = "Linux",
        .release = KERNEL_RELEASE,
        .version = KERNEL_VERSION,
        .machine = "x86_64"};
    system_name_get(SYSTEM_NAME_HOST, names.nodename);
    system_name_get(SYSTEM_NAME_DOMAIN, names.domainname);
    if ((task_current()->personality & PER_MASK) == PER_LINUX32)
        strlcpy(names.machine, "i686", sizeof(names.machine));
    if ((task_current()->personality & UNAME26) != 0)
        strlcpy(names.release, "2.6.61-lodger", sizeof(names.release));
    return copy_to_user(user, &names, sizeof(names));
}

static int64_t set_name(enum system_name which, uintptr_t user, int len)
{
    char fresh[__NEW_UTS_LEN + 1] = {};
    if (!capable(CAP_SYS_ADMIN))
        return -EPERM;
    if (len < 0 || len > __NEW_UTS_LEN)
        return -EINVAL;
    if (copy_from_user(fresh, user, (size_t)len) != 0)
        return -EFAULT;
    system_name_set(which, fresh, (size_t)len);
    return 0;
}

SYSCALL2(sethostname, uintptr_t, user, int, len)
{
    return set_name(SYSTEM_NAME_HOST, user, len);
}

SYSCALL2(setdomainname, uintptr_t, user, int, len)
{
    return set_name(SYSTEM_NAME_DOMAIN, user, len);
}

// ---- sysinfo, getcpu ---------------------------------------------------------------------------

static uint16_t count_tasks(void)
{
    uint32_t count = 0;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process *process;
    list_for_each_entry (process, &process_list, process_node) {
        count += MAX(process->thread_count, UINT32_C(1));
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
    return (uint16_t)MIN(count, UINT32_C(65535));
}

SYSCALL1(sysinfo, uintptr_t, user)
{
    struct page_statistics pages;
    struct sched_statistics sched;
    page_statistics_read(&pages);
    sched_statistics_read(UINT32_MAX, &sched);
    struct sysinfo info = {
        .uptime = (long)(time_monotonic_ns() / NS_PER_SECOND),
        .loads = {sched.load_average[0], sched.load_average[1], sched.load_average[2]},
        .totalram = pages.total_pages * PAGE_SIZE,
        .freeram = pages.free_pages * PAGE_SIZE,
        .sharedram = pages.shared_pages * PAGE_SIZE,
        .procs = count_tasks(),
        .mem_unit = 1,
    };
    return copy_to_user(user, &info, sizeof(info));
}

// ---- random numbers ----------------------------------------------------------------------------

SYSCALL3(getrandom, uintptr_t, user, size_t, len, uint32_t, flags)
{
    uint8_t buffer[256];
    if ((flags & ~(uint32_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) != 0 ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
        return -EINVAL;
    len = MIN(len, (size_t)INT32_MAX);
    size_t done = 0;
    while (done < len) {
        size_t part = MIN(len - done, sizeof(buffer));
        random_fill(buffer, part);
        if (copy_to_user(user + done, buffer, part) != 0)
            return done != 0 ? (int64_t)done : -EFAULT;
        done += part;
        if (done < len && thread_signal_pending(thread_current()))
            break;
    }
    memset(buffer, 0, sizeof(buffer));
    return (int64_t)done;
}

// ---- the log -----------------------------------------------------------------------------------

// Actions of syslog(2), which no UAPI header names.
enum {
    SYSLOG_CLOSE = 0,
    SYSLOG_OPEN = 1,
    SYSLOG_READ = 2,
    SYSLOG_READ_ALL = 3,
    SYSLOG_READ_CLEAR = 4,
    SYSLOG_CLEAR = 5,
    SYSLOG_CONSOLE_OFF = 6,
    SYSLOG_CONSOLE_ON = 7,
    SYSLOG_CONSOLE_LEVEL = 8,
    SYSLOG_SIZE_UNREAD = 9,
    SYSLOG_SIZE_BUFFER = 10,
};

#define SYSLOG_READ_MAX 65536

static int64_t log_to_user(uintptr_t user, int len, bool clear)
{
    if (user == 0 || len < 0)
        return -EINVAL;
    size_t size = MIN((size_t)len, (size_t)SYSLOG_READ_MAX);
    if (size == 0)
        return 0;
    char *text = kmalloc(size, 0);
    if (text == NULL)
        return -ENOMEM;
    int64_t got = (int64_t)log_read(text, size, clear);
    if (copy_to_user(user, text, (size_t)got) != 0)
        got = -EFAULT;
    kfree(text);
    return got;
}

static int saved_console_level =
    -1; // before SYSLOG_CONSOLE_OFF; racy: only the privileged write it

SYSCALL3(syslog, int, action, uintptr_t, user, int, len)
{
    if (action != SYSLOG_READ_ALL && action != SYSLOG_SIZE_BUFFER && !capable(CAP_SYSLOG) &&
        !capable(CAP_SYS_ADMIN))
        return -EPERM;
    switch (action) {
    case SYSLOG_CLOSE:
    case SYSLOG_OPEN:
        return 0;
    case SYSLOG_READ:
    case SYSLOG_READ_ALL:
        return log_to_user(user, len, false);
    case SYSLOG_READ_CLEAR:
        return log_to_user(user, len, true);
    case SYSLOG_CLEAR: {
        char none;
        (void)log_read(&none, 0, true);
        return 0;
    }
    case SYSLOG_CONSOLE_OFF:
        if (saved_console_level < 0)
            saved_console_level = log_console_level;
        log_console_level = LOG_EMERGENCY;
        return 0;
    case SYSLOG_CONSOLE_ON:
        if (saved_console_level >= 0)
            log_console_level = saved_console_level;
        saved_console_level = -1;
        return 0;
    case SYSLOG_CONSOLE_LEVEL:
        if (len < 1 || len > 8)
            return -EINVAL;
        log_console_level = len - 1;
        saved_console_level = -1;
        return 0;
    case SYSLOG_SIZE_UNREAD:
    case SYSLOG_SIZE_BUFFER:
        return (int64_t)log_size();
    default:
        return -EINVAL;
    }
}

// ---- power -------------------------------------------------------------------------------------

SYSCALL4(reboot, uint32_t, magic1, uint32_t, magic2, uint32_t, command, uintptr_t, argument)
{
    (void)argument;
    if (!capable(CAP_SYS_BOOT))
        return -EPERM;
    if (magic1 != LINUX_REBOOT_MAGIC1 ||
        (magic2 != LINUX_REBOOT_MAGIC2 && magic2 != LINUX_REBOOT_MAGIC2A &&
            magic2 != LINUX_REBOOT_MAGIC2B && magic2 != LINUX_REBOOT_MAGIC2C))
        return -EINVAL;
    switch (command) {
    case LINUX_REBOOT_CMD_RESTART:
    case LINUX_REBOOT_CMD_RESTART2:
        log_info("reboot: restart");
        shutdown_run();
        pv_shutdown(PV_REBOOT, 0);
    case LINUX_REBOOT_CMD_HALT:
    case LINUX_REBOOT_CMD_POWER_OFF:
        log_info("reboot: power off");
        shutdown_run();
        pv_shutdown(PV_POWER_OFF, 0);
    case LINUX_REBOOT_CMD_CAD_ON:
    case LINUX_REBOOT_CMD_CAD_OFF:
        return 0; // there is no keyboard whose Ctrl-Alt-Del could be switched
    default:
        return -EINVAL;
    }
}

// ---- the processor and what is remembered of a task
// ----------------------------------------------

SYSCALL1(personality, uint32_t, fresh)
{
    struct task *task = task_current();
    uint32_t old = task->personality;
    if (fresh != 0xffffffff)
        task->personality = fresh;
    return old;
}

SYSCALL2(arch_prctl, int, operation, uintptr_t, argument)
{
    switch (operation) {
    case ARCH_SET_FS:
        if (argument >= USER_END)
            return -EPERM;
        arch_set_fs_base(argument);
        return 0;
    case ARCH_SET_GS:
        if (argument >= USER_END)
            return -EPERM;
        arch_set_gs_base(argument);
        return 0;
    case ARCH_GET_FS:
        return user_put_u64(argument, arch_get_fs_base());
    case ARCH_GET_GS:
        return user_put_u64(argument, arch_get_gs_base());
    case ARCH_GET_CPUID:
        return 1; // CPUID does not fault
    case ARCH_SET_CPUID:
        return -ENODEV;
    default:
        return -EINVAL;
    }
}
