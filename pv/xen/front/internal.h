// SPDX-License-Identifier: MIT
// Between the front ends: what start.c starts, in order. All once, in task context.
#pragma once

void xen_console_start(void);
void xen_balloon_start(void);
void xen_disks_start(void);
void xen_nets_start(void);
