"""A WSGI and an ASGI application that do the same.

A GET is answered with the process's number; a POST with the digest of what came.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    digest, left = hashlib.sha256(), int(environ.get("CONTENT_LENGTH") or 0)
    if left == 0:
        said = str(os.getpid())
    else:
        while left and (piece := environ["wsgi.input"].read(min(left, 1 << 16))):
            digest.update(piece)
            left -= len(piece)
        said = digest.hexdigest()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said.encode()]


Message = dict[str, Any]


async def asgi(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    assert scope["type"] == "http"
    digest, more = hashlib.sha256(), True
    while more:
        event = await receive()
        digest.update(event.get("body", b""))
        more = event.get("more_body", False)
    said = digest.hexdigest() if scope["method"] == "POST" else str(os.getpid())
    head = [(b"content-type", b"text/plain"), (b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": said.encode()})
