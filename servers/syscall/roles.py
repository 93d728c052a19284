"""Which server serves what: TCP has one a lane, UDP has one."""

from collections.abc import Iterable

from newtos_py.kernel.server import TCP, UDP

_TCP, _UDP = "tcp", "udp"


class Roles:
    """The TCP and UDP servers of a host, by protocol and lane."""

    def __init__(self, neighbours: Iterable[str]) -> None:
        """`neighbours` are the roles of all servers of the host."""
        known = set(neighbours)
        lanes = [role for role in known if role.removeprefix(_TCP).isdigit()]
        self._tcp = tuple(f"{_TCP}{lane}" for lane in range(len(lanes)))
        assert known.issuperset(self._tcp), "lanes are numbered from 0"

    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self._tcp, _UDP)

    def lanes(self, protocol: int) -> int:
        """How many servers a protocol has; 0: it is not known."""
        return {TCP: len(self._tcp), UDP: 1}.get(protocol, 0)

    def of(self, protocol: int, lane: int) -> str:
        """The server of a protocol and lane, which exist."""
        return self._tcp[lane] if protocol == TCP else _UDP
