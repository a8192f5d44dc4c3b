// SPDX-License-Identifier: MIT
//
// From a machine's devices to QEMU's options.
#include "tools/lodger/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A file name within one of QEMU's option lists, where a comma is written twice.
static char *option_file(const char *path)
{
    struct buffer escaped = {};
    for (; *path != '\0'; path++) {
        buffer_add(&escaped, *path == ',' ? ",," : path, *path == ',' ? 2 : 1);
    }
    buffer_add(&escaped, "", 1);
    return (char *)escaped.data;
}

// The value of option `name` in a list "a,b=c,d", or NULL: not there. Without a value "". Valid
// until the next call.
static const char *find_option(const char *list, const char *name)
{
    static char value[512];
    size_t name_len = strlen(name);
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        if (len >= name_len && strncmp(list, name, name_len) == 0 &&
            (len == name_len || list[name_len] == '=')) {
            size_t at = len == name_len ? len : name_len + 1;
            size_t value_len = len - at < sizeof(value) ? len - at : sizeof(value) - 1;
            memcpy(value, list + at, value_len);
            value[value_len] = '\0';
            return value;
        }
        list += len + (list[len] == ',');
    }
    return NULL;
}

// What an option may look like: with a value (and which), or alone.
struct option_rule {
    const char *name;
    bool (*is_valid)(const char *value); // NULL: no value
    const char *expected;
};

static bool is_format(const char *value)
{
    return strcmp(value, "raw") == 0 || strcmp(value, "qcow2") == 0;
}

static bool is_serial(const char *value)
{
    return value[0] != '\0' && strlen(value) <= 20;
}

static bool is_queue_count(const char *value)
{
    uint64_t number;
    return parse_number(value, 1, 256, &number);
}

static bool is_depth(const char *value)
{
    uint64_t number;
    return parse_number(value, 4, 1024, &number) && (number & (number - 1)) == 0;
}

static bool is_block_size(const char *value)
{
    uint64_t number;
    return parse_number(value, 512, 4096, &number) && (number & (number - 1)) == 0;
}

static bool is_latency(const char *value)
{
    uint64_t number;
    return parse_number(value, 1, 60000, &number);
}

static bool is_readable_file(const char *value)
{
    return access(value, R_OK) == 0;
}

static bool is_address(const char *value)
{
    return strlen(value) == 17 && strspn(value, "0123456789abcdefABCDEF:") == 17;
}

static const struct option_rule disk_rules[] = {
    {"format", is_format, "raw or qcow2"},
    {"readonly", NULL, NULL},
    {"serial", is_serial, "1 to 20 letters"},
    {"queues", is_queue_count, "a number from 1 to 256"},
    {"packed", NULL, NULL},
    {"iommu", NULL, NULL},
    {"block", is_block_size, "512, 1024, 2048 or 4096"},
    {"discard", NULL, NULL},
    {"depth", is_depth, "a power of two from 4 to 1024"},
    {"nvme", NULL, NULL},
    {"faults", is_readable_file, "a file that can be read"},
    {"latency", is_latency, "milliseconds from 1 to 60000"},
    {"vhost-user", NULL, NULL},
    {},
};

static const struct option_rule net_rules[] = {
    {"queues", is_queue_count, "a number from 1 to 256"},
    {"packed", NULL, NULL},
    {"mac", is_address, "an address such as 52:54:00:12:34:56"},
    {"vhost", NULL, NULL},
    {},
};

static const struct option_rule vsock_rules[] = {
    {"peer", is_readable_file, "a program that can be read"},
    {},
};

// Checks every option of a list. NULL, or what is wrong.
static char *check_options(const char *what, const char *list, const struct option_rule *rules)
{
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        char *option = xasprintf("%.*s", (int)len, list);
        const char *equals = strchr(option, '=');
        size_t name_len = equals != NULL ? (size_t)(equals - option) : len;
        const struct option_rule *rule = rules;
        while (rule->name != NULL &&
               (strlen(rule->name) != name_len || strncmp(rule->name, option, name_len) != 0)) {
            rule++;
        }
        char *reason = NULL;
        if (rule->name == NULL) {
            reason = xasprintf("%s: there is no option %s", what, option);
        } else if (rule->is_valid == NULL && equals != NULL) {
            reason = xasprintf("%s: %s has no value", what, rule->name);
        } else if (rule->is_valid != NULL && (equals == NULL || !rule->is_valid(equals + 1))) {
            reason = xasprintf("%s: %s: expected %s=%s", what, option, rule->name, rule->expected);
        }
        free(option);
        if (reason != NULL) {
            return reason;
        }
        list += len + (list[len] == ',');
    }
    return NULL;
}

