// icmp.h: ICMP for IPv4 (RFC 792, RFC 1122 §3.2.2, RFC 1191).
#ifndef NT_NET_ICMP_H
#define NT_NET_ICMP_H

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/checksum.h"

enum {
    NT_ICMP_HEADER_BYTES = 8,
    NT_ICMP_ECHO_REPLY = 0,
    NT_ICMP_UNREACHABLE = 3,
    NT_ICMP_SOURCE_QUENCH = 4, // deprecated (RFC 6633): ignored
    NT_ICMP_REDIRECT = 5,
    NT_ICMP_ECHO_REQUEST = 8,
    NT_ICMP_TIME_EXCEEDED = 11,
    NT_ICMP_PARAMETER_PROBLEM = 12,
};

enum nt_icmp_unreachable_code {
    NT_ICMP_NET_UNREACHABLE = 0,
    NT_ICMP_HOST_UNREACHABLE = 1,
    NT_ICMP_PROTOCOL_UNREACHABLE = 2,
    NT_ICMP_PORT_UNREACHABLE = 3,
    NT_ICMP_FRAGMENTATION_NEEDED = 4, // `rest` is the next hop's MTU (RFC 1191 §4)
};

enum nt_icmp_time_exceeded_code {
    NT_ICMP_TTL_EXCEEDED = 0,
    NT_ICMP_REASSEMBLY_EXCEEDED = 1,
};

struct nt_icmp {
    uint8_t type;
    uint8_t code;
    uint32_t rest; // the second word: echo id << 16 | sequence, MTU, or zero
};

#ifndef NT_CDEF
// Offsets of the fields.
enum {
    NT_ICMP_TYPE = 0,
    NT_ICMP_CODE = 1,
    NT_ICMP_CHECKSUM = 2,
    NT_ICMP_REST = 4,
};

static inline bool nt_icmp_check_len(uint64_t len) { return len >= NT_ICMP_HEADER_BYTES; }

static inline uint8_t nt_icmp_type(const uint8_t *p) { return p[NT_ICMP_TYPE]; }
static inline uint8_t nt_icmp_code(const uint8_t *p) { return p[NT_ICMP_CODE]; }
static inline uint32_t nt_icmp_rest(const uint8_t *p) { return nt_get32(p + NT_ICMP_REST); }

// Errors carry the header of the packet they are about, and are never answered by an error
// (RFC 1122 §3.2.2).
static inline bool nt_icmp_is_error(uint8_t type)
{
    return type == NT_ICMP_UNREACHABLE || type == NT_ICMP_SOURCE_QUENCH ||
           type == NT_ICMP_REDIRECT || type == NT_ICMP_TIME_EXCEEDED ||
           type == NT_ICMP_PARAMETER_PROBLEM;
}

// Does not look at the checksum, which covers the whole message: nt_icmp_checksum_ok.
static inline bool nt_icmp_parse(struct nt_icmp *repr, const uint8_t *p, uint64_t len)
{
    if (!nt_icmp_check_len(len))
        return false;
    repr->type = nt_icmp_type(p);
    repr->code = nt_icmp_code(p);
    repr->rest = nt_icmp_rest(p);
    return true;
}

static inline bool nt_icmp_checksum_ok(const uint8_t *p, uint64_t len)
{
    return nt_csum_finish(nt_csum(p, len, 0)) == 0;
}

// Writes NT_ICMP_HEADER_BYTES before the data that lie there already; the message has `len` bytes
// in all.
static inline void nt_icmp_emit(const struct nt_icmp *repr, uint8_t *p, uint64_t len)
{
    p[NT_ICMP_TYPE] = repr->type;
    p[NT_ICMP_CODE] = repr->code;
    nt_put32(p + NT_ICMP_REST, repr->rest);
    nt_csum_store(p + NT_ICMP_CHECKSUM, 0);
    nt_csum_store(p + NT_ICMP_CHECKSUM, nt_csum_finish(nt_csum(p, len, 0)));
}
#endif

#endif
