"""The emulated microkernel: shared memory, channels, doorbells, process start, time."""
