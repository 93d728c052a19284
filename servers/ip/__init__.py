"""The IP server: Ethernet, ARP, IPv4 and ICMP of a host, between its drivers and TCP and UDP."""

from newtos_py.servers.ip.face import SERVER

__all__ = ["SERVER"]
