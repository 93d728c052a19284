"""The UDP server: datagram sockets and their ports."""
