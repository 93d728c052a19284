"""The TAP driver: a host's link to the Linux machine it runs on."""

from newtos_py.drivers.tap.server import SERVER

__all__ = ["SERVER"]
