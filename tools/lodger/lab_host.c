// SPDX-License-Identifier: MIT
//
// A lab's host as a virtual machine, and the jobs for it (tools/lab/host/kvm-init takes them).
#include "tools/lodger/cpio.h"
#include "tools/lodger/device.h"
#include "tools/lodger/lab.h"
#include "kernel/core/debug_exit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOST_CPUS         4
#define HOST_MEMORY_BYTES (2048u << 20)
// What the host needs for itself and the guest's QEMU.
#define HOST_OWN_BYTES (512u << 20)
// The size of a job's disk, which a snapshot has to agree with. Most of it is a hole.
#define JOB_DISK_BYTES (1ull << 30)
// QEMU 7.2's emulation of SVM does not intercept XSETBV, so KVM does not know a guest's XCR0 and
// does not restore it.
#define GUEST_CPU_MODEL "host,-xsave"
// Where the host finds its ports by name (kvm-init).
#define PORTS "/run/ports"

static void add_option(struct strings *command, const char *option, const char *value)
{
    strings_add(command, option);
    strings_add(command, value);
}

// A virtio port of the host that is one of our streams. It exists even when nobody listens: all
// hosts have the same devices.
static void add_port(struct strings *command, const char *name, int fd)
{
    strings_add(command, "-chardev");
    if (fd >= 0) {
        strings_addf(command, "socket,id=%s,fd=%d", name, fd);
    } else {
        strings_addf(command, "null,id=%s", name);
    }
    strings_add(command, "-device");
    strings_addf(command, "virtserialport,chardev=%s,name=%s", name, name);
}

static void add_disk(struct strings *command, const char *name, const char *file)
{
    strings_add(command, "-drive");
    strings_addf(
        command, "if=none,id=%s,format=raw,readonly=on,file.locking=off,file=%s", name, file);
    strings_add(command, "-device");
    strings_addf(command, "virtio-blk-pci,drive=%s", name);
}

void lab_host_command(const struct lab_host *host, const struct machine_streams *streams,
    int snapshot, int job, struct strings *command)
{
    strings_add_words(command, "qemu-system-x86_64 -machine q35 -cpu max,+svm -nodefaults "
                               "-no-user-config -no-reboot -display none");
    // Booting patches code, which must not happen while others run it (kvm-init).
    strings_add(command, "-accel");
    strings_addf(command, "tcg,thread=%s", snapshot >= 0 ? "multi" : "single");
    strings_addf(command, "-smp");
    strings_addf(command, "%d", HOST_CPUS);
    strings_addf(command, "-m");
    strings_addf(command, "size=%uk", HOST_MEMORY_BYTES >> 10);
    // The host's own messages are what QEMU prints.
    add_option(command, "-chardev", "stdio,id=messages,signal=off");
    add_option(command, "-serial", "chardev:messages");
    add_option(command, "-device", "pvpanic");
    add_option(command, "-action", "panic=exit-failure");
    strings_add(command, "-device");
    strings_addf(command, "isa-debug-exit,iobase=%#x,iosize=1", DEBUG_EXIT_PORT_HOW);
    add_option(command, "-device", "virtio-serial-pci,max_ports=16");
    add_port(command, LAB_PORT_CONTROL, streams->control);
    add_port(command, "console", streams->console);
    add_port(command, "log", streams->log);
    add_port(command, "code", streams->code);
    add_port(command, "out", streams->out);
    add_port(command, "err", streams->err);
    char *root = xasprintf("%s/root.ext4", host->folder);
    add_disk(command, "root", root);
    free(root);
    char *job_file = xasprintf("/proc/self/fd/%d", job);
    add_disk(command, "job", job_file);
    free(job_file);
    strings_add(command, "-kernel");
    strings_addf(command, "%s/vmlinuz", host->folder);
    add_option(command, "-initrd", host->initramfs);
    add_option(command, "-append", "console=ttyS0 loglevel=3 panic=-1 tsc=reliable lab=kvm-init");
    if (snapshot >= 0) {
        strings_add(command, "-incoming");
        strings_addf(command, "fd:%d", snapshot);
    }
}

// ---- jobs ----

static void pack(struct cpio *job, const char *path, const char *source)
{
    int error = cpio_add_host_file(job, path, 0644, source);
    if (error != 0) {
        die("cannot read %s: %s", source, strerror(-error));
    }
}

