"""One request for 11 kB a connection: an object of an average web page."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.7",
    "11 kB, one request a connection",
    size_bytes=11 * 1024,
    requests_a_connection=1,
    paper="The request rate is similar to that of the 20 B file (§5.8.1).",
)
