// SPDX-License-Identifier: MIT
//
// Xen's domain configurations, and the lab's machine.
#include "tools/lodger/lab_xen.h"
#include "kernel/core/debug_exit.h"
#include "tools/lodger/build.h"
#include "tools/lodger/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

// What dom0 gets: its initial file system holds the domain's files as well, twice while it boots.
#define DOM0_MEMORY_BYTES ((uint64_t)448 << 20)
// Xen itself and its tables, and what a domain needs besides its memory.
#define XEN_MEMORY_BYTES ((uint64_t)256 << 20)
// More CPUs than the host has make the emulation of their locks slow.
#define LAB_CPUS_MAX 4u
// QEMU 7.2 emulates SVM with gaps. With the first ones a dom0 dies at its first page fault; AVX
// instructions do not heed CR0.TS there, by which Xen switches registers between domains.
#define LAB_CPU_MODEL "max,+svm,-smap,-smep,-pku,-pks,-la57,-umip,-avx,-avx2,-f16c"

static const char *const recipe[] = {
    "tools/lab/xen/make_host.sh", "tools/lab/xen/dom0_init.sh", "tools/lab/xen/dom0_hotplug.sh"};

// ---- domain configurations ----

__attribute__((format(printf, 2, 3))) static void add_line(
    struct buffer *text, const char *format, ...)
{
    char *line;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&line, format, arguments) < 0) {
        die("out of memory");
    }
    va_end(arguments);
    buffer_add(text, line, strlen(line));
    buffer_add(text, "\n", 1);
    free(line);
}

// As a string of xl's configuration: quotes, backslashes and control characters as numbers, since a
// string ends at its first quote.
static char *quote(const char *text)
{
    char *quoted = xmalloc(4 * strlen(text) + 3);
    char *end = quoted;
    *end++ = '"';
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ') {
            end += sprintf(end, "\\x%02x", (unsigned char)*text);
        } else {
            *end++ = *text;
        }
    }
    *end++ = '"';
    *end = '\0';
    return quoted;
}

static void add_string(struct buffer *text, const char *key, const char *value)
{
    char *quoted = quote(value);
    add_line(text, "%s = %s", key, quoted);
    free(quoted);
}

// Disks are xvda, xvdb...; in the lab they are dom0's own vda, vdb...
static void add_disks(const struct machine *machine, bool lab, struct buffer *text)
{
    struct buffer list = {};
    for (size_t i = 0; i < machine->disks.count; i++) {
        char letter = (char)('a' + i);
        char *disk =
            lab ? xasprintf("format=raw,vdev=xvd%c,access=rw,target=/dev/vd%c", letter, letter)
                : xasprintf(
                      "format=raw,vdev=xvd%c,access=rw,target=%s", letter, machine->disks.items[i]);
        char *quoted = quote(disk);
        buffer_add(&list, i > 0 ? ", " : "", i > 0 ? 2 : 0);
        buffer_add(&list, quoted, strlen(quoted));
        free(quoted);
        free(disk);
    }
    if (list.len_bytes > 0) {
        add_line(text, "disk = [ %.*s ]", (int)list.len_bytes, (const char *)list.data);
    }
    buffer_free(&list);
}

void xen_domain_config(const struct machine *machine, const char *name, const char *kernel,
    const char *initrd, bool lab, struct buffer *text)
{
    add_string(text, "name", name);
    add_line(text, "type = \"pvh\"");
    add_string(text, "kernel", kernel);
    if (initrd != NULL) {
        add_string(text, "ramdisk", initrd);
    }
    char *line = machine_kernel_line(machine);
    if (line[0] != '\0') {
        add_string(text, "cmdline", line);
    }
    free(line);
    add_line(text, "memory = %llu", (unsigned long long)(machine->memory_bytes >> 20));
    add_line(text, "vcpus = %u", machine->cpus);
    add_disks(machine, lab, text);
    if (lab) {
        // Xen would emulate RDTSC where the processor does not promise an invariant TSC, and
        // fails to decode the instruction under QEMU's SVM.
        add_line(text, "tsc_mode = \"native\"");
        if (machine->overcommitted) {
            add_line(text, "cpus = \"1\"");
        }
        add_line(text, "vif = [ \"mac=52:54:00:ab:cd:ef,bridge=xenbr0\" ]");
    }
    const char *ends = lab ? "preserve" : "destroy";
    add_line(text, "on_poweroff = \"%s\"", ends);
    add_line(text, "on_reboot = \"%s\"", lab ? ends : "restart");
    add_line(text, "on_crash = \"%s\"", ends);
}

