"""Two hosts' TCP engines with a bad link between them: byte streams, every byte checked.

    with Pair(PairConfig(seed=7, loss=0.02)) as pair:
        pair.connect([Connection(100_000, 5_000)])
        pair.run()

A run is a function of its configuration: a failure prints it, and the same one replays it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import InterfaceConfig, LocalAddress, NetConfig
from newtos_py.net import netconf
from newtos_py.net.addr import pack_prefix
from newtos_py.sim._sim import ffi, lib

# A cffi object.
_C = Any

ADDRESSES = ("10.0.0.2", "10.0.0.3")
PORT = 80
MTU = 1500
SHAPE = {"tcbs": 128, "time_waits": 64, "listeners": 8, "binding_pages": 8}
_PPM = 1_000_000
_SECOND = 1_000_000_000


class SimulationError(NewtosError):
    """A run did not end as it must; the message says what and how to replay it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How much flows in each direction, and who connects."""

    sent: int
    answered: int
    opens: int = 0


@dataclass(frozen=True, slots=True)
class PairConfig:
    """Everything that a run depends on; chances per packet, or per step for crashes."""

    seed: int
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay_us: int = 50
    jitter_us: int = 0
    # Super-segments: their payload at most, and whether the link cuts them.
    gso_max: int = 65415
    cut: bool = False
    crash: float = 0.0
    # A program that was woken may do nothing for a turn.
    slow: float = 0.0
    # Connections open at once.
    streams: int = 8
    backlog: int = 16
    # Packets that IP takes in a turn; 0: all.
    ip_budget: int = 0
    # Keep what was sent: Pair.trace() shows it.
    trace: bool = False
    # Monotonic time at the start: low 32 bits of its milliseconds wrap during a run.
    start_ns: int = ((1 << 32) - 2000) * 1_000_000


def net_config(host: int, gso_max: int) -> bytes:
    """The struct nt_netconf of one of the two hosts."""
    address, bits = pack_prefix(f"{ADDRESSES[host]}/24")
    interface = InterfaceConfig(0, "wire", bytes([2, 0, 0, 0, 0, host]), MTU, gso_max, csum_tx=True)
    local = LocalAddress(address, bits, 0)
    return netconf.to_bytes(NetConfig((interface,), (local,), ()))


class Pair:
    """Two hosts, a program on each; the program of either listens, too."""

    def __init__(self, config: PairConfig) -> None:
        self.config = config
        self._confs = [ffi.from_buffer(net_config(i, config.gso_max)) for i in range(2)]
        c = ffi.new("struct nt_sim_pair_config *")
        c.seed = config.seed
        for i, conf in enumerate(self._confs):
            c.host[i] = {"netconf": conf, "netconf_bytes": len(conf), "seed": config.seed + i,
                         "shape": SHAPE}  # fmt: skip
        c.link = {
            "delay_ns": config.delay_us * 1000, "jitter_ns": config.jitter_us * 1000,
            "loss_ppm": int(config.loss * _PPM), "duplicate_ppm": int(config.duplicate * _PPM),
            "corrupt_ppm": int(config.corrupt * _PPM), "cut": config.cut,
            "trace": config.trace,
        }  # fmt: skip
        c.streams = config.streams
        c.crash_ppm = int(config.crash * _PPM)
        c.slow_ppm = int(config.slow * _PPM)
        c.ip_budget = config.ip_budget
        c.start_ns = config.start_ns
        self._pair = lib.nt_sim_pair_new(c)
        addresses = bytes(int(part) for text in ADDRESSES for part in text.split("."))
        self._check(lib.nt_sim_pair_listen(self._pair, addresses, PORT, config.backlog))
        self._plan: _C = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        lib.nt_sim_pair_free(self._pair)

    def connect(self, connections: Sequence[Connection]) -> None:
        """Have these made, as many at once as the configuration says."""
        self._count = len(connections)
        self._plan = ffi.new("struct nt_sim_plan[]", self._count)
        for entry, connection in zip(self._plan, connections, strict=True):
            entry.bytes = (connection.sent, connection.answered)
            entry.opens = connection.opens
        lib.nt_sim_pair_set_plan(self._pair, self._plan, self._count)

    def run(self, seconds: float = 600) -> None:
        """Run until all streams have ended well; SimulationError if one does not."""
        until = self.now_ns + int(seconds * _SECOND)
        self._check(lib.nt_sim_pair_run(self._pair, until))
        for number in range(self._count):
            entry = self._plan[number]
            for end in range(2):
                if entry.error[end] or not entry.finished[end]:
                    self._fail(
                        f"connection {number}, end {end}: error {entry.error[end]}, "
                        f"finished {bool(entry.finished[end])} after {self.elapsed_ms} ms"
                    )
        wrong = sum(lib.nt_sim_pair_program(self._pair, i).wrong for i in range(2))
        if wrong:
            self._fail(f"{wrong} wrong bytes")

    def settle(self, seconds: float = 300) -> None:
        """Let time pass until nothing is left to happen (TIME-WAIT ends)."""
        self._check(lib.nt_sim_pair_run(self._pair, self.now_ns + int(seconds * _SECOND)))

    @property
    def now_ns(self) -> int:
        """Virtual time."""
        return lib.nt_sim_pair_now_ns(self._pair)

    @property
    def elapsed_ms(self) -> float:
        """Virtual time since the start."""
        return (self.now_ns - self.config.start_ns) / 1e6

    @property
    def crashes(self) -> int:
        """How often an engine died."""
        return lib.nt_sim_pair_crashes(self._pair)

    @property
    def steps(self) -> int:
        """How many steps the engines made."""
        return lib.nt_sim_pair_steps(self._pair)

    @property
    def lost(self) -> int:
        """Packets that the link lost."""
        return int(lib.nt_sim_pair_link(self._pair).lost)

    def counter(self, host: int, name: str) -> int:
        """A counter of a host's engine, by its name in servers/tcp/engine.h."""
        values = ffi.typeof("enum nt_tcp_counter").relements
        index = values[f"NT_TCP_{name.upper()}"]
        return lib.nt_sim_host_counter(lib.nt_sim_pair_host(self._pair, host), index)

    def buffers_out(self, host: int) -> int:
        """Packet buffers that the engine has not given back."""
        return lib.nt_sim_host_buffers_out(lib.nt_sim_pair_host(self._pair, host))

    def trace(self, port: int = 0) -> Iterator[str]:
        """A line for each packet that was sent; `port`: only those from or to it."""
        link = lib.nt_sim_pair_link(self._pair)
        for i in range(link.trace_count):
            packet = link.trace[i]
            if not port or port in (packet.src_port, packet.dst_port):
                flags = "".join(c for bit, c in enumerate("FSRPAU") if packet.flags >> bit & 1)
                yield (
                    f"{(packet.at_ns - self.config.start_ns) / 1e6:.3f} {'><'[1 - packet.to]} "
                    f"{packet.src_port}>{packet.dst_port} {flags} seq {packet.seq} "
                    f"ack {packet.ack} len {packet.len} win {packet.window}"
                    f"{('', ' LOST', ' CORRUPTED')[packet.fate]}"
                )

    def _check(self, why: _C) -> None:
        if why != ffi.NULL:
            self._fail(ffi.string(why).decode())

    def _fail(self, what: str) -> None:
        raise SimulationError(f"{what}; replay: {self.config!r}")
