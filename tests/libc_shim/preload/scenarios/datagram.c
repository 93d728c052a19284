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
    {NULL, NULL},
};
