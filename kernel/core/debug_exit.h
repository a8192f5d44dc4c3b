// SPDX-License-Identifier: MIT
//
// How a guest tells `lodger run` how it ended: shared by the kernel and tools/lodger.
//
// The command gives the machine two ISA devices for this, on q35, pc and microvm alike:
//
//   isa-debug-exit,iobase=0x501,iosize=1   a byte written to it ends QEMU with status (byte << 1) |
//   1 isa-debugcon,iobase=0x504              bytes written to it go to the command
//
// QEMU's exit status has room for seven bits only, so the two have separate tasks: the program's
// exit code, all eight bits of it, goes to DEBUG_EXIT_PORT_CODE first; then one of DEBUG_EXIT_*
// goes to DEBUG_EXIT_PORT_HOW and ends the machine. QEMU's own failures have status 1, and none of
// DEBUG_EXIT_* yields that.
//
// A machine of somebody else has neither device. There a read of DEBUG_EXIT_PORT_HOW gives 0xff
// (with the device it gives 0), and the kernel uses ACPI to power off.
#pragma once

#define DEBUG_EXIT_PORT_HOW  0x501
#define DEBUG_EXIT_PORT_CODE 0x504

// The first program (PID 1) ended; its exit code is at DEBUG_EXIT_PORT_CODE. Ended by a signal: 128
// + its number.
#define DEBUG_EXIT_DONE 1
// The kernel panicked; the log has the rest.
#define DEBUG_EXIT_PANIC 2
// A program asked for a reboot. The command starts the machine again, or ends with 0 if it shall
// not.
#define DEBUG_EXIT_REBOOT 3
// A program asked for power-off or halt: like DEBUG_EXIT_DONE with code 0.
#define DEBUG_EXIT_POWER_OFF 4

// QEMU's exit status after `how` was written to DEBUG_EXIT_PORT_HOW.
#define DEBUG_EXIT_STATUS(how) (((how) << 1) | 1)
