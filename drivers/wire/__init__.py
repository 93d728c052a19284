"""The wire driver: a link between two hosts of this machine, in shared memory."""

from newtos_py.drivers.wire.server import SERVER

__all__ = ["SERVER"]
