// SPDX-License-Identifier: MIT
// pmu_vmm KERNEL INITRD BOOT-OPTIONS CONSOLE LOG CODE OUT ERR
//
// A virtual machine monitor whose machine has the performance counters of a model
// (perf/pmu/model.h): no processor that this is developed on has any. `lodger lab kvm --vmm` runs
// it in QEMU's place. The same kernel and initial file system are started once for each kind of
// processor that the model knows, until one run does not end with 0.
//
// Counters' MSRs are exits, CPUID says what the model has, and an overflow is an NMI, if the local
// APIC's entry lets it through. Nothing counts by itself: events happen when the guest's program
// asks for them (request.h), and between the accesses of its kernel's driver.
//
// The last five arguments are the machine's byte streams, each a file or the number of a descriptor
// (tools/lodger/machine.h). ERR is not used: requests come on that port.
#include "tests/pmu_vmm/collect.h"
#include "tests/pmu_vmm/machine.h"
#include "tests/pmu_vmm/request.h"

#include "kernel/core/debug_exit.h"
#include "kernel/core/host_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_BYTES      (UINT64_C(128) << 20)
#define LEAF_AMD_COUNTERS 0x80000022
#define PORT_DEBUG        0xe9
#define ANYWHERE_US       1000 // between two moments
#define IN_DRIVER_ODDS    3    // one access in so many

struct port {
    uint16_t number;
    int fd;
};

struct vmm {
    struct machine machine;
    struct pmu_model model;
    struct port ports[3]; // bytes written there go to descriptors
    uint8_t address[8];   // of a request, as far as it has come
    size_t address_bytes;
    uint64_t in_driver, anywhere; // PMU_REQUEST_IN_DRIVER, PMU_REQUEST_ANYWHERE: their counts
    bool spurious;
    uint64_t nmis, user_nmis;
    struct collect collect;
    bool collects;
    int how; // DEBUG_EXIT_*; 0: it runs
    uint8_t code;
};

// A signal is to end KVM_RUN also if it comes just before.
static struct kvm_run *volatile interrupted_run;

static void alarm_came(int number)
{
    (void)number;
    if (interrupted_run != NULL)
        interrupted_run->immediate_exit = 1;
}

// ---- the processor ------------------------------------------------------------------------------

static const struct machine_msrs msrs[] = {
    {0x0c1, 8},
    {0x186, 8},
    {0x1d9, 1},
    {0x309, 16},
    {0x345, 1},
    {0x38d, 5},
    {0x4c1, 8},
    {0xc0000300, 4},
    {0xc0010000, 8},
    {0xc0010200, 32},
};

// In the lab SVM is emulated, and QEMU 7.2 does not intercept XSETBV (tools/lodger/lab_host.c): a
// guest must not have its own XCR0, so neither XSAVE nor what needs it.
static void hide_xsave(struct kvm_cpuid_entry2 *leaf)
{
    if (leaf->function == 1)
        leaf->ecx &= ~(UINT32_C(1) << 26 | UINT32_C(1) << 27 | UINT32_C(1) << 28 |
                       UINT32_C(1) << 29 | UINT32_C(1) << 12);
    else if (leaf->function == 7)
        leaf->ebx &= ~(UINT32_C(1) << 5 | UINT32_C(1) << 16);
    else if (leaf->function == 0xd)
        leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
}

// One CPU with number 0 of a machine that is virtual: what KVM offers has the number of the CPU
// that it was asked on.
static void number_set(struct kvm_cpuid_entry2 *leaf)
{
    if (leaf->function == 1) {
        leaf->ebx = (leaf->ebx & 0xff00) | UINT32_C(1) << 16;
        leaf->ecx |= UINT32_C(1) << 31; // there is a hypervisor, in leaf 40000000H
    } else if (leaf->function == 0xb || leaf->function == 0x1f || leaf->function == 0x8000001e) {
        leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
    }
}

