// resolve.c: see resolve.h.

#include "libc_shim/preload/resolve.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/interfaces.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ADDRESSES_MAX = 32,
    SERVICE_ROOM = 1024, // of getservbyname_r
    NAME_MAX_BYTES = 255,
};

struct host_address {
    int family;
    uint32_t scope;
    uint8_t bytes[16];
};

struct host_addresses {
    int count;
    struct host_address entry[ADDRESSES_MAX];
};

// -- Addresses of a node ---------------------------------------------------------------------

// What stands behind the %: an interface's name where that makes sense, or a number.
static bool parse_scope(const char *text, const uint8_t address[16], uint32_t *scope)
{
    bool link = (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) ||
                (address[0] == 0xff && (address[1] & 0x0f) == 2);
    char *end;
    *scope = link ? nt_if_nametoindex(text) : 0;
    if (*scope != 0)
        return true;
    unsigned long number = strtoul(text, &end, 10);
    *scope = (uint32_t)number;
    return *text >= '0' && *text <= '9' && *end == '\0' && number <= UINT32_MAX;
}

static bool parse_ipv6(const char *node, struct host_address *out)
{
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE];
    const char *percent = strchr(node, '%');
    size_t bytes = percent != NULL ? (size_t)(percent - node) : strlen(node);
    if (bytes >= sizeof text)
        return false;
    memcpy(text, node, bytes);
    text[bytes] = '\0';
    out->family = AF_INET6;
    return inet_pton(AF_INET6, text, out->bytes) == 1 &&
           (percent == NULL || parse_scope(percent + 1, out->bytes, &out->scope));
}

static bool parse_numeric(const char *node, struct host_address *out)
{
    struct in_addr ipv4;
    memset(out, 0, sizeof *out);
    if (inet_aton(node, &ipv4) != 0) {
        out->family = AF_INET;
        memcpy(out->bytes, &ipv4, sizeof ipv4);
        return true;
    }
    return parse_ipv6(node, out);
}

static void map_ipv4(struct host_address *address)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    memmove(address->bytes + 12, address->bytes, 4);
    memcpy(address->bytes, prefix, sizeof prefix);
    address->family = AF_INET6;
}

// Keeps those of the family; with `mapped`, IPv4 ones as IPv6.
static void filter(struct host_addresses *list, int family, bool mapped)
{
    int kept = 0;
    for (int i = 0; i < list->count; i++) {
        struct host_address entry = list->entry[i];
        if (mapped && entry.family == AF_INET)
            map_ipv4(&entry);
        if (family == AF_UNSPEC || entry.family == family)
            list->entry[kept++] = entry;
    }
    list->count = kept;
}

static bool is_localhost(const char *node)
{
    size_t bytes = strlen(node); // RFC 6761 §6.3: localhost, and all names under it
    static const char name[] = "localhost";
    const size_t name_bytes = sizeof name - 1;
    if (bytes > 0 && node[bytes - 1] == '.')
        bytes--;
    if (bytes < name_bytes || strncasecmp(node + bytes - name_bytes, name, name_bytes) != 0)
        return false;
    return bytes == name_bytes || node[bytes - name_bytes - 1] == '.';
}

static void add_text(struct host_addresses *list, const char *text)
{
    if (list->count < ADDRESSES_MAX && parse_numeric(text, &list->entry[list->count]))
        list->count++;
}

static int error_of(int result)
{
    switch (result) {
    case -ENOENT:
        return EAI_NONAME;
    case -EAGAIN:
    case -ETIMEDOUT:
    case -ENETDOWN:
    case -ENETUNREACH:
        return EAI_AGAIN;
    default:
        return EAI_FAIL;
    }
}

static int ask_server(const char *node, int family, struct host_addresses *list)
{
    struct nt_control_call call;
    size_t bytes = strlen(node);
    if (bytes > NAME_MAX_BYTES)
        return EAI_NONAME;
    nt_control_prepare(&call, NT_CTL_RESOLVE);
    call.message.arg = (uint32_t)family;
    call.message.text_bytes = (uint32_t)bytes;
    memcpy(call.message.text, node, bytes + 1);
    int result = nt_control_do(&call);
    if (result != 0)
        return error_of(result);
    call.message.text[NT_CTL_TEXT_BYTES - 1] = '\0';
    char *rest = call.message.text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL)
        add_text(list, line);
    return list->count == 0 ? EAI_NONAME : 0;
}

