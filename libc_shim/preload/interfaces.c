// interfaces.c: see interfaces.h.

#include "libc_shim/preload/interfaces.h"

#include "libc_shim/preload/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum {
    ADDRESSES_MAX = 64,  // a host has at most 32 (newtos_py/net/netconf.h)
    QUEUE_LENGTH = 1000, // what Linux says of most devices
};

struct address {
    char name[IFNAMSIZ];
    unsigned index;
    unsigned flags;
    int mtu;
    int family;
    int prefix_bits;
    uint8_t bytes[16]; // 4 of them for AF_INET
    uint8_t mac[6];
};

struct addresses {
    int count;
    struct address entry[ADDRESSES_MAX];
};

static unsigned index_of(const struct addresses *list, const char *name)
{
    unsigned highest = 0;
    for (int i = 0; i < list->count; i++) {
        if (strcmp(list->entry[i].name, name) == 0)
            return list->entry[i].index;
        if (list->entry[i].index > highest)
            highest = list->entry[i].index;
    }
    return highest + 1;
}

static bool parse_line(const char *line, struct addresses *list)
{
    struct address *entry = &list->entry[list->count];
    char text[INET6_ADDRSTRLEN + 1];
    memset(entry, 0, sizeof *entry);
    if (sscanf(line, "%15s %46[^/]/%d %i %d %hhx:%hhx:%hhx:%hhx:%hhx:%hhx", entry->name, text,
               &entry->prefix_bits, (int *)&entry->flags, &entry->mtu, &entry->mac[0],
               &entry->mac[1], &entry->mac[2], &entry->mac[3], &entry->mac[4],
               &entry->mac[5]) < 5) // loopback has no hardware address
        return false;
    entry->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    int bits = entry->family == AF_INET6 ? 128 : 32;
    if (inet_pton(entry->family, text, entry->bytes) != 1 || entry->prefix_bits < 0 ||
        entry->prefix_bits > bits)
        return false;
    entry->index = index_of(list, entry->name);
    return true;
}

static int ask(struct addresses *list)
{
    struct nt_control_call call;
    list->count = 0;
    nt_control_prepare(&call, NT_CTL_IFADDRS);
    int result = nt_control_do(&call);
    if (result != 0)
        return result;
    call.message.text[NT_CTL_TEXT_BYTES - 1] = '\0';
    char *rest = call.message.text;
    char *line;
    while (list->count < ADDRESSES_MAX && (line = strsep(&rest, "\n")) != NULL)
        list->count += parse_line(line, list);
    return 0;
}

// -- getifaddrs ------------------------------------------------------------------------------

union any_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_ll link;
};

struct node { // what a list entry points to, all in one block
    struct ifaddrs ifa;
    union any_address address;
    union any_address netmask;
    union any_address broadcast;
    char name[IFNAMSIZ];
};

static void mask_bytes(uint8_t *out, int bytes, int bits)
{
    memset(out, 0, (size_t)bytes);
    for (int bit = 0; bit < bits; bit++)
        out[bit / 8] = (uint8_t)(out[bit / 8] | 0x80u >> (bit % 8));
}

static void fill_ipv4(struct node *node, const struct address *entry)
{
    uint8_t mask[4];
    uint8_t broadcast[4];
    mask_bytes(mask, 4, entry->prefix_bits);
    for (int i = 0; i < 4; i++)
        broadcast[i] = (uint8_t)(entry->bytes[i] | ~mask[i]);
    node->address.in.sin_family = node->netmask.in.sin_family = AF_INET;
    memcpy(&node->address.in.sin_addr, entry->bytes, 4);
    memcpy(&node->netmask.in.sin_addr, mask, 4);
    if ((entry->flags & IFF_BROADCAST) == 0)
        return;
    node->broadcast.in.sin_family = AF_INET;
    memcpy(&node->broadcast.in.sin_addr, broadcast, 4);
    node->ifa.ifa_broadaddr = &node->broadcast.any;
}

