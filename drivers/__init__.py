"""Driver servers, one folder each: what moves frames between a host and the world."""