// ---- the host ----

static uint64_t recipe_hash(void)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (size_t i = 0; i < sizeof(recipe) / sizeof(recipe[0]); i++) {
        char *path = tree_path("%s", recipe[i]);
        struct buffer content = {};
        int error = file_read(path, &content);
        if (error != 0) {
            die("cannot read %s: %s", path, strerror(-error));
        }
        for (size_t byte = 0; byte < content.len_bytes; byte++) {
            hash = (hash ^ content.data[byte]) * 0x100000001b3u;
        }
        buffer_free(&content);
        free(path);
    }
    return hash;
}

// Makes the host unless it is there, and returns its folder. Its name has a hash of the recipe, so
// that another recipe makes another host; the folder appears complete or not at all.
static char *host_folder(void)
{
    char *cache = tree_path("out/cache");
    folder_create(cache);
    char *folder = xasprintf("%s/lab-xen-%016llx", cache, (unsigned long long)recipe_hash());
    char *lock_path = xasprintf("%s/.lab-xen.lock", cache);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        die("cannot lock %s: %s", lock_path, strerror(errno));
    }
    if (access(folder, F_OK) != 0) {
        char *script = tree_path("%s", recipe[0]);
        char *unfinished = xasprintf("%s/lab-xen.new", cache);
        build_run_with_progress("making the Xen lab's host", (char *[]){script, unfinished, NULL});
        if (rename(unfinished, folder) != 0) {
            die("cannot rename %s to %s: %s", unfinished, folder, strerror(errno));
        }
        free(script);
        free(unfinished);
    }
    close(lock);
    free(lock_path);
    free(cache);
    return folder;
}

// ---- the machine ----

static void pack_file(struct cpio *cpio, const char *path, const char *source)
{
    int error = cpio_add_host_file(cpio, path, 0755, source);
    if (error != 0) {
        die("cannot read %s: %s", source, strerror(-error));
    }
}

void xen_count_exits(struct machine *machine)
{
    machine->xen_hooks = tree_path("tools/lab/xen/exits_hooks.sh");
    machine->xen_counter = tree_path("out/host/guest/exits_count");
}

void xen_prepare_machine(struct machine *machine, const char *folder, const char *name)
{
    machine->xen_host = host_folder();
    struct cpio cpio = {};
    char *host_files = xasprintf("%s/initrd", machine->xen_host);
    int error = file_read(host_files, &cpio.archive);
    if (error != 0) {
        die("cannot read %s: %s", host_files, strerror(-error));
    }
    buffer_align(&cpio.archive, 4);
    pack_file(&cpio, "/lab/kernel", machine->kernel);
    if (machine->initrd != NULL) {
        pack_file(&cpio, "/lab/initrd", machine->initrd);
    }
    struct buffer config = {};
    xen_domain_config(machine, "lodger", "/lab/kernel",
        machine->initrd != NULL ? "/lab/initrd" : NULL, true, &config);
    cpio_add_file(&cpio, "/lab/domain.cfg", 0644, config.data, config.len_bytes);
    if (machine->xen_hooks != NULL) {
        pack_file(&cpio, "/lab/hooks", machine->xen_hooks);
    }
    if (machine->xen_counter != NULL) {
        pack_file(&cpio, "/lab/count", machine->xen_counter);
    }
    cpio_finish(&cpio);
    char *path = xasprintf("%s/%s-dom0.cpio", folder, name);
    file_write(path, cpio.archive.data, cpio.archive.len_bytes);
    machine->xen_initrd = path;
    buffer_free(&config);
    cpio_free(&cpio);
    free(host_files);
}

static void add_option(struct strings *command, const char *option, const char *value)
{
    strings_add(command, option);
    strings_add(command, value);
}

