"""Creating the TAP device: what Linux has to be asked before the driver can read and write.

Runs in rs, once a boot, in the network namespace of whoever boots. The device is not persistent: it
is gone when the last descriptor is closed, which rs and the driver's generations share.

Names of requests and structures are those of linux/if_tun.h and netdevice(7); the ioctl interface
is enough for one address, so no netlink library is needed.
"""

import errno
import fcntl
import os
import socket
import struct
from ipaddress import IPv6Address

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import DevicePlan

_CONTROL = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x4000, 0x8000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO_ECN = 0x01, 0x02, 0x08

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943
_IFF_UP = 1

# Frames that Linux keeps for a driver that is busy, or being restarted.
_QUEUE_FRAMES = 1000


class DeviceError(NewtosError):
    """The TAP device can't be had; the message says what to do."""


def open_device(plan: DevicePlan) -> int:
    """Create the device, give the Linux side its address, bring it up; the descriptor.

    DeviceError if this process may not, the name is taken, or Linux has no TAP devices.
    """
    fd = _open_control(plan)
    try:
        _attach(fd, plan)
        _configure(plan)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_control(plan: DevicePlan) -> int:
    try:
        return os.open(_CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        todo = "load the module (modprobe tun), or leave out `tap`"
        raise DeviceError(f"{_told(plan)}: there is no {_CONTROL}; {todo}") from None
    except PermissionError:
        raise _no_permission(plan) from None
    except OSError as error:
        raise DeviceError(f"{_told(plan)}: can't open {_CONTROL}: {error.strerror}") from None


def _attach(fd: int, plan: DevicePlan) -> None:
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", plan.device.encode(), flags))
        # What the other side may leave to us: checksums, and cutting TCP's large segments.
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO_ECN)
    except PermissionError:
        raise _no_permission(plan) from None
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EEXIST):
            todo = f"choose another name, or remove it (ip link delete {plan.device})"
            problem = "a network interface of that name exists already"
            raise DeviceError(f"{_told(plan)}: {problem}; {todo}") from None
        raise DeviceError(f"{_told(plan)}: Linux refuses it: {error.strerror}") from None


def _configure(plan: DevicePlan) -> None:
    name = plan.device.encode()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", name, plan.mtu))
            fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name, _QUEUE_FRAMES))
            _set_address(control, plan)
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16s24x", name))
            (flags,) = struct.unpack_from("H", answer, 16)
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))
    except PermissionError:
        raise _no_permission(plan) from None
    except OSError as error:
        problem = f"can't configure the Linux side: {error.strerror}"
        raise DeviceError(f"{_told(plan)}: {problem}") from None


def _set_address(control: socket.socket, plan: DevicePlan) -> None:
    address = IPv6Address(plan.peer)
    if address.ipv4_mapped is None:
        index = socket.if_nametoindex(plan.device)
        request = struct.pack("16sIi", plan.peer, plan.peer_prefix_bits, index)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control6:
            fcntl.ioctl(control6, _SIOCSIFADDR, request)
        return
    name = plan.device.encode()
    bits = plan.peer_prefix_bits - 96
    mask = (0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF).to_bytes(4, "big")
    for request_number, value in (
        (_SIOCSIFADDR, address.ipv4_mapped.packed),
        (_SIOCSIFNETMASK, mask),
    ):
        request = struct.pack("16sHH4s16x", name, socket.AF_INET, 0, value)
        fcntl.ioctl(control, request_number, request)


def _told(plan: DevicePlan) -> str:
    return f"host {plan.host}, TAP device {plan.device}"


def _no_permission(plan: DevicePlan) -> DeviceError:
    todo = "run newtos as root, or leave out `tap` (wires need no privilege)"
    return DeviceError(f"{_told(plan)}: needs root (CAP_NET_ADMIN); {todo}")