char *machine_add_disk(struct machine *machine, const char *text)
{
    size_t len = strcspn(text, ",");
    const char *options = text[len] == ',' ? text + len + 1 : "";
    char *file = xasprintf("%.*s", (int)len, text);
    char *what = xasprintf("--disk %s", file);
    char *reason = len == 0 ? xstrdup("--disk: expected FILE[,OPTION...]")
                            : check_options(what, options, disk_rules);
    if (reason == NULL && find_option(options, "nvme") != NULL &&
        find_option(options, "packed") != NULL) {
        reason = xasprintf("%s: nvme and packed exclude each other", what);
    }
    if (reason == NULL) {
        strings_add(&machine->disks, file);
        strings_add(&machine->disk_options, options);
    }
    free(file);
    free(what);
    return reason;
}

char *machine_add_device(struct machine *machine, const char *text)
{
    static const char expected[] = "net, rng, balloon, console, monitor, vsock=CID or share=FOLDER";
    char *reason = NULL;
    uint64_t number;
    if (strcmp(text, "net") == 0 || strncmp(text, "net,", 4) == 0) {
        reason = check_options("--device net", text + 3 + (text[3] == ','), net_rules);
    } else if (strncmp(text, "vsock=", 6) == 0) {
        size_t len = strcspn(text + 6, ",");
        char *cid = xstrndup(text + 6, len);
        if (parse_number(cid, 3, UINT32_MAX - 1, &number)) {
            reason = check_options(
                "--device vsock", text + 6 + len + (text[6 + len] == ','), vsock_rules);
        } else {
            reason = xasprintf("--device %s: expected a number from 3 on", text);
        }
        free(cid);
    } else if (strncmp(text, "share=", 6) == 0) {
        struct stat status;
        if (stat(text + 6, &status) != 0 || !S_ISDIR(status.st_mode)) {
            reason = xasprintf("%s is no folder that can be shared", text + 6);
        }
    } else if (strcmp(text, "rng") != 0 && strcmp(text, "balloon") != 0 &&
               strcmp(text, "console") != 0 && strcmp(text, "monitor") != 0) {
        reason = xasprintf("--device %s: expected %s", text, expected);
    }
    if (reason == NULL) {
        strings_add(&machine->devices, text);
    }
    return reason;
}

static const char *options_of(const struct machine *machine, size_t disk)
{
    return disk < machine->disk_options.count ? machine->disk_options.items[disk] : "";
}

const char *machine_vsock_peer(const struct machine *machine, bool *has_vsock)
{
    const char *peer = NULL;
    *has_vsock = false;
    for (size_t i = 0; i < machine->devices.count; i++) {
        const char *device = machine->devices.items[i];
        if (strncmp(device, "vsock=", 6) == 0) {
            *has_vsock = true;
            peer = find_option(device, "peer");
        }
    }
    return peer;
}

bool machine_has_vhost_net(const struct machine *machine)
{
    for (size_t i = 0; i < machine->devices.count; i++) {
        const char *device = machine->devices.items[i];
        if (strncmp(device, "net,", 4) == 0 && find_option(device + 4, "vhost") != NULL) {
            return true;
        }
    }
    return false;
}

bool machine_needs_shared_memory(const struct machine *machine)
{
    for (size_t i = 0; i < machine->disks.count; i++) {
        if (find_option(options_of(machine, i), "vhost-user") != NULL) {
            return true;
        }
    }
    return false;
}

char *machine_check_devices(const struct machine *machine)
{
    for (size_t i = 0; i < machine->disks.count; i++) {
        const char *file = machine->disks.items[i];
        const char *options = options_of(machine, i);
        bool readonly = find_option(options, "readonly") != NULL;
        if (access(file, readonly ? R_OK : R_OK | W_OK) != 0) {
            return xasprintf("--disk %s: the file cannot be opened for reading%s (%s)", file,
                readonly ? "" : " and writing; with ,readonly it needs only to be readable",
                strerror(errno));
        }
        if (machine->type == MACHINE_MICROVM && find_option(options, "nvme") != NULL) {
            return xasprintf("--disk %s: nvme needs --machine q35 or pc: microvm has no PCI", file);
        }
        if (find_option(options, "vhost-user") != NULL &&
            (machine->type == MACHINE_MICROVM || machine->numa_nodes > 1)) {
            return xasprintf("--disk %s: vhost-user needs --machine q35 or pc, and no nodes", file);
        }
    }
    bool has_vsock;
    if (machine_vsock_peer(machine, &has_vsock) != NULL && machine->lab == NULL) {
        return xstrdup("--device vsock: peer=PROGRAM runs in the host of the KVM lab");
    }
    if (machine_has_vhost_net(machine) && machine->lab == NULL) {
        return xstrdup("--device net: vhost is for the host of the KVM lab");
    }
    return NULL;
}