static void add_chardev(struct strings *command, const char *id, int fd)
{
    strings_add(command, "-chardev");
    if (fd >= 0) {
        strings_addf(command, "socket,id=%s,fd=%d", id, fd);
    } else {
        strings_addf(command, "null,id=%s", id);
    }
}

static void add_streams(const struct machine_streams *streams, struct strings *command)
{
    if (streams->by_hand) {
        add_option(command, "-chardev", "stdio,id=console,signal=off");
        add_option(command, "-chardev", "file,id=log,path=lodger.log");
    } else {
        add_chardev(command, "console", streams->console);
        add_chardev(command, "log", streams->log);
    }
    add_option(command, "-serial", "chardev:log");
    add_option(command, "-device", "virtio-serial-pci");
    add_option(command, "-device", "virtserialport,chardev=console,name=console");
    if (!streams->by_hand && streams->control >= 0) {
        add_chardev(command, "control", streams->control);
        add_option(command, "-device", "virtserialport,chardev=control,name=control");
    }
    add_chardev(command, "code", streams->by_hand ? -1 : streams->code);
    strings_add(command, "-device");
    strings_addf(command, "isa-debugcon,iobase=%#x,chardev=code", DEBUG_EXIT_PORT_CODE);
    strings_add(command, "-device");
    strings_addf(command, "isa-debug-exit,iobase=%#x,iosize=1", DEBUG_EXIT_PORT_HOW);
}

// Xen's own options. QEMU 7.2's SVM changes a processor's set of pending requests without the lock
// that devices take, so a timer's interrupt is lost now and then, and a sleeping processor does not
// notice before the next one comes. With the PIT as clock, one comes to CPU 0 a hundred times a
// second, and CPU 0 calls the others each second: that bounds the delay, which was half a minute or
// for ever (docs/decisions/0032-xen-lab-clock.md).
#define XEN_OPTIONS                                                                                \
    "console=com1 com1=115200,8n1 dom0_max_vcpus=1 loglvl=warning guest_loglvl=all "               \
    "tsc=stable:socket clocksource=pit spec-ctrl=eager-fpu"

void xen_machine_command(
    const struct machine *machine, const struct machine_streams *streams, struct strings *command)
{
    uint64_t dom0_mib = DOM0_MEMORY_BYTES >> 20;
    uint64_t memory_bytes = machine->memory_bytes + DOM0_MEMORY_BYTES + XEN_MEMORY_BYTES;
    unsigned cpus = machine->cpus < 2 ? 2 : machine->cpus;
    strings_add(command, "qemu-system-x86_64");
    add_option(command, "-machine", "q35");
    add_option(command, "-accel", machine->accel == ACCEL_KVM ? "kvm" : "tcg,thread=multi");
    add_option(command, "-cpu", machine->accel == ACCEL_KVM ? "host" : LAB_CPU_MODEL);
    strings_add(command, "-smp");
    strings_addf(command, "%u", cpus < LAB_CPUS_MAX ? cpus : LAB_CPUS_MAX);
    strings_add(command, "-m");
    strings_addf(command, "size=%lluk", (unsigned long long)(memory_bytes >> 10));
    strings_add_words(command, "-nodefaults -no-user-config -no-reboot -display none");
    add_streams(streams, command);
    for (size_t i = 0; i < machine->disks.count; i++) {
        strings_add(command, "-drive");
        strings_addf(command, "if=none,id=disk%zu,format=raw,file=%s", i, machine->disks.items[i]);
        strings_add(command, "-device");
        strings_addf(command, "virtio-blk-pci,drive=disk%zu", i);
    }
    strings_add(command, "-kernel");
    strings_addf(command, "%s/xen", machine->xen_host);
    strings_add(command, "-append");
    strings_addf(command, XEN_OPTIONS " dom0_mem=%lluM,max:%lluM", (unsigned long long)dom0_mib,
        (unsigned long long)dom0_mib);
    strings_add(command, "-initrd");
    strings_addf(command, "%s/vmlinux console=hvc0 quiet panic=-1 tsc=reliable,%s",
        machine->xen_host, machine->xen_initrd);
}