static int look_up_node(const char *node, int family, bool numeric_only,
                        struct host_addresses *list)
{
    list->count = 0;
    if (parse_numeric(node, &list->entry[0])) {
        list->count = 1;
        return 0;
    }
    if (numeric_only || *node == '\0')
        return EAI_NONAME;
    if (is_localhost(node)) {
        add_text(list, family == AF_INET6 ? "::1" : "127.0.0.1");
        return 0;
    }
    return ask_server(node, family, list);
}

// -- getaddrinfo -----------------------------------------------------------------------------

struct transport {
    int type;
    int protocol;
    const char *name; // in /etc/services; NULL: has no services
};

static const struct transport transports[] = {
    {SOCK_STREAM, IPPROTO_TCP, "tcp"},
    {SOCK_DGRAM, IPPROTO_UDP, "udp"},
    {SOCK_RAW, 0, NULL},
};
enum {
    TRANSPORTS = sizeof transports / sizeof transports[0],
};

struct wanted {
    struct addrinfo hints;
    const struct transport *transport[TRANSPORTS];
    uint16_t port[TRANSPORTS]; // host byte order
    int count;
};

static bool transport_fits(const struct transport *transport, const struct addrinfo *hints)
{
    if (hints->ai_socktype != 0 && hints->ai_socktype != transport->type)
        return false;
    if (hints->ai_protocol == 0 || transport->type == SOCK_RAW)
        return true;
    return hints->ai_protocol == transport->protocol;
}

// The port of a service by that transport; -1: it has none.
static int port_of(const char *service, const struct transport *transport, bool numeric_only)
{
    char *end;
    unsigned long number = strtoul(service, &end, 10);
    if (*service >= '0' && *service <= '9' && *end == '\0')
        return number > UINT16_MAX ? -1 : (int)number;
    if (numeric_only || transport->name == NULL)
        return -1;
    struct servent entry;
    struct servent *found;
    char room[SERVICE_ROOM];
    if (getservbyname_r(service, transport->name, &entry, room, sizeof room, &found) != 0 ||
        found == NULL)
        return -1;
    return ntohs((uint16_t)found->s_port);
}

static int choose_transports(struct wanted *wanted, const char *service)
{
    bool any_fits = false;
    wanted->count = 0;
    for (int i = 0; i < TRANSPORTS; i++) {
        const struct transport *transport = &transports[i];
        if (!transport_fits(transport, &wanted->hints))
            continue;
        any_fits = true;
        int port = service == NULL ? 0
                                   : port_of(service, transport,
                                             (wanted->hints.ai_flags & AI_NUMERICSERV) != 0);
        if (port < 0)
            continue;
        wanted->transport[wanted->count] = transport;
        wanted->port[wanted->count++] = (uint16_t)port;
    }
    if (!any_fits)
        return wanted->hints.ai_socktype != 0 ? EAI_SOCKTYPE : EAI_SERVICE;
    if (wanted->count > 0)
        return 0;
    return (wanted->hints.ai_flags & AI_NUMERICSERV) != 0 ? EAI_NONAME : EAI_SERVICE;
}

static int own_addresses(const struct addrinfo *hints, struct host_addresses *list)
{
    bool passive = (hints->ai_flags & AI_PASSIVE) != 0;
    // A host has no IPv6 address but ::1, which AI_ADDRCONFIG does not count.
    bool both = hints->ai_family == AF_UNSPEC && (hints->ai_flags & AI_ADDRCONFIG) == 0;
    bool v4 = hints->ai_family != AF_INET6, v6 = both || !v4;
    list->count = 0;
    if (v6 && !passive) // in the order of RFC 6724, as libc sorts them
        add_text(list, "::1");
    if (v4)
        add_text(list, passive ? "0.0.0.0" : "127.0.0.1");
    if (v6 && passive)
        add_text(list, "::");
    return 0;
}

