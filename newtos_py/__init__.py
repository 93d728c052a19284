"""The network side of a multiserver operating system, under unmodified Linux programs.

The map of the package is ARCHITECTURE.md; `newtos --help` lists what it can do.
"""


def __getattr__(name: str) -> str:
    """Look `__version__` up when it is asked for: what reads it takes a quarter of a start."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 (late is the point)

        return version("newtos_py")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
