// options.c: getsockopt() and setsockopt() where the socket area knows the answer; see options.h.
#include "libc_shim/sockets/options.h"

static const int32_t kept_defaults[NT_SOCK_KEPT_MAX] = {
    [NT_KEPT_INCOMING_CPU] = -1, [NT_KEPT_TXREHASH] = 1,      [NT_KEPT_SYNCNT] = 6,
    [NT_KEPT_LINGER2] = 60,      [NT_KEPT_QUICKACK] = 1,      [NT_KEPT_MTU_DISCOVER] = 1,
    [NT_KEPT_MULTICAST_TTL] = 1, [NT_KEPT_MTU_DISCOVER6] = 1, [NT_KEPT_MULTICAST_HOPS6] = 1,
};

#define BIT(n) (UINT64_C(1) << (n))
static const uint64_t kept_bit_defaults = BIT(NT_KEPT_MULTICAST_LOOP) | BIT(NT_KEPT_MULTICAST_ALL) |
                                          BIT(NT_KEPT_MULTICAST_LOOP6) |
                                          BIT(NT_KEPT_MULTICAST_ALL6) | BIT(NT_KEPT_AUTOFLOWLABEL);

void nt_sock_options_init(struct nt_sock *sock)
{
    memcpy(sock->kept, kept_defaults, sizeof sock->kept);
    sock->kept_bits = kept_bit_defaults;
}

static const struct nt_option *find_row(const struct nt_sock *sock,
                                        const struct nt_option_table *table, int name)
{
    uint32_t type = sock->type == SOCK_STREAM ? NT_FOR_STREAM : NT_FOR_DGRAM;
    for (uint32_t i = 0; i < table->rows; i++) {
        const struct nt_option *option = &table->row[i];
        if (option->name == name && (option->flags & type) != 0 &&
            ((option->flags & NT_FOR_V6) == 0 || sock->family == AF_INET6))
            return option;
    }
    return NULL;
}

static const struct nt_option *find(const struct nt_sock *sock, int level, int name)
{
    static const struct nt_option_table *const tables[] = {
        &nt_socket_options, &nt_tcp_options, &nt_ip_options, &nt_ipv6_options, &nt_udp_options,
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (tables[i]->level == level)
            return find_row(sock, tables[i], name);
    }
    return NULL;
}

// -- The tables' options ---------------------------------------------------------------------

static int get_number(const struct nt_sock *sock, const struct nt_option *option)
{
    const uint8_t *field = (const uint8_t *)sock->program + option->at;
    uint32_t value = 0;
    switch (option->where) {
    case NT_IN_BIT:
        return (nt_sock_options(sock) & option->at) != 0;
    case NT_IN_PRIVATE:
        return (sock->flags & option->at) != 0;
    case NT_IN_KEPT:
        return sock->kept[option->at];
    case NT_IN_KEPT_BIT:
        return (sock->kept_bits & BIT(option->at)) != 0;
    case NT_IN_NOTHING:
        return option->otherwise;
    case NT_IN_8:
        value = *field;
        break;
    case NT_IN_16:
        value = nt_load_relaxed((const uint16_t *)(const void *)field);
        break;
    case NT_IN_32:
        value = nt_load_relaxed((const uint32_t *)(const void *)field);
        break;
    }
    return value == 0 ? option->otherwise : (int)value;
}

static int set_number(struct nt_sock *sock, const struct nt_option *option, int value)
{
    uint8_t *field = (uint8_t *)sock->program + option->at;
    switch (option->where) {
    case NT_IN_BIT:
        nt_option_set_bit(sock, option->at, value != 0);
        break;
    case NT_IN_PRIVATE:
        sock->flags = value != 0 ? sock->flags | option->at : sock->flags & ~option->at;
        break;
    case NT_IN_KEPT:
        sock->kept[option->at] = value;
        break;
    case NT_IN_KEPT_BIT:
        sock->kept_bits =
            value != 0 ? sock->kept_bits | BIT(option->at) : sock->kept_bits & ~BIT(option->at);
        break;
    case NT_IN_NOTHING:
        return value == option->otherwise ? 0 : -(int)option->at;
    case NT_IN_8:
        *field = (uint8_t)value;
        break;
    case NT_IN_16:
        nt_store_relaxed((uint16_t *)(void *)field, (uint16_t)value);
        break;
    case NT_IN_32:
        nt_store_relaxed((uint32_t *)(void *)field, (uint32_t)value);
        break;
    }
    return 0;
}

static int read_number(const struct nt_option *option, const void *value, socklen_t length,
                       int *number)
{
    if (length >= sizeof *number) {
        memcpy(number, value, sizeof *number);
        return 0;
    }
    if (length == 0 && (option->flags & NT_TAKES_EMPTY) != 0) {
        *number = 0;
        return 0;
    }
    if (length == 0 || (option->flags & NT_TAKES_BYTE) == 0)
        return -EINVAL;
    *number = *(const uint8_t *)value;
    return 0;
}

