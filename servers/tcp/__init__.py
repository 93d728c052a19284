"""The TCP server: one lane's connections and listening sockets."""
