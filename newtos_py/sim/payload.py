"""Bytes that are known beforehand, and the check that they arrive: each one, once, in order."""

import random

from newtos_py.sim.simulation import SimulationError


def payload(seed: str, size: int) -> bytes:
    """Bytes that only this name has."""
    return random.Random(seed).randbytes(size)


class Expected:
    """What a stream must carry."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self.at = 0

    def take(self, data: bytes) -> None:
        """Compare what has come."""
        wanted = self.data[self.at : self.at + len(data)]
        if wanted != data:
            pairs = zip(wanted, data, strict=False)
            ahead = next((i for i, (a, b) in enumerate(pairs) if a != b), len(wanted))
            raise SimulationError(
                f"{self.name}: byte {self.at + ahead} of {len(self.data)} is wrong"
                if self.at + ahead < len(self.data)
                else f"{self.name}: more than the {len(self.data)} bytes that were sent"
            )
        self.at += len(data)

    def end(self) -> None:
        """The stream has ended."""
        if self.at != len(self.data):
            raise SimulationError(f"{self.name}: ends after {self.at} of {len(self.data)} bytes")

    @property
    def complete(self) -> bool:
        """Whether all has come."""
        return self.at == len(self.data)
