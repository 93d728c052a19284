"""Asks a web server again and again, a connection a request: ADDRESS PORT PATH AT_ONCE.

Says "going" after the first answer of each, and "more" after a line of input when each has
had another; ends with its input, and prints how many were answered, broken off and refused.
"""

import asyncio
import sys
from dataclasses import dataclass, field

ADDRESS, PORT, PATH = sys.argv[1], int(sys.argv[2]), sys.argv[3]
REQUEST = f"GET {PATH} HTTP/1.0\r\n\r\n".encode()


@dataclass
class Counts:
    """What came of the requests so far; `turn` tells of each."""

    good: int = 0
    broken: int = 0
    refused: int = 0
    ended: bool = False
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)
    done: list[int] = field(default_factory=list)


async def request(counts: Counts) -> None:
    try:
        reader, writer = await asyncio.open_connection(ADDRESS, PORT)
    except ConnectionError:
        counts.refused += 1
        return
    try:
        writer.write(REQUEST)
        answer = await reader.read(-1)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if b" 200 " in head.split(b"\r\n")[0] and len(body) == length:
            counts.good += 1
        else:
            counts.broken += 1
    except (ConnectionError, IndexError):
        counts.broken += 1
    finally:
        writer.close()


async def ask(which: int, counts: Counts) -> None:
    while not counts.ended:
        await request(counts)
        async with counts.turn:
            counts.done[which] += 1
            counts.turn.notify_all()


async def more(counts: Counts) -> None:
    """Waits until each has had an answer that it asked for after now."""
    async with counts.turn:
        before = list(counts.done)
        await counts.turn.wait_for(
            lambda: all(now > then + 1 for now, then in zip(counts.done, before, strict=True))
        )


async def main() -> None:
    counts = Counts(done=[0] * int(sys.argv[4]))
    asking = [asyncio.create_task(ask(i, counts)) for i in range(len(counts.done))]
    await more(counts)
    print("going", flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        await more(counts)
        print("more", flush=True)
    counts.ended = True
    await asyncio.gather(*asking)
    print(counts.good, counts.broken, counts.refused)


asyncio.run(main())