// Appends ",NAME=VALUE" of what is not NULL.
static void add_property(struct buffer *text, const char *name, const char *value)
{
    if (value != NULL) {
        char *property = xasprintf(",%s=%s", name, value);
        buffer_add(text, property, strlen(property));
        free(property);
    }
}

static void add_flag(
    struct buffer *text, const char *list, const char *option, const char *property)
{
    if (find_option(list, option) != NULL) {
        buffer_add(text, property, strlen(property));
    }
}

static void add_text(struct buffer *text, const char *more)
{
    buffer_add(text, more, strlen(more));
}

static void finish(struct strings *command, const char *option, struct buffer *text)
{
    buffer_add(text, "", 1);
    strings_add(command, option);
    strings_add(command, (char *)text->data);
    buffer_free(text);
}

static const char *suffix(const struct machine *machine)
{
    return machine->type == MACHINE_MICROVM ? "device" : "pci";
}

// A disk of zeroes that takes its time, as large as the file.
static void add_slow_drive(
    const struct machine *machine, size_t i, const char *latency_ms, struct strings *command)
{
    struct stat status = {};
    (void)stat(machine->disks.items[i], &status);
    strings_add(command, "-drive");
    strings_addf(command,
        "if=none,id=disk%zu,driver=null-co,size=%jd,read-zeroes=on,latency-ns=%s000000", i,
        (intmax_t)status.st_size, latency_ms);
}

static void add_drive(const struct machine *machine, size_t i, struct strings *command)
{
    const char *options = options_of(machine, i);
    const char *latency_ms = find_option(options, "latency");
    if (latency_ms != NULL) {
        add_slow_drive(machine, i, latency_ms, command);
        return;
    }
    const char *format = find_option(options, "format");
    struct buffer text = {};
    char *start = xasprintf("if=none,id=disk%zu,format=%s", i, format != NULL ? format : "raw");
    add_text(&text, start);
    free(start);
    add_flag(&text, options, "readonly", ",readonly=on");
    add_flag(&text, options, "discard", ",discard=unmap,detect-zeroes=off");
    const char *faults = find_option(options, "faults");
    char *prefix = faults != NULL ? xasprintf("blkdebug:%s:", faults) : xstrdup("");
    char *path = xasprintf("%s%s", prefix, machine->disks.items[i]);
    char *file = option_file(path);
    add_property(&text, "file", file);
    free(file);
    free(path);
    free(prefix);
    finish(command, "-drive", &text);
}

// The other end of the socket is the disk; what the other options say is for it to know.
static void add_vhost_user_disk(const struct machine *machine, size_t i, struct strings *command)
{
    char *path = option_file(machine->disks.items[i]);
    strings_add(command, "-chardev");
    strings_addf(command, "socket,id=disk%zu,path=%s", i, path);
    free(path);
    struct buffer text = {};
    char *queues = xasprintf("%u", machine->cpus);
    char *start = xasprintf("vhost-user-blk-pci,chardev=disk%zu", i);
    const char *wanted = find_option(options_of(machine, i), "queues");
    add_text(&text, start);
    add_property(&text, "num-queues", wanted != NULL ? wanted : queues);
    free(start);
    free(queues);
    finish(command, "-device", &text);
}

static void add_disk(const struct machine *machine, size_t i, struct strings *command)
{
    if (find_option(options_of(machine, i), "vhost-user") != NULL) {
        add_vhost_user_disk(machine, i, command);
        return;
    }
    add_drive(machine, i, command);
    const char *options = options_of(machine, i);
    struct buffer text = {};
    bool nvme = find_option(options, "nvme") != NULL;
    char *start = nvme ? xasprintf("nvme,drive=disk%zu", i)
                       : xasprintf("virtio-blk-%s,drive=disk%zu", suffix(machine), i);
    add_text(&text, start);
    free(start);
    const char *serial = find_option(options, "serial");
    char *number = xasprintf("disk%zu", i);
    add_property(&text, "serial", serial != NULL ? serial : nvme ? number : NULL);
    free(number);
    char *queues = xasprintf("%u", machine->cpus);
    const char *given = find_option(options, "queues");
    if (nvme) {
        add_property(&text, "max_ioqpairs", given != NULL ? given : queues);
    } else {
        add_property(&text, "num-queues", given != NULL ? given : queues);
        add_property(&text, "queue-size", find_option(options, "depth"));
        add_flag(&text, options, "packed", ",packed=on");
        // A device that would also be a legacy one can't have it.
        add_flag(&text, options, "iommu",
            machine->type == MACHINE_MICROVM ? ",iommu_platform=on"
                                             : ",iommu_platform=on,disable-legacy=on");
    }
    free(queues);
    add_property(&text, "logical_block_size", find_option(options, "block"));
    add_property(&text, "physical_block_size", find_option(options, "block"));
    finish(command, "-device", &text);
}