static void leaf_change(struct vmm *vmm, struct kvm_cpuid_entry2 *leaf)
{
    uint32_t values[4] = {leaf->eax, leaf->ebx, leaf->ecx, leaf->edx};
    pmu_model_cpuid(&vmm->model, leaf->function, leaf->index, values);
    leaf->eax = values[0];
    leaf->ebx = values[1];
    leaf->ecx = values[2];
    leaf->edx = values[3];
    hide_xsave(leaf);
    number_set(leaf);
}

static void cpuid_change(void *context, struct kvm_cpuid2 *cpuid)
{
    bool has_amd_counters = false;
    for (uint32_t i = 0; i < cpuid->nent; i++)
        has_amd_counters |= cpuid->entries[i].function == LEAF_AMD_COUNTERS;
    if (!has_amd_counters) // KVM before Linux 6.5 knows nothing of it
        cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){.function = LEAF_AMD_COUNTERS};
    for (uint32_t i = 0; i < cpuid->nent; i++)
        leaf_change(context, &cpuid->entries[i]);
}

// ---- events -------------------------------------------------------------------------------------

static void nmi_deliver(struct vmm *vmm, bool in_kernel)
{
    if (!pmu_model_take_nmi(&vmm->model))
        return;
    vmm->nmis++;
    vmm->user_nmis += !in_kernel;
    machine_nmi(&vmm->machine);
    if (vmm->spurious)
        machine_nmi(&vmm->machine); // is held back until the first one's handler ends
    vmm->spurious = false;
}

// The local APIC's entry, which masks itself, is KVM's: a look at it costs as much as the rest.
static uint64_t events(struct vmm *vmm, uint32_t index, bool in_kernel, uint64_t count)
{
    struct pmu_model *model = &vmm->model;
    const bool matters = pmu_model_may_overflow(model, (int)index, in_kernel, count);
    if (matters) {
        const uint32_t entry = machine_counters_entry(&vmm->machine);
        model->masked =
            (entry & MACHINE_LVT_MASKED) != 0 || (entry & MACHINE_LVT_MODE) != MACHINE_LVT_NMI;
    }
    const bool was_masked = model->masked;
    const uint64_t left = pmu_model_events(model, (int)index, in_kernel, count);
    if (model->masked && !was_masked)
        machine_mask_counters(&vmm->machine);
    nmi_deliver(vmm, in_kernel);
    return left;
}

static void events_anywhere(struct vmm *vmm)
{
    const bool in_kernel = machine_privilege(&vmm->machine) == 0;
    const uint64_t before = vmm->nmis;
    for (uint32_t i = 0; i < PMU_MODEL_CODES && vmm->nmis == before; i++)
        (void)events(vmm, i, in_kernel, 1 + (uint64_t)random() % vmm->anywhere);
}

static void msr_access(struct vmm *vmm, bool write)
{
    struct kvm_run *run = vmm->machine.run;
    uint64_t value = write ? run->msr.data : 0;
    run->msr.error = write ? !pmu_model_write(&vmm->model, run->msr.index, value)
                           : !pmu_model_read(&vmm->model, run->msr.index, &value);
    run->msr.data = value;
    nmi_deliver(vmm, true); // one that was late may have arrived
    if (vmm->in_driver != 0 && random() % IN_DRIVER_ODDS == 0)
        (void)events(vmm, (uint32_t)(random() % PMU_MODEL_CODES), true,
            1 + (uint64_t)random() % vmm->in_driver);
}

// ---- requests -----------------------------------------------------------------------------------

static void collect_begin(struct vmm *vmm, const struct pmu_request *request)
{
    const uint32_t index = request->index % PMU_MODEL_CODES;
    struct perf_export_event event = {.type = PERF_TYPE_RAW,
        .config = vmm->model.codes[index],
        .period = request->count,
        .flags = PERF_EXPORT_EVENT_CALLCHAIN};
    vmm->collects = request->count != 0;
    if (!collect_ask(&vmm->collect, &vmm->machine, vmm->collects ? &event : NULL))
        die("pmu_vmm: the kernel offers nothing to collectors");
}

