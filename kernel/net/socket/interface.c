// SPDX-License-Identifier: MIT
// What ioctl(2) on a socket says and changes about network devices (netdevice(7)), and
// /proc/net/dev.

#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/register.h"
#include "kernel/net/device.h"
#include "kernel/net/socket/socket.h"
#include "kernel/process/credentials.h"

#include <linux/capability.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/sockios.h>

static int set_flags(struct net_device *device, uint32_t flags)
{
    uint32_t now = __atomic_load_n(&device->flags, __ATOMIC_RELAXED);
    int error = 0;
    if ((flags ^ now) & IFF_PROMISC) {
        if (device->ops->set_promiscuous == NULL)
            return -EOPNOTSUPP;
        error = device->ops->set_promiscuous(device, flags & IFF_PROMISC);
        if (error == 0 && flags & IFF_PROMISC)
            __atomic_fetch_or(&device->flags, IFF_PROMISC, __ATOMIC_SEQ_CST);
        else if (error == 0)
            __atomic_fetch_and(&device->flags, ~IFF_PROMISC, __ATOMIC_SEQ_CST);
    }
    if (error == 0 && flags & IFF_UP)
        return net_device_up(device);
    if (error == 0)
        net_device_down(device);
    return error;
}

static int set_mtu(struct net_device *device, int mtu)
{
    if (mtu < (int)device->mtu_min_bytes || mtu > (int)device->mtu_max_bytes)
        return -EINVAL;
    return device->ops->set_mtu != NULL ? device->ops->set_mtu(device, (uint32_t)mtu) : -EOPNOTSUPP;
}

static int get(struct net_device *device, uint32_t command, struct ifreq *request)
{
    switch (command) {
    case SIOCGIFINDEX:
        request->ifr_ifindex = (int)device->index;
        return 0;
    case SIOCGIFFLAGS:
        request->ifr_flags = (short)(__atomic_load_n(&device->flags, __ATOMIC_RELAXED) |
                                     IFF_BROADCAST | IFF_MULTICAST);
        return 0;
    case SIOCGIFMTU:
        request->ifr_mtu = (int)__atomic_load_n(&device->mtu_bytes, __ATOMIC_RELAXED);
        return 0;
    case SIOCGIFHWADDR:
        request->ifr_hwaddr.sa_family = ARPHRD_ETHER;
        memcpy(request->ifr_hwaddr.sa_data, device->address, NET_ADDRESS_BYTES);
        return 0;
    default:
        return -ENOTTY;
    }
}

static int set(struct net_device *device, uint32_t command, const struct ifreq *request)
{
    if (!capable(CAP_NET_ADMIN))
        return -EPERM;
    if (command == SIOCSIFFLAGS)
        return set_flags(device, (uint16_t)request->ifr_flags);
    if (command == SIOCSIFMTU)
        return set_mtu(device, request->ifr_mtu);
    if (device->ops->set_address == NULL)
        return -EOPNOTSUPP;
    return device->ops->set_address(device, (const uint8_t *)request->ifr_hwaddr.sa_data);
}

static bool is_set(uint32_t command)
{
    return command == SIOCSIFFLAGS || command == SIOCSIFMTU || command == SIOCSIFHWADDR;
}

int64_t net_ioctl(uint32_t command, uintptr_t argument)
{
    struct ifreq request;
    bool is_get = command == SIOCGIFINDEX || command == SIOCGIFFLAGS || command == SIOCGIFMTU ||
                  command == SIOCGIFHWADDR || command == SIOCGIFNAME;
    if (!is_get && !is_set(command))
        return -ENOTTY;
    int error = copy_from_user(&request, argument, sizeof(request));
    if (error != 0)
        return error;
    request.ifr_name[IFNAMSIZ - 1] = '\0';
    struct net_device *device = command == SIOCGIFNAME
                                    ? net_device_get_by_index((uint32_t)request.ifr_ifindex)
                                    : net_device_get_by_name(request.ifr_name);
    if (device == NULL)
        return -ENODEV;
    if (command == SIOCGIFNAME)
        strlcpy(request.ifr_name, device->name, sizeof(request.ifr_name));
    else
        error = is_get ? get(device, command, &request) : set(device, command, &request);
    net_device_put(device);
    if (error == 0 && is_get)
        error = copy_to_user(argument, &request, sizeof(request));
    return error;
}

static int show_devices(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "Inter-|   Receive                                                |  "
                        "Transmit\n face |bytes    packets errs drop fifo frame compressed "
                        "multicast|bytes    packets errs drop fifo colls carrier compressed\n");
    for (struct net_device *device = NULL; (device = net_device_next_get(device)) != NULL;) {
        struct net_statistics s;
        net_device_statistics(device, &s);
        proc_printf(buffer,
            "%6s: %7lu %7lu %4lu %4lu    0     0          0         0 %8lu %7lu %4lu %4lu    0     "
            "0       0          0\n",
            device->name, s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped, s.tx_bytes,
            s.tx_packets, s.tx_errors, s.tx_dropped);
    }
    return 0;
}

int net_proc_register(void)
{
    static const struct proc_file file = {.path = "net/dev", .mode = 0444, .show = show_devices};
    return proc_register(&file);
}
