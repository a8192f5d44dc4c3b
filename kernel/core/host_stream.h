// SPDX-License-Identifier: MIT
//
// Standard input, output and error of `lodger run -- PROGRAM` when they are not a terminal: shared
// by the kernel and tools/lodger. The decision is in docs/decisions/0002-program-streams.md.
//
// With the boot option `stdio=streams` the first program's descriptors are three character devices
// which are no terminals and change no byte:
//
//   0  /dev/stream0  bytes received by the first serial port (0x3f8, IRQ 4), escaped as below
//   1  /dev/stream1  every byte is written to HOST_STREAM_PORT_OUT (an isa-debugcon: no status, no
//      wait, REP OUTSB works)
//   2  /dev/stream2  every byte is written to HOST_STREAM_PORT_ERR (likewise)
//
// The kernel's log then goes to the debug port 0xe9 alone, and nothing else is sent on the serial
// port.
//
// A serial port knows no end of input, so the command escapes what it sends:
//   HOST_STREAM_ESCAPE HOST_STREAM_ESCAPE   one byte HOST_STREAM_ESCAPE
//   HOST_STREAM_ESCAPE HOST_STREAM_END      end of input: read() returns 0 once what came before is
//   read, and from then on
// Anything else after HOST_STREAM_ESCAPE is dropped together with it.
#pragma once

#define HOST_STREAM_PORT_OUT 0x502
#define HOST_STREAM_PORT_ERR 0x503
#define HOST_STREAM_ESCAPE   0x10
#define HOST_STREAM_END      0x04
