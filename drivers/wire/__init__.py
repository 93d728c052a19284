"""The wire driver: a link between two hosts of this machine, in shared memory."""
