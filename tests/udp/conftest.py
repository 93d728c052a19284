"""What the tests of the UDP server share."""

import pytest

from newtos_py.sim.udp_lab import Program, UdpLab


@pytest.fixture
def lab() -> UdpLab:
    """A UDP server with one driver below it."""
    return UdpLab()


@pytest.fixture
def program(lab: UdpLab) -> Program:
    """A program that has attached."""
    return lab.program()
