// SPDX-License-Identifier: MIT
//
// lodger run: boots a guest, or a program of the host in a guest, and passes its exit code on.
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"
#include "tools/lodger/description.h"
#include "tools/lodger/device.h"
#include "tools/lodger/efi_image.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/lab_xen.h"
#include "tools/lodger/program.h"
#include "tools/lodger/report.h"
#include "tools/lodger/terminal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger run [OPTIONS] [GUEST]\n"
    "       ./lodger run [OPTIONS] -- PROGRAM [ARGUMENTS]\n"
    "\n"
    "Boots a guest of guests/ (default: busybox) with its console on the terminal, or a Linux "
    "program\n"
    "of this host, put into a guest with its libraries, with standard input, output and exit code\n"
    "passed through. Ctrl-A X leaves the guest at any time.\n"
    "\n"
    "  --cpus N             vCPUs, 1 to 256 (default 2)\n"
    "  --memory SIZE        such as 12M or 8G (default 256M)\n"
    "  --machine TYPE       microvm (default), q35, pc or xen (a domain of the Xen lab)\n"
    "  --firmware FIRMWARE  pvh (default) or uefi (then the machine is q35 by default)\n"
    "  --accel ACCEL        auto (default: KVM where the processor has it), kvm, tcg, or\n"
    "                       lab: KVM even where the processor has none (./lodger lab --help)\n"
    "  --append \"OPTIONS\"   boot options for the kernel\n"
    "  --disk FILE[,OPTS]   a disk image as virtio block device, repeatable: format=raw|qcow2,\n"
    "                       readonly, serial=TEXT, queues=N, depth=N, packed, block=BYTES, "
    "discard,\n"
    "                       iommu, nvme, faults=FILE (QEMU's blkdebug rules)\n"
    "  --device DEVICE      repeatable: net[,queues=N,packed,mac=ADDRESS], rng, balloon, console,\n"
    "                       vsock=CID (with peer=PROGRAM the KVM lab's host runs that)\n"
    "  --name NAME          for lodger perf (default: the guest's, or the program's)\n"
    "  --share FOLDER       a folder of this host: in the guest, mount -t 9p share /mnt\n"
    "  --timeout SECONDS    end the guest after that time\n"
    "  --icount             deterministic: one instruction is one nanosecond of guest time\n"
    "  --variant VARIANT    kernel to build and boot: release (default), debug or kasan\n"
    "  --kernel FILE        boot this kernel instead, for example a Linux bzImage\n"
    "  --initrd FILE        boot with this initial file system instead of a guest's\n"
    "  --log FILE           write the kernel's log to a file; - is standard error\n"
    "  --dom0 FILE          Xen lab: a shell script that dom0 runs before the domain starts ($id)\n"
    "  --vmm FILE           KVM lab: this program takes QEMU's place (tools/lodger/machine.h)\n"
    "  --overcommit         in a lab: all vCPUs share one CPU of the host\n"
    "  --counters           in a lab: print what the guest has cost its host, by exit reason\n"
    "  --dry-run            print the QEMU command and do nothing\n"
    "  --json               print what happened as one JSON object; the guest's output is in it\n"
    "  --list               list the guests\n"
    "  --help               this text\n"
    "\n"
    "Exit code: the guest's; 124 time-out, 125 kernel panic, 126 the command's own error,\n"
    "127 the machine ended without saying why.\n";

struct settings {
    struct machine machine;
    bool machine_given;
    bool memory_given;
    bool cpus_given;
    const char *append;
    const char *kernel;
    const char *initrd;
    const char *log;
    uint64_t timeout_s;
    bool dry_run;
    bool counters; // of a lab's host
    bool json;
    const char *guest; // NULL: a program
    char **program;    // PROGRAM ARGUMENTS, NULL-terminated
};

enum option_code {
    OPT_CPUS = 1000,
    OPT_MEMORY,
    OPT_MACHINE,
    OPT_FIRMWARE,
    OPT_ACCEL,
    OPT_APPEND,
    OPT_DISK,
    OPT_DEVICE,
    OPT_NAME,
    OPT_SHARE,
    OPT_TIMEOUT,
    OPT_ICOUNT,
    OPT_VARIANT,
    OPT_KERNEL,
    OPT_INITRD,
    OPT_LOG,
    OPT_COUNTERS,
    OPT_OVERCOMMIT,
    OPT_DOM0,
    OPT_VMM,
    OPT_DRY_RUN,
    OPT_JSON,
    OPT_LIST,
    OPT_HELP,
};

