"""One request for 512 kB a connection: throughput of data, not of connections."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.10",
    "512 kB, one request a connection",
    size_bytes=512 * 1024,
    requests_a_connection=1,
    paper="At high load more than 4 times as many requests as with system calls on the same stack, "
    "and 40 % more than Linux; more than 8 Gbit/s (§5.8.1).",
)
