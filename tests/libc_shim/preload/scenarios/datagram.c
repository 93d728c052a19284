// datagram.c: UDP.
#include "scenario.h"

static int bound(struct sockaddr_in *name, int flags)
{
    socklen_t length = sizeof *name;
    int fd = MUST(socket(AF_INET, SOCK_DGRAM | flags, 0));
    *name = loopback(0);
    MUST(bind(fd, (struct sockaddr *)name, sizeof *name));
    MUST(getsockname(fd, (struct sockaddr *)name, &length));
    return fd;
}

// The result, or -errno.
static int attach(int fd, int level, int type, const void *value, size_t bytes)
{
    return send_beside(fd, level, type, value, bytes) < 0 ? -errno : 0;
}

// Prints the control messages of the next datagram.
static void say_control(int fd)
{
    union {
        struct cmsghdr header;
        char room[128];
    } control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    SAY(wait_for(fd, POLLIN) & POLLIN);
    SAY(recvmsg(fd, &message, 0));
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        int value = 0;
        size_t bytes = c->cmsg_len - CMSG_LEN(0);
        memcpy(&value, CMSG_DATA(c), bytes < sizeof value ? bytes : sizeof value);
        printf("level %d, type %d: %d\n", c->cmsg_level, c->cmsg_type, value);
    }
}

static void ancillary(void)
{
    struct sockaddr_in name;
    const int on = 1;
    const int three = 3;
    const int many = 256;
    const unsigned char tos = 8;
    int to = bound(&name, 0);
    int from = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(setsockopt(to, IPPROTO_IP, IP_RECVTTL, &on, sizeof on));
    MUST(setsockopt(to, IPPROTO_IP, IP_RECVTOS, &on, sizeof on));
    MUST(connect(from, (struct sockaddr *)&name, sizeof name));
    SAY(attach(from, IPPROTO_IP, IP_TTL, &three, sizeof three));
    say_control(to);
    SAY(attach(from, IPPROTO_IP, IP_TOS, &tos, sizeof tos));
    say_control(to);
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f000009)};
    SAY(attach(from, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    say_control(to);
    SAY(attach(from, IPPROTO_TCP, 77, &three, sizeof three)); // another level: nobody's
    say_control(to);
    SAY(attach(from, IPPROTO_UDP, 77, &three, sizeof three));
    SAY(attach(from, IPPROTO_IP, IP_TTL, &many, sizeof many));
    SAY(attach(from, IPPROTO_IP, IP_TTL, &tos, sizeof tos));
    SAY(attach(from, IPPROTO_IP, IP_TOS, &many, sizeof many));
    SAY(attach(from, IPPROTO_IP, IP_PKTINFO, &three, sizeof three));
    SAY(attach(from, IPPROTO_IP, 99, &three, sizeof three));
    SAY(attach(from, SOL_SOCKET, 99, &three, sizeof three));
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof six;
    to = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    from = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    MUST(bind(to, (struct sockaddr *)&six, sizeof six));
    MUST(getsockname(to, (struct sockaddr *)&six, &length));
    MUST(setsockopt(to, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on));
    MUST(setsockopt(to, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on));
    MUST(connect(from, (struct sockaddr *)&six, sizeof six));
    SAY(attach(from, IPPROTO_IPV6, IPV6_HOPLIMIT, &three, sizeof three));
    say_control(to);
    SAY(attach(from, IPPROTO_IPV6, IPV6_TCLASS, &three, sizeof three));
    say_control(to);
    SAY(attach(from, IPPROTO_IPV6, IPV6_HOPLIMIT, &many, sizeof many));
    SAY(attach(from, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos));
    SAY(attach(from, IPPROTO_IPV6, 99, &three, sizeof three));
}

static void datagrams(void)
{
    struct sockaddr_in a_name;
    struct sockaddr_in b_name;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    char buf[16] = {0};
    int bytes = -1;
    int a = bound(&a_name, 0);
    int b = bound(&b_name, 0);
    SAY(recv(a, buf, 16, MSG_DONTWAIT));
    SAY(send(a, "x", 1, 0));
    SAY(sendto(a, "one", 3, 0, (struct sockaddr *)&b_name, sizeof b_name));
    SAY(sendto(a, "", 0, 0, (struct sockaddr *)&b_name, sizeof b_name));
    SAY(sendto(a, "three long", 10, 0, (struct sockaddr *)&b_name, sizeof b_name));
    SAY(wait_for(b, POLLIN) & POLLIN);
    SAY(recvfrom(b, buf, 16, MSG_PEEK, (struct sockaddr *)&from, &length));
    SAY(from.sin_port == a_name.sin_port);
    SAY(ioctl(b, FIONREAD, &bytes));
    SAY(bytes);
    SAY(recvfrom(b, buf, 16, 0, (struct sockaddr *)&from, &length));
    SAY(recv(b, buf, 16, 0));
    SAY(recv(b, buf, 4, MSG_TRUNC));
    SAY(recv(b, buf, 4, MSG_DONTWAIT));
    SAY(connect(a, (struct sockaddr *)&b_name, sizeof b_name));
    SAY(send(a, "connected", 9, 0));
    struct iovec iov = {buf, 4};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
    SAY(wait_for(b, POLLIN) & POLLIN);
    SAY(recvmsg(b, &message, 0));
    SAY(message.msg_flags == MSG_TRUNC);
    SAY(message.msg_namelen);
    struct iovec out[2] = {{"ab", 2}, {"cde", 3}};
    struct mmsghdr several[2] = {{.msg_hdr = {.msg_iov = out, .msg_iovlen = 2}},
                                 {.msg_hdr = {.msg_iov = out, .msg_iovlen = 1}}};
    SAY(sendmmsg(a, several, 2, 0));
    char more[2][8];
    struct iovec in[2] = {{more[0], 8}, {more[1], 8}};
    struct mmsghdr both[2] = {{.msg_hdr = {.msg_iov = &in[0], .msg_iovlen = 1}},
                              {.msg_hdr = {.msg_iov = &in[1], .msg_iovlen = 1}}};
    SAY(recvmmsg(b, both, 2, 0, NULL));
    SAY(both[0].msg_len);
    SAY(both[1].msg_len);
    SAY(recvmmsg(b, both, 2, MSG_DONTWAIT, NULL));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    SAY(connect(a, &none, sizeof none));
    SAY(send(a, "x", 1, 0));
    SAY(listen(a, 1));
    SAY(accept(a, NULL, NULL));
}

const struct scenario datagram_scenarios[] = {
    {"datagrams", datagrams},
    {"ancillary", ancillary},
    {NULL, NULL},
};
