// SPDX-License-Identifier: MIT
// Device registers: I/O ports and memory-mapped registers. Each access may leave the guest (about
// two microseconds under KVM): drivers count them.
#pragma once

#include "kernel/base/types.h"

static inline uint8_t arch_in8(uint16_t port)
{
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t arch_in16(uint16_t port)
{
    uint16_t value;
    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t arch_in32(uint16_t port)
{
    uint32_t value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void arch_out8(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void arch_out16(uint16_t port, uint16_t value)
{
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void arch_out32(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

// Writes `len_bytes` bytes to one port with one string instruction: one exit for all of them where
// the hypervisor handles them together.
static inline void arch_out8_many(uint16_t port, const void *bytes, size_t len_bytes)
{
    asm volatile("rep outsb" : "+S"(bytes), "+c"(len_bytes) : "d"(port) : "memory");
}

// Memory-mapped registers: exactly one access of that size, in program order with other such
// accesses.
static inline uint8_t arch_mmio_read8(const volatile void *address)
{
    return *(const volatile uint8_t *)address;
}
static inline uint16_t arch_mmio_read16(const volatile void *address)
{
    return *(const volatile uint16_t *)address;
}
static inline uint32_t arch_mmio_read32(const volatile void *address)
{
    return *(const volatile uint32_t *)address;
}
static inline void arch_mmio_write8(volatile void *address, uint8_t value)
{
    *(volatile uint8_t *)address = value;
}
static inline void arch_mmio_write16(volatile void *address, uint16_t value)
{
    *(volatile uint16_t *)address = value;
}
static inline void arch_mmio_write32(volatile void *address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}
