"""The UDP server: datagram sockets of a host's programs over socket areas."""

from newtos_py.servers.udp.face import SERVER

__all__ = ["SERVER"]
