"""Looking at a running host from outside: sockets, packets, counters."""