static void fill_ipv6(struct node *node, const struct address *entry)
{
    node->address.in6.sin6_family = node->netmask.in6.sin6_family = AF_INET6;
    memcpy(&node->address.in6.sin6_addr, entry->bytes, 16);
    mask_bytes(node->netmask.in6.sin6_addr.s6_addr, 16, entry->prefix_bits);
}

static void fill(struct node *node, const struct address *entry)
{
    memcpy(node->name, entry->name, sizeof node->name);
    node->ifa.ifa_name = node->name;
    node->ifa.ifa_flags = entry->flags;
    node->ifa.ifa_addr = &node->address.any;
    node->ifa.ifa_netmask = &node->netmask.any;
    if (entry->family == AF_INET)
        fill_ipv4(node, entry);
    else
        fill_ipv6(node, entry);
}

int nt_getifaddrs(struct ifaddrs **list)
{
    struct addresses found;
    int result = ask(&found);
    *list = NULL;
    if (result != 0 || found.count == 0)
        return result;
    struct node *nodes = calloc((size_t)found.count, sizeof *nodes);
    if (nodes == NULL)
        return -ENOMEM;
    for (int i = 0; i < found.count; i++) {
        fill(&nodes[i], &found.entry[i]);
        if (i > 0)
            nodes[i - 1].ifa.ifa_next = &nodes[i].ifa;
    }
    *list = &nodes[0].ifa; // the block's address: what freeifaddrs frees
    return 0;
}

unsigned nt_if_nametoindex(const char *name)
{
    struct addresses found;
    if (ask(&found) != 0)
        return 0;
    for (int i = 0; i < found.count; i++)
        if (strcmp(found.entry[i].name, name) == 0)
            return found.entry[i].index;
    errno = ENODEV;
    return 0;
}

char *nt_if_indextoname(unsigned index, char *name)
{
    struct addresses found;
    if (ask(&found) != 0)
        return NULL;
    for (int i = 0; i < found.count; i++)
        if (found.entry[i].index == index)
            return memcpy(name, found.entry[i].name, IFNAMSIZ);
    errno = ENXIO;
    return NULL;
}

bool nt_interface_has(const struct nt_endpoint *local)
{
    struct addresses found;
    const uint8_t *bytes = local->addr + 12;
    if (nt_endpoint_is_any(local))
        return true;
    if (ask(&found) != 0)
        return true; // nobody knows
    if (!nt_endpoint_is_v4(local))
        return false;
    bool has = bytes[0] == IN_LOOPBACKNET;
    for (int i = 0; i < found.count; i++)
        has |= found.entry[i].family == AF_INET && memcmp(found.entry[i].bytes, bytes, 4) == 0;
    return has;
}

struct if_nameindex *nt_if_nameindex(void)
{
    struct addresses found;
    if (ask(&found) != 0)
        return NULL;
    // libc's if_freenameindex() frees the names one by one, then the list.
    struct if_nameindex *list = calloc((size_t)found.count + 1, sizeof *list);
    unsigned highest = 0; // an interface is named once, though it may have several addresses
    size_t count = 0;
    for (int i = 0; list != NULL && i < found.count; i++) {
        if (found.entry[i].index <= highest)
            continue;
        highest = found.entry[i].index;
        list[count].if_index = highest;
        list[count].if_name = strdup(found.entry[i].name);
        if (list[count++].if_name == NULL) {
            while (count > 0)
                free(list[--count].if_name);
            free(list);
            list = NULL;
        }
    }
    return list;
}

// -- ioctl -----------------------------------------------------------------------------------

static int list_configuration(struct ifconf *conf, const struct addresses *found)
{
    int room = conf->ifc_len;
    int used = 0;
    for (int i = 0; i < found->count; i++) {
        const struct address *entry = &found->entry[i];
        if (entry->family != AF_INET)
            continue;
        if (conf->ifc_req != NULL && used + (int)sizeof(struct ifreq) <= room) {
            struct ifreq *request = &conf->ifc_req[used / (int)sizeof(struct ifreq)];
            struct sockaddr_in address = {.sin_family = AF_INET};
            memset(request, 0, sizeof *request);
            memcpy(request->ifr_name, entry->name, IFNAMSIZ);
            memcpy(&address.sin_addr, entry->bytes, 4);
            memcpy(&request->ifr_addr, &address, sizeof address);
        } else if (conf->ifc_req != NULL) {
            break;
        }
        used += (int)sizeof(struct ifreq);
    }
    conf->ifc_len = used;
    return 0;
}