static int find_addresses(const char *node, const struct addrinfo *hints,
                          struct host_addresses *list)
{
    if (node == NULL)
        return own_addresses(hints, list);
    bool mapped = hints->ai_family == AF_INET6 && (hints->ai_flags & AI_V4MAPPED) != 0;
    int error = look_up_node(node, mapped ? AF_UNSPEC : hints->ai_family,
                             (hints->ai_flags & AI_NUMERICHOST) != 0, list);
    if (error != 0)
        return error;
    filter(list, hints->ai_family, mapped);
    return list->count > 0 ? 0 : EAI_ADDRFAMILY;
}

static struct addrinfo *make_entry(const struct host_address *address, const struct wanted *wanted,
                                   int i)
{
    struct {
        struct addrinfo info;
        union {
            struct sockaddr_in in;
            struct sockaddr_in6 in6;
        } address;
    } *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    const struct transport *transport = wanted->transport[i];
    bool ipv6 = address->family == AF_INET6;
    entry->info.ai_flags = wanted->hints.ai_flags;
    entry->info.ai_family = address->family;
    entry->info.ai_socktype = transport->type;
    entry->info.ai_protocol =
        transport->type == SOCK_RAW ? wanted->hints.ai_protocol : transport->protocol;
    entry->info.ai_addrlen = ipv6 ? sizeof entry->address.in6 : sizeof entry->address.in;
    entry->info.ai_addr = (struct sockaddr *)&entry->address;
    if (ipv6) {
        entry->address.in6.sin6_family = AF_INET6;
        entry->address.in6.sin6_port = htons(wanted->port[i]);
        entry->address.in6.sin6_scope_id = address->scope;
        memcpy(&entry->address.in6.sin6_addr, address->bytes, 16);
    } else {
        entry->address.in.sin_family = AF_INET;
        entry->address.in.sin_port = htons(wanted->port[i]);
        memcpy(&entry->address.in.sin_addr, address->bytes, 4);
    }
    return &entry->info;
}

static int make_list(const struct host_addresses *addresses, const struct wanted *wanted,
                     const char *canonical, struct addrinfo **found)
{
    struct addrinfo **end = found;
    *found = NULL;
    for (int i = 0; i < addresses->count; i++) {
        for (int j = 0; j < wanted->count; j++) {
            *end = make_entry(&addresses->entry[i], wanted, j);
            if (*end == NULL)
                return EAI_MEMORY;
            end = &(*end)->ai_next;
        }
    }
    if (canonical != NULL && *found != NULL) {
        (*found)->ai_canonname = strdup(canonical);
        if ((*found)->ai_canonname == NULL)
            return EAI_MEMORY;
    }
    return 0;
}

static int check_hints(const struct addrinfo *hints, const char *node)
{
    const int known = AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED |
                      AI_ALL | AI_ADDRCONFIG | AI_IDN | AI_CANONIDN | 0x0300;
    if ((hints->ai_flags & ~known) != 0 || ((hints->ai_flags & AI_CANONNAME) != 0 && node == NULL))
        return EAI_BADFLAGS;
    bool family = hints->ai_family == AF_UNSPEC || hints->ai_family == AF_INET ||
                  hints->ai_family == AF_INET6;
    return family ? 0 : EAI_FAMILY;
}

int nt_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                   struct addrinfo **found)
{
    struct wanted wanted = {.hints = {.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG}};
    struct host_addresses addresses;
    // As libc reads them.
    if (node != NULL && strcmp(node, "*") == 0)
        node = NULL;
    if (service != NULL && strcmp(service, "*") == 0)
        service = NULL;
    if (node == NULL && service == NULL)
        return EAI_NONAME;
    if (hints != NULL)
        wanted.hints = *hints;
    int error = check_hints(&wanted.hints, node);
    if (error == 0)
        error = choose_transports(&wanted, service);
    if (error == 0)
        error = find_addresses(node, &wanted.hints, &addresses);
    if (error != 0)
        return error;
    bool named = (wanted.hints.ai_flags & AI_CANONNAME) != 0;
    error = make_list(&addresses, &wanted, named ? node : NULL, found);
    if (error != 0 && *found != NULL)
        freeaddrinfo(*found);
    return error;
}

// There is no reverse look-up: an address has no name but localhost's.
static bool is_loopback(int family, const void *address)
{
    static const uint8_t ipv6[16] = {[15] = 1};
    return family == AF_INET ? *(const uint8_t *)address == 127 : memcmp(address, ipv6, 16) == 0;
}

static const void *address_in(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
}

