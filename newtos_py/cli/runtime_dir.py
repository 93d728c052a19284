"""The runtime directory of whoever calls `newtos`."""

import os

from newtos_py.rs.runtime import RuntimeDir, open_runtime_dir, runtime_path


def open_own() -> RuntimeDir:
    """Open the caller's runtime directory; RuntimeDirError if it can't be used."""
    return open_runtime_dir(runtime_path(os.environ, os.getuid()))
