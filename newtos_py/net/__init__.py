"""What all protocol servers share: wire formats, checksums, addresses, flow hash, steering."""