static const struct address *find(const struct addresses *found, const struct ifreq *request,
                                  bool by_index)
{
    for (int i = 0; i < found->count; i++) {
        const struct address *entry = &found->entry[i];
        if (by_index ? (int)entry->index == request->ifr_ifindex
                     : strncmp(entry->name, request->ifr_name, IFNAMSIZ) == 0)
            return entry;
    }
    return NULL;
}

static void put_ipv4(struct sockaddr *to, const void *bytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    memcpy(&address.sin_addr, bytes, 4);
    memcpy(to, &address, sizeof address);
}

static int answer_about(unsigned long request, struct ifreq *ask_for, const struct address *entry)
{
    uint8_t mask[4];
    switch (request) {
    case SIOCGIFNAME:
        memcpy(ask_for->ifr_name, entry->name, IFNAMSIZ);
        return 0;
    case SIOCGIFINDEX:
        ask_for->ifr_ifindex = (int)entry->index;
        return 0;
    case SIOCGIFFLAGS:
        ask_for->ifr_flags = (short)entry->flags;
        return 0;
    case SIOCGIFMTU:
        ask_for->ifr_mtu = entry->mtu;
        return 0;
    case SIOCGIFADDR:
        put_ipv4(&ask_for->ifr_addr, entry->bytes);
        return 0;
    case SIOCGIFNETMASK:
        mask_bytes(mask, 4, entry->prefix_bits);
        put_ipv4(&ask_for->ifr_netmask, mask);
        return 0;
    case SIOCGIFBRDADDR:
        mask_bytes(mask, 4, entry->prefix_bits);
        for (int i = 0; i < 4; i++)
            mask[i] =
                (entry->flags & IFF_BROADCAST) != 0 ? (uint8_t)(entry->bytes[i] | ~mask[i]) : 0;
        put_ipv4(&ask_for->ifr_broadaddr, mask);
        return 0;
    case SIOCGIFHWADDR:
        memset(&ask_for->ifr_hwaddr, 0, sizeof ask_for->ifr_hwaddr);
        ask_for->ifr_hwaddr.sa_family =
            (entry->flags & IFF_LOOPBACK) != 0 ? ARPHRD_LOOPBACK : ARPHRD_ETHER;
        memcpy(ask_for->ifr_hwaddr.sa_data, entry->mac, sizeof entry->mac);
        return 0;
    case SIOCGIFMETRIC:
        ask_for->ifr_metric = 0;
        return 0;
    case SIOCGIFTXQLEN:
        ask_for->ifr_qlen = QUEUE_LENGTH;
        return 0;
    default:
        return -ENOTTY;
    }
}

int nt_interface_ioctl(unsigned long request, void *arg)
{
    struct addresses found;
    switch (request) {
    case SIOCGIFCONF:
    case SIOCGIFNAME:
    case SIOCGIFINDEX:
    case SIOCGIFFLAGS:
    case SIOCGIFMTU:
    case SIOCGIFADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFBRDADDR:
    case SIOCGIFHWADDR:
    case SIOCGIFMETRIC:
    case SIOCGIFTXQLEN:
        break;
    case SIOCSIFADDR:
    case SIOCSIFBRDADDR:
    case SIOCSIFNETMASK:
    case SIOCSIFFLAGS:
    case SIOCSIFMTU:
    case SIOCSIFHWADDR:
        return -EPERM; // the topology says
    default:
        return -ENOTTY;
    }
    if (arg == NULL)
        return -EFAULT;
    int result = ask(&found);
    if (result != 0)
        return result;
    if (request == SIOCGIFCONF)
        return list_configuration(arg, &found);
    const struct address *entry = find(&found, arg, request == SIOCGIFNAME);
    return entry == NULL ? -ENODEV : answer_about(request, arg, entry);
}