static const struct option options[] = {
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"machine", required_argument, NULL, OPT_MACHINE},
    {"firmware", required_argument, NULL, OPT_FIRMWARE},
    {"accel", required_argument, NULL, OPT_ACCEL},
    {"append", required_argument, NULL, OPT_APPEND},
    {"disk", required_argument, NULL, OPT_DISK},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"name", required_argument, NULL, OPT_NAME},
    {"share", required_argument, NULL, OPT_SHARE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"icount", no_argument, NULL, OPT_ICOUNT},
    {"variant", required_argument, NULL, OPT_VARIANT},
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"initrd", required_argument, NULL, OPT_INITRD},
    {"log", required_argument, NULL, OPT_LOG},
    {"counters", no_argument, NULL, OPT_COUNTERS},
    {"overcommit", no_argument, NULL, OPT_OVERCOMMIT},
    {"dom0", required_argument, NULL, OPT_DOM0},
    {"vmm", required_argument, NULL, OPT_VMM},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"json", no_argument, NULL, OPT_JSON},
    {"list", no_argument, NULL, OPT_LIST},
    {"help", no_argument, NULL, OPT_HELP},
    {},
};

// Prints every guest with the title of its description.
static void list_guests(void)
{
    struct dirent **entries;
    char *folder = tree_path("guests");
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *path = xasprintf("%s/%s/guest.txt", folder, entries[i]->d_name);
        if (access(path, R_OK) == 0) {
            struct description description;
            description_read(path, "", NULL, &description);
            printf("%-12s %s\n", entries[i]->d_name,
                description.title != NULL ? description.title : "");
        }
        free(path);
        free(entries[i]);
    }
    free(folder);
}

static void require(bool valid, const char *option, const char *value, const char *expected)
{
    if (!valid) {
        die("%s %s: expected %s", option, value, expected);
    }
}

static void complain(const char *reason)
{
    if (reason != NULL) {
        die("%s", reason);
    }
}

