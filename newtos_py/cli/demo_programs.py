"""The programs that the demo runs on its hosts: unmodified, whichever of them this machine has."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

WEB_PORT, CACHE_PORT = 80, 11211
# What takes about a second.
_CURL_REQUESTS, _URLLIB_REQUESTS = 2000, 200
# Where Debian has servers, and a user's PATH may not lead.
_SERVER_PATH = "/usr/sbin:/usr/local/sbin"

_LIGHTTPD_CONFIG = """\
server.document-root = "{folder}"
server.errorlog = "{log}"
server.port = {port}
index-file.names = ("index.html")
"""

# Waits until a port answers, at most ten seconds: says nothing, or fails.
_PROBE = """
import socket, sys, time
deadline = time.monotonic() + 10
while True:
    with socket.socket() as probe:
        if probe.connect_ex((sys.argv[1], int(sys.argv[2]))) == 0:
            break
    if time.monotonic() > deadline:
        sys.exit("nobody answers at port " + sys.argv[2])
    time.sleep(0.01)
"""

# Stores a value in memcached and asks for it (its text protocol), printing what comes back.
_CACHE_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as cache:
    lines = cache.makefile("rb")
    value = sys.argv[3].encode()
    cache.sendall(b"set greeting 0 0 %d\\r\\n%s\\r\\nget greeting\\r\\n" % (len(value), value))
    while (line := lines.readline()) and line != b"END\\r\\n":
        print(line.decode().rstrip())
"""

# CPython's http.server, ended as the other servers are, so that it counts its calls at its end.
_WEB_SERVER = """
import functools, http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), handler).serve_forever()
"""

# What curl does, where there is no curl: urls, pages to standard output; at most so many bytes/s.
_FETCH = """
import sys, time, urllib.request
rate, start, taken = float(sys.argv[1]), time.monotonic(), 0
for url in sys.argv[2:]:
    with urllib.request.urlopen(url, timeout=20) as page:
        while chunk := page.read(65536):
            sys.stdout.buffer.write(chunk)
            taken += len(chunk)
            if rate:
                time.sleep(max(0, start + taken / rate - time.monotonic()))
"""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A web server that serves a folder."""

    name: str
    # (folder to serve, folder for its own files) -> command
    command: Callable[[Path, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """A program that fetches pages to standard output."""

    name: str
    # One page.
    fetch: Callable[[str], list[str]]
    # One page, at most so many bytes a second.
    download: Callable[[str, int], list[str]]


def find_web_server() -> WebServer:
    """lighttpd, or else CPython's http.server."""
    lighttpd = shutil.which("lighttpd") or shutil.which("lighttpd", path=_SERVER_PATH)
    if lighttpd is None:
        return WebServer("CPython's http.server", _python_server)

    def command(folder: Path, own: Path) -> list[str]:
        config = own / "lighttpd.conf"
        text = _LIGHTTPD_CONFIG.format(folder=folder, log=own / "lighttpd.log", port=WEB_PORT)
        config.write_text(text, encoding="utf-8")
        return [lighttpd, "-D", "-f", str(config)]

    return WebServer("lighttpd", command)


def find_cache() -> list[str] | None:
    """The command of memcached; None if it is not installed."""
    memcached = shutil.which("memcached")
    if memcached is None:
        return None
    # As root it refuses to run without a user to become.
    user = ["-u", "root"] if os.geteuid() == 0 else []
    return [memcached, "-U", "0", "-p", str(CACHE_PORT), *user]


def find_fetcher() -> Fetcher:
    """curl, or else CPython's urllib."""
    curl = shutil.which("curl")
    if curl is None:
        return Fetcher(
            "CPython's urllib",
            lambda url: _python(_FETCH, "0", url),
            lambda url, rate: _python(_FETCH, str(rate), url),
        )
    quiet = [curl, "-sSf", "--max-time", "20"]
    return Fetcher(
        "curl",
        lambda url: [*quiet, url],
        lambda url, rate: [*quiet, "--limit-rate", str(rate), url],
    )


def load(url: str) -> tuple[str, list[str]]:
    """Make the command that puts load on a page, and say which: wrk, or else the fetcher."""
    if (wrk := shutil.which("wrk")) is not None:
        return "a second of load", [wrk, "-t", "1", "-c", "32", "-d", "1", url]
    if (curl := shutil.which("curl")) is not None:
        # curl's own way to say: this page, for each number.
        many = [curl, "--no-progress-meter", "--fail", "--parallel", "--parallel-max", "16"]
        pages = f"{url}?[1-{_CURL_REQUESTS}]"
        return f"{_CURL_REQUESTS} requests", [*many, "--output", "/dev/null", pages]
    return f"{_URLLIB_REQUESTS} requests", _python(_FETCH, "0", *[url] * _URLLIB_REQUESTS)


def probe(address: str, port: int) -> list[str]:
    """Make the command that waits until a port answers."""
    return _python(_PROBE, address, str(port))


def ask_cache(address: str, value: str) -> list[str]:
    """Make the command that stores a value in memcached and reads it back."""
    return _python(_CACHE_CLIENT, address, str(CACHE_PORT), value)


def _python_server(folder: Path, _own: Path) -> list[str]:
    return _python(_WEB_SERVER, str(WEB_PORT), str(folder))


def _python(script: str, *args: str) -> list[str]:
    return [sys.executable, "-Pc", script, *args]


def readable(command: Sequence[str]) -> str:
    """Write a command for people: programs without their folders, scripts as `...`."""
    words = [Path(command[0]).name]
    words += ["'...'" if "\n" in word else word for word in command[1:]]
    return " ".join(words)
