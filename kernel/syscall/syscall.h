// SPDX-License-Identifier: MIT
// How a system call is written:
//
//   SYSCALL3(read, int, fd, uintptr_t, buffer, size_t, len_bytes)
//   {
//       ...
//       return count or -errno;
//   }
//
// That is all: table.c finds it by its name. Arguments are cut to their C types here, as the ABI
// leaves the upper halves of narrower arguments undefined. User pointers are uintptr_t, used
// through kernel/core/user.h.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/errno.h"
#include "kernel/core/upcall.h"
#include "kernel/core/user.h"

#define SYSCALL_ENTRY(name)                                                                        \
    int64_t sys_##name(uint64_t x1, uint64_t x2, uint64_t x3, uint64_t x4, uint64_t x5, uint64_t x6)

#define SYSCALL_UNUSED6 (void)x1, (void)x2, (void)x3, (void)x4, (void)x5, (void)x6

#define SYSCALL0(name)                                                                             \
    static inline int64_t syscall_body_##name(void);                                               \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name();                                                              \
    }                                                                                              \
    static inline int64_t syscall_body_##name(void)
#define SYSCALL1(name, t1, a1)                                                                     \
    static inline int64_t syscall_body_##name(t1 a1);                                              \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1);                                                        \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1)
#define SYSCALL2(name, t1, a1, t2, a2)                                                             \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2);                                       \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1, (t2)x2);                                                \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2)
#define SYSCALL3(name, t1, a1, t2, a2, t3, a3)                                                     \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3);                                \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1, (t2)x2, (t3)x3);                                        \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3)
#define SYSCALL4(name, t1, a1, t2, a2, t3, a3, t4, a4)                                             \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4);                         \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1, (t2)x2, (t3)x3, (t4)x4);                                \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4)
#define SYSCALL5(name, t1, a1, t2, a2, t3, a3, t4, a4, t5, a5)                                     \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5);                  \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1, (t2)x2, (t3)x3, (t4)x4, (t5)x5);                        \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5)
#define SYSCALL6(name, t1, a1, t2, a2, t3, a3, t4, a4, t5, a5, t6, a6)                             \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6);           \
    SYSCALL_ENTRY(name);                                                                           \
    SYSCALL_ENTRY(name)                                                                            \
    {                                                                                              \
        SYSCALL_UNUSED6;                                                                           \
        return syscall_body_##name((t1)x1, (t2)x2, (t3)x3, (t4)x4, (t5)x5, (t6)x6);                \
    }                                                                                              \
    static inline int64_t syscall_body_##name(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6)