// The same for the rules of disks that fail (faults=FILE), in lists of options.
static void pack_rules(struct cpio *job, struct strings *options)
{
    static const char mark[] = "faults=";
    struct strings lists = {};
    for (size_t i = 0; i < options->count; i++) {
        const char *list = options->items[i];
        const char *at = strstr(list, mark);
        if (at == NULL) {
            strings_add(&lists, list);
            continue;
        }
        const char *file = at + strlen(mark);
        size_t len = strcspn(file, ",");
        char *source = xstrndup(file, len);
        char *path = xasprintf("/rules%zu", i);
        pack(job, path, source);
        strings_addf(&lists, "%.*s%s%s%s", (int)(at - list), list, mark, path + 1, file + len);
        free(path);
        free(source);
    }
    *options = lists;
}

// Moves the machine's files into the job. Their names there replace those here.
static void pack_files(struct cpio *job, struct machine *machine)
{
    pack(job, "/kernel", machine->kernel);
    machine->kernel = "kernel";
    if (machine->vmm != NULL) {
        pack(job, "/vmm", machine->vmm);
        machine->vmm = "./vmm";
    }
    if (machine->initrd != NULL) {
        pack(job, "/initrd", machine->initrd);
        machine->initrd = "initrd";
    }
    struct strings disks = {};
    for (size_t i = 0; i < machine->disks.count; i++) {
        char *path = xasprintf("/disk%zu", i);
        pack(job, path, machine->disks.items[i]);
        strings_add(&disks, path + 1);
        free(path);
    }
    machine->disks = disks;
    pack_rules(job, &machine->disk_options);
}

// What QEMU runs in the host for the interface at the other end of the guest's (vhost-net).
static const char interface_up[] = "#!/bin/sh\n"
                                   "ip addr add 10.0.2.2/24 dev $1 && ip link set $1 up\n";

// What the host does for sockets of the guest: the shell's lines, allocated.
static char *pack_vsock(struct cpio *job, const struct machine *machine)
{
    bool has_vsock;
    const char *peer = machine_vsock_peer(machine, &has_vsock);
    if (peer != NULL) {
        pack(job, "/peer", peer);
    }
    return xasprintf("%s%s", has_vsock ? "modprobe vhost_vsock\n" : "",
        peer != NULL ? "chmod +x peer\n./peer </dev/null &\n" : "");
}

int lab_job_create(const struct machine *machine, bool with_program_streams, size_t *len_bytes)
{
    struct machine inner = *machine;
    inner.lab = NULL;
    inner.accel = ACCEL_KVM;
    if (inner.cpu_model == NULL) {
        inner.cpu_model = GUEST_CPU_MODEL;
    }
    struct cpio job = {};
    pack_files(&job, &inner);
    struct strings command = {};
    struct machine_streams streams = {
        .ports = PORTS, .out = with_program_streams ? 0 : -1, .err = with_program_streams ? 0 : -1};
    machine_command(&inner, &streams, &command);
    char *line = shell_quote_all(command.items);
    if (machine_has_vhost_net(machine)) {
        cpio_add_file(&job, "/ifup", 0755, interface_up, strlen(interface_up));
    }
    char *sockets = pack_vsock(&job, machine);
    char *script =
        xasprintf("%s%sexec %s%s\n", sockets, machine->vmm != NULL ? "chmod +x vmm\n" : "",
            machine->overcommitted ? "taskset 1 " : "", line);
    free(sockets);
    cpio_add_file(&job, "/run", 0755, script, strlen(script));
    cpio_finish(&job);
    strings_free(&command);
    strings_free(&inner.disks);
    free(line);
    free(script);

    *len_bytes = job.archive.len_bytes;
    int fd = memfd_create("lodger-lab-job", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, JOB_DISK_BYTES) != 0) {
        die("cannot make the lab's job: %s", strerror(errno));
    }
    for (size_t done = 0; done < *len_bytes;) {
        ssize_t written = write(fd, job.archive.data + done, *len_bytes - done);
        if (written < 0 && errno != EINTR) {
            die("cannot write the lab's job: %s", strerror(errno));
        }
        done += written > 0 ? (size_t)written : 0;
    }
    cpio_free(&job);
    return fd;
}

char *lab_refusal(const struct machine *machine)
{
    uint64_t most_bytes = HOST_MEMORY_BYTES - HOST_OWN_BYTES;
    if (machine->memory_bytes > most_bytes) {
        return xasprintf("the lab's host has %llu MiB for a guest, not %llu (--memory)",
            (unsigned long long)most_bytes >> 20, (unsigned long long)machine->memory_bytes >> 20);
    }
    if (machine->firmware == FIRMWARE_UEFI) {
        return xstrdup("the lab's guests are started by PVH, not by --firmware uefi");
    }
    if (machine->icount) {
        return xstrdup("--icount counts emulated instructions; a lab's guest runs on KVM");
    }
    return NULL;
}
