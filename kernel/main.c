// SPDX-License-Identifier: MIT
// Start-up in order. The processor code has put the loader's information into boot_info and calls
// kernel_main() on the boot stack, with interrupts off.

#include "kernel/arch/x86/arch.h"
#include "kernel/block/file/file.h"
#include "kernel/block/ram_disk.h"
#include "kernel/core/init.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/core/work.h"
#include "kernel/fs/9p/9p.h"
#include "kernel/fs/ext4/ext4.h"
#include "kernel/fs/vfs.h"
#include "kernel/ipc/epoll.h"
#include "kernel/ipc/pipe.h"
#include "kernel/ipc/unix_socket.h"
#include "kernel/net/socket/socket.h"
#include "kernel/net/vsock/vsock.h"
#include "kernel/nvme/nvme.h"
#include "kernel/pci/pci.h"
#include "kernel/process/profile.h"
#include "kernel/process/task.h"
#include "kernel/syscall/system_names.h"
#include "kernel/tty/tty.h"
#include "mm/address_space.h"
#include "mm/page.h"
#include "perf/event/open.h"
#include "perf/perf.h"
#include "pv/pv.h"
#include "sched/sched.h"
#include "virtio/virtio.h"

static void timer_vector(void *context, struct trap_frame *frame)
{
    timer_interrupt(frame);
    perf_poll();
}

static void unpack_initial_files(void)
{
    if (boot_info.initrd_len_bytes == 0)
        return;
    int error = vfs_unpack_initial(phys_to_virt(boot_info.initrd_phys), boot_info.initrd_len_bytes);
    if (error != 0)
        panic("the initial file system can't be unpacked (error %d)", -error);
}

// Everything that may sleep: on a thread of its own.
static void start_programs(void *argument)
{
    work_start();
    mm_start();
    perf_start();
    vfs_init();
    p9_init();
    pipe_init();
    epoll_init();
    block_file_init();
    ext4_init();
    ram_disk_init();
    perf_event_register();
    if (syscall_proc_register() != 0)
        panic("no memory for the files of /proc");
    pv_start_front_ends();
    if (tty_init() != 0)
        panic("no memory for the terminals");
    socket_start();
    unix_start();
    vsock_start();
    pci_init();
    virtio_init();
    nvme_init();
    unpack_initial_files();
    time_start();
    int error = process_start_init();
    if (error != 0)
        panic("no program to start (error %d)", -error);
}

void kernel_main(void)
{
    arch_early_init();
    option_parse(boot_info.command_line);
    pv_init();
    mm_init_early();
    mm_init();
    sched_init();
    arch_init();
    pv_init_late();
    irq_vector_set(VECTOR_TIMER, timer_vector, NULL, "timer");
    time_init();
    perf_init();
    profile_init();
    arch_irq_enable();
    arch_smp_start();
    if (kthread_create(NULL, "start", start_programs, NULL) != 0)
        panic("no memory for the first thread");
    sched_idle_loop();
}
