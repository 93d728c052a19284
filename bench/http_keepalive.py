"""Ten requests for 20 bytes a connection, one after the other."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.6",
    "20 B, ten requests a connection",
    size_bytes=20,
    requests_a_connection=10,
    paper="The new sockets quickly leave the old ones behind and significantly surpass Linux "
    "(§5.8.1).",
)
