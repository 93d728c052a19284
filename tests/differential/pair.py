"""Two executors, one on Linux and one on a host, given the same calls; what differs is told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newtos_py.rs.scratch import ScratchHosts

from .differences import in_sequence

EXECUTOR = str(Path(__file__).parent / "executor.py")

Call = list[Any]


@dataclass(frozen=True)
class Difference:
    """A call that Linux and a host answer otherwise, or after which sockets look different."""

    script: list[Call]
    index: int
    linux: Any
    newtos: Any

    def __str__(self) -> str:
        before = "\n".join(f"    {json.dumps(call)}" for call in self.script[: self.index])
        return (
            f"after\n{before}\n{json.dumps(self.script[self.index])}\n"
            f"  Linux:  {json.dumps(self.linux)}\n  newtos: {json.dumps(self.newtos)}"
        )


class World:
    """Executors that can reach each other: one on loopback, or a `server` and a `client`."""

    def __init__(self, **processes: "subprocess.Popen[str]") -> None:
        self.processes = processes

    def ask(self, name: str, call: Call, expected: Any) -> Any:
        """Make a call: [its result, the state of the executor's sockets]."""
        process = self.processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([call, expected]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the executor ended at {call}: {process.poll()}"
        return json.loads(line)

    def make(self, call: Call, expected: Any) -> tuple[Any, Any]:
        """The result of a call, and all states after it; these as `expected`, if they get so."""
        if len(self.processes) == 1:
            (name,) = self.processes
            result, state = self.ask(name, call, expected)
            return result, state
        who, *plain = call
        # Whoever made it last, so that what went to the other has arrived, and come back.
        order = [name for name in self.processes if name != who] + [who]
        result, _ = self.ask(who, plain, expected[who] if expected else None)
        return result, {
            name: self.ask(name, ["look"], expected[name] if expected else None)[1]
            for name in order
        }

    def reset(self, base: int) -> None:
        for name in self.processes:
            self.ask(name, ["reset", base], None)

    def close(self) -> None:
        for process in self.processes.values():
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0


class Pair:
    """The same calls on Linux and on newtos."""

    def __init__(self, linux: World, newtos: World) -> None:
        self.linux, self.newtos = linux, newtos
        self.base = 20000

    def begin(self) -> None:
        """Close all sockets; use ports that no script has used."""
        self.base = self.base + 8 if self.base < 60000 else 20000
        for world in (self.linux, self.newtos):
            world.reset(self.base)

    def both(self, call: Call) -> tuple[Any, Any]:
        """Make a call on both: [result, states] of Linux and of newtos."""
        linux = self.linux.make(call, None)
        return linux, self.newtos.make(call, linux[1])

    def play(self, script: list[Call]) -> Difference | None:
        """Play a script on both; the first difference that is not deliberate."""
        self.begin()
        for index, call in enumerate(script):
            linux, newtos = self.both(call)
            if linux == newtos:
                continue
            if in_sequence(script, index, linux, newtos) is not None:
                return None  # what follows differs too
            return Difference(script, index, linux, newtos)
        return None


def start(command: list[str], environ: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start an executor; it is ready."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline() or "null") == "ready"
    return process


@contextmanager
def on_linux_and(hosts: ScratchHosts, host: str) -> Iterator[Pair]:
    """An executor in a network namespace of Linux's, and one on a host."""
    python = [sys.executable, "-P", EXECUTOR]
    with (
        start([*python, "--alone"]) as linux,
        start(hosts.on(host, python), hosts.environ) as newtos,
    ):
        worlds = World(here=linux), World(here=newtos)
        yield Pair(*worlds)
        for world in worlds:
            world.close()
