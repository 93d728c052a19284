"""Ten requests for 11 kB a connection, sent together."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.8",
    "11 kB, ten pipelined requests a connection",
    size_bytes=11 * 1024,
    requests_a_connection=10,
    pipelined=10,
    paper="Pipelining helps Linux at low load, and newtos's sockets more at high load (§5.8.1).",
)
