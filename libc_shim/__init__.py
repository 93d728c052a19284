"""The preloaded libc shim, and where to find it."""
