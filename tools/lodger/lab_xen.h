// SPDX-License-Identifier: MIT
//
// Xen: domain configurations for `xl`, and the lab's machine, which is a real Xen with a Debian
// dom0 that runs one domain (tools/lab/xen). It needs SVM or VMX, which QEMU emulates where the
// processor has none.
//
// In that machine the log is Xen's console, with the domain's log and dom0's complaints in it; the
// console is the domain's; and the machine ends as the domain did (tools/lab/xen/dom0_init.sh).
#pragma once

#include "tools/lodger/machine.h"

// Appends a configuration for `xl create` of a domain `name` that boots the machine's kernel with
// its initial file system and its boot options. `kernel` and `initrd` (or NULL) are the paths in
// dom0. The lab's own needs are in it when `lab` is true.
void xen_domain_config(const struct machine *machine, const char *name, const char *kernel,
    const char *initrd, bool lab, struct buffer *text);

// Has the machine's dom0 count the domain's exits, as a lab's host does (lab.h): the line "sample"
// on its stream `control` makes it say its counters. Before xen_prepare_machine(); the host's
// guest programs have been built.
void xen_count_exits(struct machine *machine);

// Makes a MACHINE_XEN ready to run: the host, which is made of Debian packages when it is not in
// out/cache yet, and with it the domain's files, written into `folder` with a name that begins with
// `name`. Dies, with the reason, when there is no host.
void xen_prepare_machine(struct machine *machine, const char *folder, const char *name);

// The QEMU command of a machine that xen_prepare_machine() has prepared.
void xen_machine_command(
    const struct machine *machine, const struct machine_streams *streams, struct strings *command);
