"""One request for 20 bytes a connection: what setting up and ending connections costs."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.5",
    "20 B, one request a connection",
    size_bytes=20,
    requests_a_connection=1,
    paper="With one connection old and new sockets are alike; from two on the new ones are ahead, "
    "and they reach a level similar to Linux, which is ahead at few connections (§5.8.1).",
)
