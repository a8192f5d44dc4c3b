// SPDX-License-Identifier: MIT
//
// From a machine's description to the QEMU command.
#include "tools/lodger/machine.h"
#include "kernel/core/debug_exit.h"
#include "kernel/core/host_stream.h"
#include "tools/lodger/device.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/lab_xen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMA_NODES_MAX 8
#define OVMF_CODE      "/usr/share/OVMF/OVMF_CODE_4M.fd"

static const char *const type_names[] = {[MACHINE_MICROVM] = "microvm",
    [MACHINE_Q35] = "q35",
    [MACHINE_PC] = "pc",
    [MACHINE_XEN] = "xen"};
static const char *const firmware_names[] = {[FIRMWARE_PVH] = "pvh", [FIRMWARE_UEFI] = "uefi"};
static const char *const accel_names[] = {
    [ACCEL_AUTO] = "auto", [ACCEL_KVM] = "kvm", [ACCEL_TCG] = "tcg", [ACCEL_LAB] = "lab"};
static const char *const variant_names[] = {"release", "debug", "kasan"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// The index of `text` in `names`, or -1.
static int find_name(const char *const *names, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool machine_parse_type(const char *text, enum machine_type *type)
{
    int index = find_name(type_names, COUNT(type_names), text);
    *type = index >= 0 ? (enum machine_type)index : *type;
    return index >= 0;
}

bool machine_parse_firmware(const char *text, enum machine_firmware *firmware)
{
    int index = find_name(firmware_names, COUNT(firmware_names), text);
    *firmware = index >= 0 ? (enum machine_firmware)index : *firmware;
    return index >= 0;
}

bool machine_parse_accel(const char *text, enum machine_accel *accel)
{
    int index = find_name(accel_names, COUNT(accel_names), text);
    *accel = index >= 0 ? (enum machine_accel)index : *accel;
    return index >= 0;
}

bool machine_parse_variant(const char *text, const char **variant)
{
    int index = find_name(variant_names, COUNT(variant_names), text);
    *variant = index >= 0 ? variant_names[index] : *variant;
    return index >= 0;
}

const char *machine_type_name(enum machine_type type)
{
    return type_names[type];
}

const char *machine_firmware_name(enum machine_firmware firmware)
{
    return firmware_names[firmware];
}

void machine_init(struct machine *machine)
{
    *machine = (struct machine){
        .type = MACHINE_MICROVM,
        .firmware = FIRMWARE_PVH,
        .accel = ACCEL_AUTO,
        .cpus = 2,
        .memory_bytes = 256u << 20,
        .variant = "release",
    };
}

bool machine_set_word(struct machine *machine, const char *word)
{
    uint64_t number;
    if (machine_parse_type(word, &machine->type) ||
        machine_parse_firmware(word, &machine->firmware) ||
        machine_parse_variant(word, &machine->variant)) {
        return true;
    }
    if (strcmp(word, "uefi-disk") == 0) {
        machine->firmware = FIRMWARE_UEFI;
        machine->boot_from_disk = true;
        return true;
    }
    if (strcmp(word, "lab") == 0) {
        machine->accel = ACCEL_LAB;
        return true;
    }
    if (strcmp(word, "bzimage") == 0) {
        machine->linux_protocol = true;
        return true;
    }
    if (strncmp(word, "cpus=", 5) == 0 && parse_number(word + 5, 1, 256, &number)) {
        machine->cpus = (unsigned)number;
        return true;
    }
    if (strncmp(word, "numa=", 5) == 0 && parse_number(word + 5, 1, NUMA_NODES_MAX, &number)) {
        machine->numa_nodes = (unsigned)number;
        return true;
    }
    if (strncmp(word, "memory=", 7) == 0) {
        return parse_size(word + 7, &machine->memory_bytes);
    }
    if (strncmp(word, "disk=", 5) == 0) {
        strings_add(&machine->new_disks, word + 5);
        return true;
    }
    if (strncmp(word, "device=", 7) == 0) {
        char *reason = machine_add_device(machine, word + 7);
        bool known = reason == NULL;
        free(reason);
        return known;
    }
    if (strncmp(word, "append=", 7) == 0) {
        strings_add(&machine->append, word + 7);
        return true;
    }
    return false;
}

bool machine_host_virtualises(void)
{
    char *text = file_read_text("/proc/cpuinfo");
    bool found = false;
    char *rest = text;
    char *line;
    while (text != NULL && !found && (line = strsep(&rest, "\n")) != NULL) {
        if (strncmp(line, "flags", 5) == 0) {
            struct strings flags = {};
            strings_add_words(&flags, line);
            found = strings_contain(&flags, "vmx") || strings_contain(&flags, "svm");
            strings_free(&flags);
        }
    }
    free(text);
    return found;
}

char *machine_settle(struct machine *machine)
{
    bool kvm_usable = access("/dev/kvm", R_OK | W_OK) == 0;
    if (machine->vmm != NULL && (machine->accel != ACCEL_LAB || machine->type == MACHINE_XEN)) {
        return xstrdup("--vmm takes the place of the KVM lab's QEMU: ./lodger lab kvm --vmm ...");
    }
    machine->lab = NULL;
    if (machine->accel == ACCEL_LAB && !(kvm_usable && machine_host_virtualises())) {
        char *reason = lab_refusal(machine);
        if (reason != NULL) {
            return reason;
        }
        machine->lab = lab_kvm_host();
        return NULL;
    }
    machine->accel = machine->accel == ACCEL_LAB ? ACCEL_KVM : machine->accel;
    if (machine->accel == ACCEL_AUTO) {
        bool kvm = kvm_usable && machine_host_virtualises() && !machine->icount;
        machine->accel = kvm ? ACCEL_KVM : ACCEL_TCG;
    }
    if (machine->accel == ACCEL_KVM && !kvm_usable) {
        return xstrdup("--accel kvm: /dev/kvm does not exist or may not be used by this user");
    }
    if (machine->accel == ACCEL_KVM && machine->icount) {
        return xstrdup("--icount counts emulated instructions and needs --accel tcg");
    }
    if (machine->type == MACHINE_XEN && (machine->firmware == FIRMWARE_UEFI || machine->icount)) {
        return xstrdup("the Xen lab starts domains directly (PVH) and doesn't count instructions");
    }
    if (machine->numa_nodes > 1 &&
        (machine->type == MACHINE_MICROVM || machine->type == MACHINE_XEN)) {
        return xstrdup("memory nodes need a machine that has them: q35 or pc");
    }
    if (machine->firmware == FIRMWARE_UEFI && machine->type == MACHINE_MICROVM) {
        return xstrdup("--firmware uefi needs --machine q35 or pc: OVMF does not run on microvm");
    }
    if (machine->firmware == FIRMWARE_UEFI && access(OVMF_CODE, R_OK) != 0) {
        return xstrdup("--firmware uefi needs " OVMF_CODE " (package ovmf)");
    }
    return machine_check_devices(machine);
}

char *machine_kernel_line(const struct machine *machine)
{
    struct buffer line = {};
    for (size_t i = 0; i < machine->append.count; i++) {
        if (i > 0) {
            buffer_add(&line, " ", 1);
        }
        buffer_add(&line, machine->append.items[i], strlen(machine->append.items[i]));
    }
    buffer_add(&line, "", 1);
    return (char *)line.data;
}

static void add_option(struct strings *command, const char *option, const char *value)
{
    strings_add(command, option);
    strings_add(command, value);
}

static void add_chardev(
    struct strings *command, const struct machine_streams *streams, const char *id, int fd)
{
    strings_add(command, "-chardev");
    if (streams->ports != NULL && fd >= 0) {
        strings_addf(command, "pipe,id=%s,path=%s/%s", id, streams->ports, id);
    } else if (fd >= 0) {
        strings_addf(command, "socket,id=%s,fd=%d", id, fd);
    } else {
        strings_addf(command, "null,id=%s", id);
    }
}

// One of the program's streams: a descriptor, or, for a person, a file.
static void add_stream(struct strings *command, const struct machine_streams *streams,
    const char *id, const char *path, int fd)
{
    if (path != NULL) {
        strings_add(command, "-chardev");
        strings_addf(command, "file,id=%s,path=%s", id, path);
    } else {
        add_chardev(command, streams, id, fd);
    }
}

// Console, kernel log, exit code and the program's streams (kernel/core/debug_exit.h,
// host_stream.h).
static void add_streams(struct strings *command, const struct machine_streams *streams)
{
    if (streams->by_hand) {
        add_option(command, "-serial", "mon:stdio");
        add_option(command, "-debugcon", "file:lodger.log");
    } else {
        add_chardev(command, streams, "console", streams->console);
        add_option(command, "-serial", "chardev:console");
        add_chardev(command, streams, "log", streams->log);
        add_option(command, "-device", "isa-debugcon,iobase=0xe9,chardev=log");
    }
    add_chardev(command, streams, "code", streams->by_hand ? -1 : streams->code);
    strings_add(command, "-device");
    strings_addf(command, "isa-debugcon,iobase=%#x,chardev=code", DEBUG_EXIT_PORT_CODE);
    strings_add(command, "-device");
    strings_addf(command, "isa-debug-exit,iobase=%#x,iosize=1", DEBUG_EXIT_PORT_HOW);
    if (streams->out >= 0) {
        add_stream(command, streams, "out", streams->by_hand ? "/dev/stdout" : NULL, streams->out);
        strings_add(command, "-device");
        strings_addf(command, "isa-debugcon,iobase=%#x,chardev=out", HOST_STREAM_PORT_OUT);
        add_stream(command, streams, "err", streams->by_hand ? "/dev/stderr" : NULL, streams->err);
        strings_add(command, "-device");
        strings_addf(command, "isa-debugcon,iobase=%#x,chardev=err", HOST_STREAM_PORT_ERR);
    }
}

static void add_firmware_and_kernel(const struct machine *machine, struct strings *command)
{
    if (machine->firmware == FIRMWARE_UEFI) {
        add_option(command, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" OVMF_CODE);
        strings_add(command, "-drive");
        strings_addf(command, "if=pflash,unit=1,format=raw,file=%s", machine->uefi_vars);
    }
    if (machine->efi_disk != NULL) {
        strings_add(command, "-drive");
        strings_addf(command, "if=none,id=efi,format=raw,file=%s", machine->efi_disk);
        add_option(command, "-device", "virtio-blk-pci,drive=efi,bootindex=0");
        return;
    }
    add_option(command, "-kernel", machine->kernel);
    if (machine->initrd != NULL) {
        add_option(command, "-initrd", machine->initrd);
    }
    char *line = machine_kernel_line(machine);
    if (line[0] != '\0') {
        add_option(command, "-append", line);
    }
    free(line);
}

// CPU i is on node i % nodes: neighbouring numbers on different nodes show more than blocks do.
// Distances are none that a kernel assumes without a table.
static void add_numa_nodes(const struct machine *machine, struct strings *command)
{
    const unsigned nodes = machine->numa_nodes;
    const unsigned long long mebibytes = (machine->memory_bytes >> 20) / nodes;
    const unsigned long long rest = (machine->memory_bytes >> 20) - mebibytes * (nodes - 1);
    for (unsigned node = 0; node < nodes; node++) {
        strings_add(command, "-object");
        strings_addf(command, "memory-backend-ram,id=node%u,size=%lluM", node,
            node == nodes - 1 ? rest : mebibytes);
        strings_add(command, "-numa");
        strings_addf(command, "node,nodeid=%u,memdev=node%u", node, node);
    }
    for (unsigned cpu = 0; cpu < machine->cpus; cpu++) {
        strings_add(command, "-numa");
        strings_addf(
            command, "cpu,node-id=%u,socket-id=%u,core-id=0,thread-id=0", cpu % nodes, cpu);
    }
    for (unsigned from = 0; from < nodes; from++) {
        for (unsigned to = from + 1; to < nodes; to++) {
            strings_add(command, "-numa");
            strings_addf(command, "dist,src=%u,dst=%u,val=%u", from, to, 11 + 10 * (to - from));
        }
    }
}

static void add_vmm_stream(
    struct strings *command, const struct machine_streams *streams, const char *name, int fd)
{
    if (fd < 0) {
        strings_add(command, "/dev/null");
    } else if (streams->ports != NULL) {
        strings_addf(command, "%s/%s", streams->ports, name);
    } else {
        strings_addf(command, "%d", fd);
    }
}

static void vmm_command(
    const struct machine *machine, const struct machine_streams *streams, struct strings *command)
{
    char *line = machine_kernel_line(machine);
    strings_add(command, machine->vmm);
    strings_add(command, machine->kernel);
    strings_add(command, machine->initrd);
    strings_add(command, line);
    free(line);
    add_vmm_stream(command, streams, "console", streams->console);
    add_vmm_stream(command, streams, "log", streams->log);
    add_vmm_stream(command, streams, "code", streams->code);
    add_vmm_stream(command, streams, "out", streams->out);
    add_vmm_stream(command, streams, "err", streams->err);
}

void machine_command(
    const struct machine *machine, const struct machine_streams *streams, struct strings *command)
{
    if (machine->type == MACHINE_XEN) {
        xen_machine_command(machine, streams, command);
        return;
    }
    if (machine->vmm != NULL) {
        vmm_command(machine, streams, command);
        return;
    }
    strings_add(command, "qemu-system-x86_64");
    // A guest with a name can be looked into: threads say which vCPU they are, and memory is a file
    // that a collector maps. Under KVM it is not: shared memory would get no huge pages.
    bool shared =
        (machine->name != NULL && machine->accel == ACCEL_TCG && machine->numa_nodes <= 1) ||
        machine_needs_shared_memory(machine);
    strings_add(command, "-machine");
    strings_addf(command, "%s%s", type_names[machine->type], shared ? ",memory-backend=ram" : "");
    if (machine->name != NULL) {
        strings_add(command, "-name");
        strings_addf(command, "guest=%s,debug-threads=on", machine->name);
    }
    if (shared) {
        strings_add(command, "-object");
        strings_addf(command, "memory-backend-memfd,id=ram,share=on,size=%lluk",
            (unsigned long long)(machine->memory_bytes >> 10));
    }
    if (machine->qmp != NULL) {
        strings_add(command, "-qmp");
        strings_addf(command, "unix:%s,server=on,wait=off", machine->qmp);
    }
    strings_add(command, "-accel");
    if (machine->accel != ACCEL_TCG) {
        strings_add(command, "kvm");
    } else {
        strings_addf(command, "tcg,thread=%s", machine->icount ? "single" : "multi");
    }
    const char *model = machine->accel != ACCEL_TCG ? "host" : "max";
    add_option(command, "-cpu", machine->cpu_model != NULL ? machine->cpu_model : model);
    strings_add(command, "-smp");
    strings_addf(
        command, machine->numa_nodes > 1 ? "%u,sockets=%u" : "%u", machine->cpus, machine->cpus);
    strings_add(command, "-m");
    strings_addf(command, "size=%lluk", (unsigned long long)(machine->memory_bytes >> 10));
    if (machine->numa_nodes > 1) {
        add_numa_nodes(machine, command);
    }
    if (machine->icount) {
        add_option(
            command, "-icount", machine->time_passes ? "shift=0,sleep=on" : "shift=0,sleep=off");
    }
    if (machine->repeatable) {
        add_option(command, "-seed", "1");
        add_option(command, "-rtc", "base=2026-01-01,clock=vm");
    }
    strings_add(command, "-nodefaults");
    strings_add(command, "-no-user-config");
    strings_add(command, "-no-reboot");
    add_option(command, "-display", "none");
    if (machine->trace_file != NULL) {
        add_option(command, "-trace", "memory_region_ops_*");
        add_option(command, "-D", machine->trace_file);
    }
    add_streams(command, streams);
    machine_device_options(machine, command);
    add_firmware_and_kernel(machine, command);
}
