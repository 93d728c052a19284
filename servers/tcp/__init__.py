"""The TCP server: one lane's connections and listening sockets."""

from newtos_py.servers.tcp.face import SERVER

__all__ = ["SERVER"]
