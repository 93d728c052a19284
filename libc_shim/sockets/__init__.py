"""The socket calls over socket areas, without blocking: C code, and a face of it for Python.

The preloaded libc calls the C code (socket.h). Python's face, `program`, is for programs in
the simulator and for tests.
"""