int nt_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                   socklen_t host_room, char *service, socklen_t service_room, int flags)
{
    bool inet = address != NULL && length >= sizeof(sa_family_t) &&
                (address->sa_family == AF_INET || address->sa_family == AF_INET6);
    if (!inet || (flags & NI_NUMERICHOST) != 0)
        return nt_real.getnameinfo(address, length, host, host_room, service, service_room, flags);
    int error = nt_real.getnameinfo(address, length, host, host_room, service, service_room,
                                    (flags & ~NI_NAMEREQD) | NI_NUMERICHOST);
    if (error != 0 || host == NULL || host_room == 0)
        return error;
    if (is_loopback(address->sa_family, address_in(address))) {
        if (host_room < sizeof "localhost")
            return EAI_OVERFLOW;
        memcpy(host, "localhost", sizeof "localhost");
        return 0;
    }
    return (flags & NI_NAMEREQD) != 0 ? EAI_NONAME : 0;
}

// -- gethostbyname ---------------------------------------------------------------------------

static int host_error(int error)
{
    switch (error) {
    case EAI_NONAME:
        return HOST_NOT_FOUND;
    case EAI_AGAIN:
        return TRY_AGAIN;
    case EAI_ADDRFAMILY:
        return NO_ADDRESS;
    default:
        return NO_RECOVERY;
    }
}

// The entry, laid out in the caller's room: pointers, addresses, name.
static int fill_host(const char *name, int family, const struct host_addresses *list,
                     struct hostent *host, char *buf, size_t room)
{
    const size_t address_bytes = family == AF_INET ? 4 : 16;
    const size_t count = (size_t)list->count;
    size_t pad = -(uintptr_t)buf % sizeof(char *);
    size_t pointers = (count + 2) * sizeof(char *); // addresses, NULL, and the empty alias list
    if (room < pad + pointers + count * address_bytes + strlen(name) + 1)
        return ERANGE;
    char **list_at = (char **)(void *)(buf + pad);
    char *bytes_at = buf + pad + pointers;
    for (size_t i = 0; i < count; i++, bytes_at += address_bytes) {
        memcpy(bytes_at, list->entry[i].bytes, address_bytes);
        list_at[i] = bytes_at;
    }
    list_at[count] = NULL;
    list_at[count + 1] = NULL;
    host->h_name = memcpy(bytes_at, name, strlen(name) + 1);
    host->h_aliases = &list_at[count + 1];
    host->h_addrtype = family;
    host->h_length = (int)address_bytes;
    host->h_addr_list = list_at;
    return 0;
}

// The reentrant calls of libc set h_errno, too, and CPython reads it there.
static void set_error(int *error, int value) { h_errno = *error = value; }

int nt_gethostbyname(const char *name, int family, struct hostent *host, char *buf, size_t room,
                     struct hostent **found, int *error)
{
    struct host_addresses list;
    *found = NULL;
    int failed = look_up_node(name, family, false, &list);
    if (failed == 0) {
        filter(&list, family, false);
        failed = list.count == 0 ? EAI_ADDRFAMILY : 0;
    }
    if (failed != 0) {
        set_error(error, host_error(failed));
        return failed == EAI_AGAIN ? EAGAIN : 0;
    }
    int result = fill_host(name, family, &list, host, buf, room);
    set_error(error, result == 0 ? NETDB_SUCCESS : NETDB_INTERNAL);
    *found = result == 0 ? host : NULL;
    return result;
}

int nt_gethostbyaddr(const void *address, socklen_t length, int family, struct hostent *host,
                     char *buf, size_t room, struct hostent **found, int *error)
{
    struct host_addresses list = {.count = 1};
    socklen_t expected = family == AF_INET ? 4 : 16;
    *found = NULL;
    if ((family != AF_INET && family != AF_INET6) || length < expected) {
        set_error(error, NETDB_INTERNAL);
        return EINVAL;
    }
    if (!is_loopback(family, address)) {
        set_error(error, HOST_NOT_FOUND);
        return 0;
    }
    list.entry[0].family = family;
    memcpy(list.entry[0].bytes, address, expected);
    int result = fill_host("localhost", family, &list, host, buf, room);
    set_error(error, result == 0 ? NETDB_SUCCESS : NETDB_INTERNAL);
    *found = result == 0 ? host : NULL;
    return result;
}