static void handle_device(struct machine *machine, int code)
{
    if (code == OPT_DISK) {
        complain(machine_add_disk(machine, optarg));
    } else if (code == OPT_DEVICE) {
        complain(machine_add_device(machine, optarg));
    } else {
        char *device = xasprintf("share=%s", optarg);
        complain(machine_add_device(machine, device));
        free(device);
    }
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Options that name a file, and the guest's name. False: it is none of them.
static bool handle_file_option(struct settings *settings, int code)
{
    switch (code) {
    case OPT_KERNEL:
        settings->kernel = optarg;
        return true;
    case OPT_INITRD:
        settings->initrd = optarg;
        return true;
    case OPT_LOG:
        settings->log = optarg;
        return true;
    case OPT_NAME:
        require(optarg[0] != '\0' && strspn(optarg, NAME_CHARACTERS) == strlen(optarg), "--name",
            optarg, "letters, digits, '.', '_' and '-'");
        settings->machine.name = optarg;
        return true;
    case OPT_DOM0:
        require(access(optarg, R_OK) == 0, "--dom0", optarg, "a file that can be read");
        settings->machine.xen_hooks = optarg;
        return true;
    case OPT_VMM:
        require(access(optarg, R_OK) == 0, "--vmm", optarg, "a file that can be read");
        settings->machine.vmm = optarg;
        return true;
    default:
        return false;
    }
}

static void handle_option(struct settings *settings, int code)
{
    if (handle_file_option(settings, code)) {
        return;
    }
    struct machine *machine = &settings->machine;
    uint64_t number = 0;
    switch (code) {
    case OPT_CPUS:
        require(parse_number(optarg, 1, 256, &number), "--cpus", optarg, "a number from 1 to 256");
        machine->cpus = (unsigned)number;
        settings->cpus_given = true;
        break;
    case OPT_MEMORY:
        require(parse_size(optarg, &machine->memory_bytes) && machine->memory_bytes >= 1u << 20,
            "--memory", optarg, "a size of at least 1M, such as 64M or 8G");
        settings->memory_given = true;
        break;
    case OPT_MACHINE:
        require(machine_parse_type(optarg, &machine->type), "--machine", optarg,
            "q35, pc, microvm or xen");
        settings->machine_given = true;
        break;
    case OPT_FIRMWARE:
        require(machine_parse_firmware(optarg, &machine->firmware), "--firmware", optarg,
            "pvh or uefi");
        break;
    case OPT_ACCEL:
        require(machine_parse_accel(optarg, &machine->accel), "--accel", optarg,
            "auto, kvm, tcg or lab");
        break;
    case OPT_APPEND:
        settings->append = optarg;
        break;
    case OPT_DISK:
    case OPT_DEVICE:
    case OPT_SHARE:
        handle_device(machine, code);
        break;
    case OPT_TIMEOUT:
        require(parse_number(optarg, 1, 1000000, &settings->timeout_s), "--timeout", optarg,
            "a number of seconds");
        break;
    case OPT_ICOUNT:
        machine->icount = true;
        break;
    case OPT_VARIANT:
        require(machine_parse_variant(optarg, &machine->variant), "--variant", optarg,
            "release, debug or kasan");
        break;
    case OPT_OVERCOMMIT:
        machine->overcommitted = true;
        break;
    case OPT_COUNTERS:
        settings->counters = true;
        break;
    case OPT_DRY_RUN:
        settings->dry_run = true;
        break;
    case OPT_JSON:
        settings->json = true;
        break;
    case OPT_LIST:
        list_guests();
        exit(0);
    case OPT_HELP:
        fputs(help, stdout);
        exit(0);
    default:
        die("see ./lodger run --help");
    }
}

static void parse_arguments(struct settings *settings, int argc, char **argv)
{
    machine_init(&settings->machine);
    int code;
    while ((code = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        handle_option(settings, code);
    }
    bool program = optind > 1 && strcmp(argv[optind - 1], "--") == 0;
    if (program) {
        if (optind == argc) {
            die("-- must be followed by a program (./lodger run --help)");
        }
        settings->program = &argv[optind];
    } else if (argc - optind > 1) {
        die("one guest at a time, and options before it; for a program: ./lodger run -- PROGRAM "
            "ARGUMENTS");
    } else {
        settings->guest = optind < argc ? argv[optind] : "busybox";
    }
    struct machine *machine = &settings->machine;
    if (machine->firmware == FIRMWARE_UEFI && !settings->machine_given) {
        machine->type = MACHINE_Q35;
    }
    char *reason = machine_settle(machine);
    if (reason != NULL) {
        die("%s", reason);
    }
}

// The host's file that PROGRAM means: a path, or a name in PATH.
static char *find_program(const char *name)
{
    if (strchr(name, '/') != NULL) {
        if (access(name, F_OK) != 0) {
            die("%s: %s", name, strerror(errno));
        }
        return xstrdup(name);
    }
    const char *path = getenv("PATH");
    char *folders = xstrdup(path != NULL ? path : "/usr/bin:/bin");
    char *rest = folders;
    char *folder;
    while ((folder = strsep(&rest, ":")) != NULL) {
        char *candidate = xasprintf("%s/%s", folder, name);
        if (access(candidate, X_OK) == 0) {
            free(folders);
            return candidate;
        }
        free(candidate);
    }
    die("%s: there is no such program on this host", name);
}

// Packs PROGRAM with its arguments. The environment is a small fixed one, so that runs do not
// depend on the user's.
static void pack_program(const struct settings *settings, struct cpio *cpio, const char *programs)
{
    char *source = find_program(settings->program[0]);
    const char *slash = strrchr(source, '/');
    char *path = xasprintf("/bin/%s", slash != NULL ? slash + 1 : source);
    char *reason = program_pack(cpio, path, source);
    if (reason != NULL) {
        die("%s", reason);
    }
    struct strings arguments = {};
    strings_add(&arguments, path);
    for (size_t i = 1; settings->program[i] != NULL; i++) {
        strings_add(&arguments, settings->program[i]);
    }
    struct strings env = {};
    strings_add_words(&env, "PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root USER=root LANG=C.UTF-8");
    const char *terminal = getenv("TERM");
    strings_addf(&env, "TERM=%s", terminal != NULL ? terminal : "dumb");
    description_add_basics(cpio, programs, &arguments, &env, "/root");
    strings_free(&arguments);
    strings_free(&env);
    free(path);
    free(source);
}

static void pack_guest(struct settings *settings, struct cpio *cpio, const char *programs)
{
    char *path = tree_path("guests/%s/guest.txt", settings->guest);
    if (strchr(settings->guest, '/') != NULL || access(path, R_OK) != 0) {
        die("there is no guest %s (./lodger run --list; for a program: ./lodger run -- PROGRAM)",
            settings->guest);
    }
    struct description description;
    description_read(path, programs, cpio, &description);
    description_add_basics(cpio, programs, &description.argv, &description.env, "/root");
    struct machine *machine = &settings->machine;
    uint64_t number;
    if (description.memory != NULL && !settings->memory_given &&
        !parse_size(description.memory, &machine->memory_bytes)) {
        die("%s: memory %s is no size", path, description.memory);
    }
    if (description.cpus != NULL && !settings->cpus_given) {
        if (!parse_number(description.cpus, 1, 256, &number)) {
            die("%s: cpus %s is no number from 1 to 256", path, description.cpus);
        }
        machine->cpus = (unsigned)number;
    }
    for (size_t i = 0; i < description.append.count; i++) {
        strings_add(&machine->append, description.append.items[i]);
    }
    free(path);
}

// Makes the initial file system, building the programs of this tree that go into it.
static void make_initial_files(struct settings *settings, struct cpio *cpio)
{
    struct strings targets = {};
    strings_add(&targets, "guests:guest_programs");
    build("host", &targets);
    strings_free(&targets);

    char *programs = tree_path("out/host/guest");
    if (settings->initrd != NULL) {
        int error = file_read(settings->initrd, &cpio->archive);
        if (error != 0) {
            die("--initrd %s: %s", settings->initrd, strerror(-error));
        }
    } else if (settings->program != NULL) {
        pack_program(settings, cpio, programs);
        cpio_finish(cpio);
    } else {
        pack_guest(settings, cpio, programs);
        cpio_finish(cpio);
    }
    free(programs);
}

// Gives the guest a name, and QEMU a socket on which `lodger perf` can wake an idle guest.
static void name_guest(const struct settings *settings, struct machine *machine, const char *folder)
{
    if (machine->name == NULL) {
        const char *source = settings->program != NULL ? settings->program[0] : settings->guest;
        source = source != NULL ? source : "guest";
        const char *slash = strrchr(source, '/');
        char *name = xstrdup(slash != NULL ? slash + 1 : source);
        for (char *at = name; *at != '\0'; at++) {
            *at = strchr(NAME_CHARACTERS, *at) != NULL ? *at : '_';
        }
        machine->name = name;
    }
    if (!settings->dry_run && machine->lab == NULL) {
        machine->qmp = xasprintf("%s/qmp", folder);
    }
}

// Chooses the image to boot and writes the initial file system beside it.
static void prepare_images(struct settings *settings, struct cpio *cpio)
{
    struct machine *machine = &settings->machine;
    // A command that is only printed must find its files later.
    char *kept = tree_path("out/run");
    if (settings->dry_run) {
        folder_create(kept);
    }
    const char *folder = settings->dry_run ? kept : folder_temporary();
    char *initrd = xasprintf("%s/initrd.cpio", folder);
    file_write(initrd, cpio->archive.data, cpio->archive.len_bytes);
    machine->initrd = initrd;
    name_guest(settings, machine, folder);
    if (settings->kernel != NULL) {
        if (access(settings->kernel, R_OK) != 0) {
            die("--kernel %s: %s", settings->kernel, strerror(errno));
        }
        machine->kernel = settings->kernel;
    } else {
        machine->kernel = tree_path("out/%s/lodger.elf", machine->variant);
    }
    if (machine->firmware == FIRMWARE_UEFI && settings->kernel != NULL) {
        efi_prepare_vars(machine, folder, "lodger");
    } else if (machine->firmware == FIRMWARE_UEFI) {
        char *image = tree_path("out/%s/lodger.img", machine->variant);
        efi_prepare_machine(machine, image, folder, "lodger");
        free(image);
    } else if (machine->type == MACHINE_XEN) {
        xen_prepare_machine(machine, folder, "lodger");
    }
}

static void print_command(const struct settings *settings)
{
    struct strings command = {};
    bool streams = settings->program != NULL && settings->kernel == NULL &&
                   settings->machine.type != MACHINE_XEN;
    int program = streams ? 0 : -1;
    machine_command(&settings->machine,
        &(struct machine_streams){.by_hand = true, .out = program, .err = program}, &command);
    if (settings->json) {
        json_t *array = json_array();
        for (size_t i = 0; i < command.count; i++) {
            json_array_append_new(array, json_string(command.items[i]));
        }
        json_dumpf(array, stdout, 0);
        putchar('\n');
        json_decref(array);
    } else {
        puts(shell_quote_all(command.items));
    }
}

static int open_log(const char *log)
{
    if (log == NULL) {
        return -1;
    }
    if (strcmp(log, "-") == 0) {
        return STDERR_FILENO;
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        die("--log %s: %s", log, strerror(errno));
    }
    return fd;
}

// What lies below the kernel (2 MiB), the kernel itself and its first page tables.
#define KERNEL_MEMORY_BYTES (3u << 20)

// A kernel that does not fit into its memory has nothing to say so with.
static void check_memory(const struct settings *settings, const struct cpio *cpio)
{
    uint64_t needed_bytes = KERNEL_MEMORY_BYTES + cpio->archive.len_bytes;
    if (settings->kernel == NULL && settings->machine.memory_bytes < needed_bytes) {
        die("%llu KiB of memory are too little for this guest: the kernel and its initial file "
            "system need at least %llu KiB (--memory)",
            (unsigned long long)settings->machine.memory_bytes >> 10,
            (unsigned long long)needed_bytes >> 10);
    }
}

// Boot options that the way of running needs.
static void add_boot_options(struct settings *settings, enum stream_mode mode)
{
    struct strings *append = &settings->machine.append;
    unsigned rows, columns;
    if (settings->kernel != NULL) {
        strings_addf(
            append, "console=%s", settings->machine.type == MACHINE_XEN ? "hvc0" : "ttyS0");
        strings_add_words(append, "panic=-1 quiet loglevel=0");
    } else if (mode == STREAMS_PROGRAM) {
        strings_add(append, "stdio=streams");
    }
    if (mode == STREAMS_CONSOLE && terminal_size(&rows, &columns)) {
        strings_addf(append, "lodger.winsize=%ux%u", rows, columns);
    }
    const char *terminal = getenv("TERM");
    if (settings->guest != NULL && terminal != NULL && strpbrk(terminal, " \t\"") == NULL &&
        isatty(STDIN_FILENO)) {
        strings_addf(append, "lodger.term=%s", terminal);
    }
    if (settings->append != NULL) {
        strings_add_words(append, settings->append);
    }
}

int cmd_run(int argc, char **argv)
{
    struct settings settings = {};
    parse_arguments(&settings, argc, argv);
    bool on_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    // Linux does not know our streams, and a domain has none: there a program is always on the
    // console.
    bool program_streams = settings.program != NULL && settings.kernel == NULL &&
                           settings.machine.type != MACHINE_XEN && (!on_terminal || settings.json);
    enum stream_mode mode = program_streams ? STREAMS_PROGRAM : STREAMS_CONSOLE;

    if (settings.program != NULL) {
        free(find_program(settings.program[0])); // complain before building for minutes
    }
    struct cpio cpio = {};
    make_initial_files(&settings, &cpio);
    check_memory(&settings, &cpio);
    if (settings.kernel == NULL) {
        build(settings.machine.variant, &(struct strings){});
    }
    add_boot_options(&settings, mode);
    prepare_images(&settings, &cpio);
    cpio_free(&cpio);
    if (settings.dry_run) {
        print_command(&settings);
        return 0;
    }

    char *elf = settings.kernel == NULL ? tree_path("out/%s/lodger.elf", settings.machine.variant)
                                        : xstrdup(settings.kernel);
    struct qemu_run run = {.machine = &settings.machine,
        .mode = mode,
        .capture = settings.json,
        .foreign_kernel = settings.kernel != NULL,
        .timeout_ns = settings.timeout_s * 1000000000u,
        .log_fd = open_log(settings.log)};
    do {
        qemu_run_free(&run);
        qemu_run(&run);
    } while (run.outcome == OUTCOME_REBOOT && mode == STREAMS_CONSOLE && on_terminal);
    if (settings.json) {
        report_json(&run, elf);
    } else {
        report_outcome(&run, elf, mode == STREAMS_PROGRAM && run.log_fd < 0);
    }
    if (settings.counters) {
        lab_counters_print(&run.control);
    }
    int code = qemu_exit_code(&run);
    qemu_run_free(&run);
    free(elf);
    return code;
}

int cmd_xl(int argc, char **argv)
{
    struct settings settings = {};
    parse_arguments(&settings, argc, argv);
    struct cpio cpio = {};
    make_initial_files(&settings, &cpio);
    check_memory(&settings, &cpio);
    if (settings.kernel == NULL) {
        build(settings.machine.variant, &(struct strings){});
    }
    if (settings.kernel != NULL) {
        strings_add(&settings.machine.append, "console=hvc0");
    }
    if (settings.append != NULL) {
        strings_add_words(&settings.machine.append, settings.append);
    }
    // The configuration names files, which must outlive this command.
    const char *name = settings.guest != NULL ? settings.guest : "program";
    char *folder = tree_path("out/xl");
    folder_create(folder);
    char *initrd = xasprintf("%s/%s.cpio", folder, name);
    file_write(initrd, cpio.archive.data, cpio.archive.len_bytes);
    char *kernel = settings.kernel != NULL
                       ? xstrdup(settings.kernel)
                       : tree_path("out/%s/lodger.elf", settings.machine.variant);
    struct buffer config = {};
    xen_domain_config(&settings.machine, name, kernel, initrd, false, &config);
    fwrite(config.data, 1, config.len_bytes, stdout);
    buffer_free(&config);
    cpio_free(&cpio);
    free(kernel);
    free(initrd);
    free(folder);
    return 0;
}