static void add_net(
    const struct machine *machine, size_t i, const char *options, struct strings *command)
{
    strings_add(command, "-netdev");
    if (find_option(options, "vhost") != NULL) {
        // The host's kernel takes the frames, and QEMU no part (lab_host.c has the script).
        strings_addf(command, "tap,id=net%zu,script=./ifup,downscript=no,vhost=on", i);
    } else {
        // A hub nobody else is on: frames that are sent go nowhere but to QEMU's own network.
        strings_addf(command, "user,id=net%zu,restrict=on", i);
    }
    struct buffer text = {};
    char *start = xasprintf("virtio-net-%s,netdev=net%zu", suffix(machine), i);
    add_text(&text, start);
    free(start);
    add_property(&text, "mac", find_option(options, "mac"));
    add_flag(&text, options, "packed", ",packed=on");
    finish(command, "-device", &text);
}

// The monitor listens on a socket, to which the same QEMU connects the guest's port.
static void add_monitor(const struct machine *machine, size_t i, struct strings *command)
{
    char *path = xasprintf("%s/monitor%zu-%p", folder_temporary(), i, (const void *)machine);
    strings_add(command, "-chardev");
    strings_addf(command, "socket,id=monitor%zu,path=%s,server=on,wait=off", i, path);
    strings_add(command, "-mon");
    strings_addf(command, "chardev=monitor%zu,mode=control", i);
    strings_add(command, "-chardev");
    strings_addf(command, "socket,id=port%zu,path=%s", i, path);
    strings_add(command, "-device");
    strings_addf(command, "virtio-serial-%s,id=serial%zu", suffix(machine), i);
    strings_add(command, "-device");
    strings_addf(command, "virtserialport,chardev=port%zu,bus=serial%zu.0,name=monitor", i, i);
    free(path);
}

static void add_device(const struct machine *machine, size_t i, struct strings *command)
{
    const char *device = machine->devices.items[i];
    const char *type = suffix(machine);
    if (strncmp(device, "net", 3) == 0) {
        add_net(machine, i, device + 3 + (device[3] == ','), command);
    } else if (strcmp(device, "rng") == 0) {
        strings_add(command, "-object");
        strings_addf(command, "rng-random,id=rng%zu,filename=/dev/urandom", i);
        strings_add(command, "-device");
        strings_addf(command, "virtio-rng-%s,rng=rng%zu", type, i);
    } else if (strcmp(device, "balloon") == 0) {
        strings_add(command, "-device");
        strings_addf(
            command, "virtio-balloon-%s,id=balloon,deflate-on-oom=on,free-page-reporting=on", type);
    } else if (strcmp(device, "console") == 0) {
        strings_add(command, "-chardev");
        strings_addf(command, "null,id=hvc%zu", i);
        strings_add(command, "-device");
        strings_addf(command, "virtio-serial-%s,id=serial%zu", type, i);
        strings_add(command, "-device");
        strings_addf(command, "virtconsole,chardev=hvc%zu,bus=serial%zu.0", i, i);
    } else if (strcmp(device, "monitor") == 0) {
        add_monitor(machine, i, command);
    } else if (strncmp(device, "vsock=", 6) == 0) {
        strings_add(command, "-device");
        strings_addf(command, "vhost-vsock-%s,guest-cid=%.*s", type, (int)strcspn(device + 6, ","),
            device + 6);
    } else {
        char *folder = option_file(device + 6);
        size_t number = 0;
        for (size_t before = 0; before < i; before++) {
            number += strncmp(machine->devices.items[before], "share=", 6) == 0;
        }
        char *tag = number == 0 ? xstrdup("share") : xasprintf("share%zu", number);
        strings_add(command, "-fsdev");
        strings_addf(
            command, "local,id=%s,path=%s,security_model=none,multidevs=remap", tag, folder);
        strings_add(command, "-device");
        strings_addf(command, "virtio-9p-%s,fsdev=%s,mount_tag=%s", type, tag, tag);
        free(tag);
        free(folder);
    }
}

void machine_device_options(const struct machine *machine, struct strings *command)
{
    if (machine->type == MACHINE_MICROVM && machine->disks.count + machine->devices.count > 0) {
        strings_add(command, "-global");
        strings_add(command, "virtio-mmio.force-legacy=false");
    }
    for (size_t i = 0; i < machine->disks.count; i++) {
        add_disk(machine, i, command);
    }
    for (size_t i = 0; i < machine->devices.count; i++) {
        add_device(machine, i, command);
    }
}