// What a server should act upon now: a small segment held back, a timer to arm.
static void tell_if_due(struct nt_sock *sock, const struct nt_option *option,
                        struct nt_sock_wake *wake)
{
    if (sock->type != SOCK_STREAM)
        return;
    bool unsent = nt_load_relaxed(&sock->server->tx_head) != nt_load_relaxed(&sock->tx_tail);
    bool nodelay = option->where == NT_IN_BIT && option->at == NT_OPTION_NODELAY;
    bool timers = option->where == NT_IN_16 ||
                  (option->where == NT_IN_BIT && option->at == NT_OPTION_KEEPALIVE);
    if ((nodelay && unsent) || (timers && sock->phase == NT_SOCK_CONNECTED))
        nt_sock_tell(sock, wake);
}

static bool has_port(const struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    return sock->bound != 0 || view.state != NT_TCP_CLOSE;
}

static int set_from_table(struct nt_sock *sock, int level, const struct nt_option *option,
                          const void *value, socklen_t length, struct nt_sock_wake *wake)
{
    int number;
    if ((option->flags & NT_SET_DGRAM) != 0 && sock->type == SOCK_STREAM)
        return -EINVAL;
    int result = read_number(option, value, length, &number);
    if (result < 0)
        return result;
    if ((option->flags & NT_LOW_BYTE) != 0)
        number &= 0xff;
    if ((option->flags & NT_MINUS_ONE) != 0 && number == -1)
        number = option->where == NT_IN_8 ? 0 : option->otherwise;
    else if (number < option->least || number > option->most)
        return -EINVAL;
    if (level == IPPROTO_IPV6 && option->name == IPV6_V6ONLY && has_port(sock))
        return -EINVAL;
    if (level == IPPROTO_IP && option->name == IP_TOS && sock->type == SOCK_STREAM)
        number &= ~3; // INET_ECN_MASK is TCP's
    result = set_number(sock, option, number);
    if (result == 0)
        tell_if_due(sock, option, wake);
    return result;
}

// -- The calls -------------------------------------------------------------------------------

static int get_locked(struct nt_sock *sock, int level, int name, void *value, socklen_t *length)
{
    const struct nt_option *option = find(sock, level, name);
    if (option != NULL) {
        int number = get_number(sock, option);
        // do_ip_getsockopt(): one byte where no more was asked for.
        if (level == IPPROTO_IP && *length > 0 && *length < sizeof number && number >= 0 &&
            number <= 255) {
            uint8_t byte = (uint8_t)number;
            return nt_option_put(&byte, 1, value, length);
        }
        return nt_option_put_number(number, value, length);
    }
    if (level == SOL_SOCKET)
        return nt_get_socket_level(sock, name, value, length);
    if (level == IPPROTO_TCP && sock->type == SOCK_STREAM)
        return nt_get_tcp_level(sock, name, value, length);
    if (level == IPPROTO_IP)
        return nt_get_ip_level(sock, name, value, length);
    if (level == IPPROTO_IPV6 && sock->family == AF_INET6)
        return nt_get_ipv6_level(sock, name, value, length);
    // do_ip_getsockopt() has an errno of its own for a foreign level.
    bool foreign = level != IPPROTO_UDP || sock->type == SOCK_STREAM;
    return foreign && sock->family == AF_INET ? -EOPNOTSUPP : -ENOPROTOOPT;
}

int nt_sock_getsockopt(struct nt_sock *sock, int level, int name, void *value, socklen_t *length)
{
    bool foreign = sock->family == AF_INET && level == IPPROTO_IPV6;
    if (*length > INT_MAX && !foreign)
        return -EINVAL;
    nt_sock_lock(sock);
    int result =
        sock->phase == NT_SOCK_CLOSED ? -EBADF : get_locked(sock, level, name, value, length);
    nt_sock_unlock(sock);
    return result;
}

static int set_locked(struct nt_sock *sock, int level, int name, const void *value,
                      socklen_t length, struct nt_sock_wake *wake)
{
    const struct nt_option *option = find(sock, level, name);
    if (option != NULL)
        return set_from_table(sock, level, option, value, length, wake);
    if (level == SOL_SOCKET)
        return nt_set_socket_level(sock, name, value, length, wake);
    if (level == IPPROTO_TCP && sock->type == SOCK_STREAM)
        return nt_set_tcp_level(sock, name, value, length, wake);
    if (level == IPPROTO_IP)
        return nt_set_ip_level(sock, name, value, length);
    if (level == IPPROTO_IPV6 && sock->family == AF_INET6)
        return nt_set_ipv6_level(sock, name, value, length);
    // udp_lib_setsockopt() reads its number before it looks which option it is.
    bool udp = level == IPPROTO_UDP && sock->type == SOCK_DGRAM;
    return udp && length < sizeof(int) ? -EINVAL : -ENOPROTOOPT;
}

int nt_sock_setsockopt(struct nt_sock *sock, int level, int name, const void *value,
                       socklen_t length, struct nt_sock_wake *wake)
{
    if (length > INT_MAX)
        return -EINVAL;
    if (value == NULL && length != 0)
        return -EFAULT;
    nt_sock_lock(sock);
    int result =
        sock->phase == NT_SOCK_CLOSED ? -EBADF : set_locked(sock, level, name, value, length, wake);
    for (struct nt_sock *part = sock->beside; part != NULL; part = part->beside)
        nt_sock_copy_options(part, sock);
    nt_sock_unlock(sock);
    return result;
}
