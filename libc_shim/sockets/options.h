// options.h: how socket options are described, for the files options*.c alone.
//
// Most options are a number somewhere: a bit or a field of the program block, which the server
// reads at each sweep; a bit that only this layer looks at; or a value that is kept and reported,
// because it asks for nothing that this stack does differently (a hint, a default that already
// holds). One table a level describes them, with Linux's ranges and defaults. What this stack does
// not do is in the tables too: its default can be asked for and set, anything else is refused. The
// rest have a function each, in the file of their level.
#ifndef NT_SHIM_OPTIONS_H
#define NT_SHIM_OPTIONS_H

#include <limits.h>
#include <netinet/tcp.h>
#include <stddef.h>

#include "libc_shim/sockets/inner.h"

enum nt_option_where {
    NT_IN_BIT,      // of the program block's `options`; reported as 0 or 1
    NT_IN_PRIVATE,  // a bit of nt_sock.flags
    NT_IN_8,        // field of the program block, at offset `at`; 0 there means the default
    NT_IN_16,       //
    NT_IN_32,       //
    NT_IN_KEPT,     // nt_sock.kept[at]
    NT_IN_KEPT_BIT, // bit `at` of nt_sock.kept_bits
    NT_IN_NOTHING,  // always the default; anything else is refused with errno `at`
};

enum {
    NT_FOR_STREAM = 1,
    NT_FOR_DGRAM = 2,
    NT_FOR_BOTH = 3,
    NT_FOR_V6 = 4,       // AF_INET6 sockets only
    NT_TAKES_BYTE = 8,   // a value of one byte will do (ip(7))
    NT_TAKES_EMPTY = 16, // no value is 0
    NT_SET_DGRAM = 32,   // streams can ask, but not set: EINVAL
    NT_LOW_BYTE = 64,    // the rest of the number is ignored
    NT_MINUS_ONE = 128,  // -1 is the default
};

enum nt_kept { // indices of nt_sock.kept
    NT_KEPT_PRIORITY,
    NT_KEPT_MARK,
    NT_KEPT_BUSY_POLL,
    NT_KEPT_INCOMING_CPU,
    NT_KEPT_DEVICE,
    NT_KEPT_BUF_LOCK,
    NT_KEPT_TXREHASH,
    NT_KEPT_SYNCNT,
    NT_KEPT_LINGER2,
    NT_KEPT_DEFER_ACCEPT,
    NT_KEPT_NOTSENT_LOWAT,
    NT_KEPT_WINDOW_CLAMP,
    NT_KEPT_QUICKACK,
    NT_KEPT_MTU_DISCOVER,
    NT_KEPT_MULTICAST_TTL,
    NT_KEPT_MTU_DISCOVER6,
    NT_KEPT_MULTICAST_HOPS6,
    NT_KEPT_COUNT,
};
_Static_assert((int)NT_KEPT_COUNT <= (int)NT_SOCK_KEPT_MAX, "room");

enum nt_kept_bit { // of nt_sock.kept_bits
    NT_KEPT_DEBUG,
    NT_KEPT_DONTROUTE,
    NT_KEPT_NO_CHECK,
    NT_KEPT_RXQ_OVFL,
    NT_KEPT_WIFI_STATUS,
    NT_KEPT_NOFCS,
    NT_KEPT_LOCK_FILTER,
    NT_KEPT_SELECT_ERR_QUEUE,
    NT_KEPT_PREFER_BUSY_POLL,
    NT_KEPT_RCVMARK,
    NT_KEPT_THIN_LINEAR,
    NT_KEPT_RECVERR,
    NT_KEPT_RECVERR4884,
    NT_KEPT_FREEBIND,
    NT_KEPT_BIND_NO_PORT,
    NT_KEPT_MULTICAST_LOOP,
    NT_KEPT_MULTICAST_ALL,
    NT_KEPT_RECVOPTS,
    NT_KEPT_RETOPTS,
    NT_KEPT_PASSSEC,
    NT_KEPT_RECVERR6,
    NT_KEPT_RECVERR6_4884,
    NT_KEPT_MULTICAST_LOOP6,
    NT_KEPT_MULTICAST_ALL6,
    NT_KEPT_RECVHOPOPTS,
    NT_KEPT_RECVRTHDR,
    NT_KEPT_RECVDSTOPTS,
    NT_KEPT_RECVPATHMTU,
    NT_KEPT_DONTFRAG,
    NT_KEPT_AUTOFLOWLABEL,
    NT_KEPT_FLOWINFO_SEND,
    NT_KEPT_FREEBIND6,
    NT_KEPT_NO_CHECK6_TX,
    NT_KEPT_NO_CHECK6_RX,
    NT_KEPT_BITS,
};
_Static_assert((int)NT_KEPT_BITS <= 64, "room");

struct nt_option {
    int name;
    enum nt_option_where where;
    uint32_t at;
    uint32_t flags;
    int least;
    int most;
    int otherwise; // reported where the field says 0; what NT_IN_NOTHING always is
};

struct nt_option_table {
    int level;
    uint32_t rows;
    const struct nt_option *row;
};

#define NT_OPTION_AT(field) (uint32_t) offsetof(struct nt_slot_program, field)
#define NT_OPTION_ANY       INT_MIN, INT_MAX

extern const struct nt_option_table nt_socket_options;
extern const struct nt_option_table nt_tcp_options;
extern const struct nt_option_table nt_ip_options;
extern const struct nt_option_table nt_ipv6_options;
extern const struct nt_option_table nt_udp_options;

// Where no table has it.
int nt_get_socket_level(struct nt_sock *sock, int name, void *value, socklen_t *length);
int nt_set_socket_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                        struct nt_sock_wake *wake);
int nt_get_tcp_level(struct nt_sock *sock, int name, void *value, socklen_t *length);
int nt_set_tcp_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                     struct nt_sock_wake *wake);
int nt_get_ip_level(struct nt_sock *sock, int name, void *value, socklen_t *length);
int nt_set_ip_level(struct nt_sock *sock, int name, const void *value, socklen_t length);
int nt_get_ipv6_level(struct nt_sock *sock, int name, void *value, socklen_t *length);
int nt_set_ipv6_level(struct nt_sock *sock, int name, const void *value, socklen_t length);

// -- Tools -----------------------------------------------------------------------------------

// Answers with as much as there is room for.
static inline int nt_option_put(const void *from, socklen_t bytes, void *value, socklen_t *length)
{
    socklen_t fits = *length < bytes ? *length : bytes;
    memcpy(value, from, fits);
    *length = fits;
    return 0;
}

static inline int nt_option_put_number(int number, void *value, socklen_t *length)
{
    return nt_option_put(&number, sizeof number, value, length);
}

static inline int nt_option_number(const void *value, socklen_t length, int *number)
{
    if (length < sizeof *number)
        return -EINVAL;
    memcpy(number, value, sizeof *number);
    return 0;
}

static inline void nt_option_set_bit(struct nt_sock *sock, uint32_t bit, bool on)
{
    uint32_t options = nt_sock_options(sock);
    nt_store_release(&sock->program->options, on ? options | bit : options & ~bit);
}

#endif
