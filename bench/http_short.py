"""One request for 20 bytes a connection: what setting up and ending connections costs."""

from newtos_py.bench.http_figure import figure

EXPERIMENT = figure(
    "NewtOS Figure 5.5", "20 B, one request a connection", size_bytes=20, requests_a_connection=1
)
