"""The servers of a host, one folder each; they meet only in newtos_py.net and newtos_py.kernel."""
