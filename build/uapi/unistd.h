// SPDX-License-Identifier: MIT
// <linux/shm.h> asks for the C library's header by that name; nothing of it is used in the kernel.
#pragma once
