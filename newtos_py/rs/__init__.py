"""The reincarnation server: boots the servers of a host, watches them, restarts the dead."""
