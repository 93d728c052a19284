#include "servers/ip/loopback.h"

#include "servers/ip/input.h"
#include "servers/ip/output.h"

void nt_ip_loopback(struct nt_ip *ip, const struct nt_ip_out *out)
{
    uint32_t len;
    if (out->len > UINT16_MAX - nt_ip_header_bytes(out)) {
        nt_ip_count(ip, NT_IP_COUNT_TOO_BIG);
        return;
    }
    int64_t buffer = nt_ip_gather(ip, out, &len);
    if (buffer < 0)
        return;
    nt_ip_count(ip, NT_IP_COUNT_LOOPBACK_PACKETS);
    struct nt_ip_in in = {
        .interface = NT_INTERFACE_LOOPBACK,
        .gso_size = out->gso_size,
        .flags = NT_DESC_LOOPBACK | NT_DESC_CSUM_VALID, // its bytes never left memory
    };
    nt_ip_input_own(ip, &in, (uint32_t)buffer, NT_POOL_HEADROOM, len);
}