static int32_t collect_state(const struct vmm *vmm)
{
    int32_t error;
    uint32_t source;
    if (!collect_is_answered(&vmm->collect, &error, &source))
        return -EAGAIN;
    if (error != 0 || !vmm->collects)
        return error;
    return source == PERF_EXPORT_SOURCE_PMU ? 1 : -EINVAL;
}

static void request_do(struct vmm *vmm, struct pmu_request *request)
{
    request->left = 0;
    if (request->kind == PMU_REQUEST_CODES) {
        memcpy(vmm->model.codes, request->codes, sizeof(vmm->model.codes));
        vmm->model.wrong = 0;
    } else if (request->kind == PMU_REQUEST_EVENTS && request->index < PMU_MODEL_CODES) {
        request->left = events(vmm, request->index, true, request->count);
    } else if (request->kind == PMU_REQUEST_IN_DRIVER) {
        vmm->in_driver = request->count;
    } else if (request->kind == PMU_REQUEST_ANYWHERE) {
        const suseconds_t interval_us = request->count != 0 ? ANYWHERE_US : 0;
        const struct itimerval timer = {{0, interval_us}, {0, interval_us}};
        vmm->anywhere = request->count;
        setitimer(ITIMER_REAL, &timer, NULL);
    } else if (request->kind == PMU_REQUEST_SPURIOUS) {
        vmm->spurious = true;
    } else if (request->kind == PMU_REQUEST_COLLECT) {
        collect_begin(vmm, request);
    }
}

static void request_answer(struct vmm *vmm, struct pmu_request *request)
{
    const struct pmu_model *model = &vmm->model;
    snprintf(request->name, sizeof(request->name), "%s", model->config.name);
    memcpy(request->counted, model->counted, sizeof(request->counted));
    request->overflows = model->overflows;
    request->dropped = model->dropped;
    request->wrong = model->wrong;
    request->nmis = vmm->nmis;
    request->user_nmis = vmm->user_nmis;
    request->general = model->config.general;
    collect_drain(&vmm->collect, &vmm->machine);
    request->collects = collect_state(vmm);
    request->samples = vmm->collect.samples;
    request->user_samples = vmm->collect.user_samples;
    request->periods = vmm->collect.periods;
    request->collector_wrong = vmm->collect.wrong;
}

static void request_byte(struct vmm *vmm, uint8_t byte)
{
    uint64_t address;
    vmm->address[vmm->address_bytes++] = byte;
    if (vmm->address_bytes < sizeof(vmm->address))
        return;
    vmm->address_bytes = 0;
    memcpy(&address, vmm->address, sizeof(address));
    struct pmu_request *request =
        machine_translate(&vmm->machine, address, sizeof(struct pmu_request));
    if (request == NULL)
        die("pmu_vmm: a request at %#lx, where no memory is", (unsigned long)address);
    request_do(vmm, request);
    request_answer(vmm, request);
}

// ---- exits --------------------------------------------------------------------------------------

static void write_all(int fd, const uint8_t *bytes, size_t len)
{
    for (ssize_t done; len != 0; bytes += done, len -= (size_t)done) {
        done = write(fd, bytes, len);
        if (done < 0)
            done = 0; // EINTR, EAGAIN: again
    }
}

static void port_write(struct vmm *vmm, uint16_t number, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < sizeof(vmm->ports) / sizeof(vmm->ports[0]); i++) {
        if (vmm->ports[i].number == number)
            write_all(vmm->ports[i].fd, bytes, len);
    }
    if (number == DEBUG_EXIT_PORT_CODE)
        vmm->code = bytes[len - 1];
    else if (number == DEBUG_EXIT_PORT_HOW)
        vmm->how = bytes[len - 1];
    for (size_t i = 0; i < len && number == HOST_STREAM_PORT_ERR; i++)
        request_byte(vmm, bytes[i]);
}

