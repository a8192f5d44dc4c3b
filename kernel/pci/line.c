// SPDX-License-Identifier: MIT
// Interrupt lines, for devices without MSI-X (PCI local bus specification 3.0, 2.2.6 and 6.2.4).
//
// The firmware has written to the interrupt line register which of the 16 inputs of the old
// interrupt controllers the device's pin leads to; the I/O APIC has the same inputs. Lines are
// shared: each user's handler is called and looks whether its device wants something.

#include "kernel/base/assert.h"
#include "kernel/core/irq.h"
#include "kernel/core/mutex.h"
#include "kernel/pci/pci.h"

#include <linux/errno.h>
#include <linux/pci_regs.h>

#define LINES     16
#define USERS_MAX 8 // of one line

struct line {
    uint32_t vector;     // 0: nobody uses it
    uint32_t user_count; // atomic: released after the user was filled in; never less
    struct {
        irq_handler *handler;
        void *context;
    } users[USERS_MAX];
};

static struct mutex lines_lock = MUTEX_INIT(lines_lock, "pci: lines"); // who changes them
static struct line lines[LINES];

static void line_handler(void *context, struct trap_frame *frame)
{
    struct line *line = context;
    uint32_t count = __atomic_load_n(&line->user_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++)
        line->users[i].handler(line->users[i].context, frame);
}

static int line_start(struct line *line, uint32_t number)
{
    if (line->vector != 0)
        return 0;
    int vector = irq_vector_alloc(line_handler, line, "pci line");
    if (vector < 0)
        return vector;
    int error = irq_gsi_route_wire(number, (uint32_t)vector, false, true);
    if (error != 0) {
        irq_vector_free((uint32_t)vector);
        return error;
    }
    line->vector = (uint32_t)vector;
    return 0;
}

int pci_line_enable(struct pci_device *device, irq_handler *handler, void *context)
{
    uint32_t number = pci_config_read8(device, PCI_INTERRUPT_LINE);
    if (pci_config_read8(device, PCI_INTERRUPT_PIN) == 0 || number == 0 || number >= LINES)
        return -ENODEV;
    struct line *line = &lines[number];
    mutex_lock(&lines_lock);
    int error = line->user_count < USERS_MAX ? line_start(line, number) : -ENOSPC;
    if (error == 0) {
        line->users[line->user_count].handler = handler;
        line->users[line->user_count].context = context;
        __atomic_store_n(&line->user_count, line->user_count + 1, __ATOMIC_RELEASE);
        uint16_t command = pci_config_read16(device, PCI_COMMAND);
        pci_config_write16(device, PCI_COMMAND, command & (uint16_t)~PCI_COMMAND_INTX_DISABLE);
    }
    mutex_unlock(&lines_lock);
    return error;
}
