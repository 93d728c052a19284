"""The IP server: Ethernet, ARP, IPv4, ICMP and the routing table."""