static void port_access(struct vmm *vmm)
{
    const struct kvm_run *run = vmm->machine.run;
    uint8_t *bytes = (uint8_t *)run + run->io.data_offset;
    const size_t len = (size_t)run->io.size * run->io.count;
    if (run->io.direction == KVM_EXIT_IO_OUT) {
        port_write(vmm, run->io.port, bytes, len);
        return;
    }
    memset(bytes, 0xff, len); // nothing is there
    if (run->io.port == PORT_DEBUG)
        memset(bytes, PORT_DEBUG, len);
    else if (run->io.port == DEBUG_EXIT_PORT_HOW)
        memset(bytes, 0, len);
}

static void exit_handle(struct vmm *vmm)
{
    struct kvm_run *run = vmm->machine.run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        port_access(vmm);
        break;
    case KVM_EXIT_MMIO:
        if (!run->mmio.is_write)
            memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        msr_access(vmm, run->exit_reason == KVM_EXIT_X86_WRMSR);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        die("pmu_vmm: %s: KVM gives up: %u, %#llx %#llx %#llx %#llx", vmm->model.config.name,
            run->internal.suberror, run->internal.data[0], run->internal.data[1],
            run->internal.data[2], run->internal.data[3]);
    default:
        die("pmu_vmm: %s: exit reason %u", vmm->model.config.name, run->exit_reason);
    }
}

// ---- the command --------------------------------------------------------------------------------

static int stream_open(const char *name)
{
    char *end;
    long fd = strtol(name, &end, 10);
    if (*name != '\0' && *end == '\0')
        return (int)fd;
    int opened = open(name, O_WRONLY | O_CLOEXEC);
    if (opened < 0)
        die("pmu_vmm: %s cannot be opened", name);
    return opened;
}

// Runs a machine to its end.
static void vmm_run(struct vmm *vmm, const struct pmu_model_config *config, char **argv)
{
    pmu_model_init(&vmm->model, config);
    vmm->address_bytes = 0;
    vmm->in_driver = vmm->anywhere = vmm->nmis = vmm->user_nmis = 0;
    vmm->spurious = false;
    vmm->collect = (struct collect){0};
    vmm->collects = false;
    vmm->how = 0;
    machine_create(
        &vmm->machine, MEMORY_BYTES, cpuid_change, vmm, msrs, sizeof(msrs) / sizeof(msrs[0]));
    machine_load(&vmm->machine, argv[1], argv[2], argv[3]);
    interrupted_run = vmm->machine.run;
    while (vmm->how == 0) {
        if (machine_run(&vmm->machine)) {
            exit_handle(vmm);
            continue;
        }
        vmm->machine.run->immediate_exit = 0;
        if (vmm->anywhere != 0)
            events_anywhere(vmm);
    }
    interrupted_run = NULL;
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    machine_destroy(&vmm->machine);
}

int main(int argc, char **argv)
{
    if (argc != 9)
        die("usage: pmu_vmm KERNEL INITRD BOOT-OPTIONS CONSOLE LOG CODE OUT ERR");
    static struct vmm vmm;
    const int code = stream_open(argv[6]);
    const struct sigaction action = {.sa_handler = alarm_came};
    struct timespec start, end;
    vmm.ports[0] = (struct port){PORT_DEBUG, stream_open(argv[5])};
    vmm.ports[1] = (struct port){HOST_STREAM_PORT_OUT, stream_open(argv[7])};
    sigaction(SIGALRM, &action, NULL);
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        char line[200];
        clock_gettime(CLOCK_MONOTONIC, &start);
        vmm_run(&vmm, &pmu_model_configs[i], argv);
        clock_gettime(CLOCK_MONOTONIC, &end);
        int len = snprintf(line, sizeof(line), "%s: code %u, %lu overflows, %lu NMIs, %ld s\n",
            pmu_model_configs[i].name, vmm.code, (unsigned long)vmm.model.overflows,
            (unsigned long)vmm.nmis, (long)(end.tv_sec - start.tv_sec));
        write_all(vmm.ports[1].fd, (const uint8_t *)line, (size_t)len);
        if (vmm.how != DEBUG_EXIT_DONE || vmm.code != 0)
            break;
    }
    write_all(code, &vmm.code, 1);
    return DEBUG_EXIT_STATUS(vmm.how);
}
