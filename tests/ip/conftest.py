"""What the tests of the IP server share."""

import pytest

from newtos_py.sim.ip_lab import IpLab


@pytest.fixture
def lab() -> IpLab:
    """An IP server that has announced its addresses and knows nobody."""
    lab = IpLab()
    for driver in lab.drivers:
        driver.frames()
    return lab
