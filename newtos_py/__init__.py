"""The network side of a multiserver operating system, under unmodified Linux programs.

The map of the package is ARCHITECTURE.md; `newtos --help` lists what it can do.
"""

from importlib.metadata import version

__version__ = version("newtos_py")
