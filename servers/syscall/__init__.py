"""The syscall server: admission of programs, and the socket calls that are not user space."""

from newtos_py.servers.syscall.server import SERVER

__all__ = ["SERVER"]
