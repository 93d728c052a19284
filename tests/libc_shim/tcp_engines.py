"""Two hosts' TCP engines back to back, with a program of the socket layer on each.

The test plays the rest: IP and wire (a packet that one engine sends is handed to the other at
once), the syscall server (bind and listen) and the clock, which stands still unless told.
"""

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from newtos_py.libc_shim.sockets._sockets import ffi
from newtos_py.libc_shim.sockets.program import Area, CData, Endpoint, Program, Queue, Socket

from newtos_py.sim._sim import ffi as sim_ffi
from newtos_py.sim._sim import lib as sim
from newtos_py.sim.tcp_pair import ADDRESSES, SHAPE, net_config

GSO_MAX = 65415
TURNS_MAX = 2000
START_NS = 5_000_000_000
BUDGET = 16


def here(pointer: CData) -> CData:
    """The simulator's pointer, as a pointer of the socket layer's module."""
    return ffi.cast("void *", int(sim_ffi.cast("uintptr_t", pointer)))


@dataclass
class Request:
    """What the syscall server asks of a TCP server."""

    kind: int
    slot: int = 0
    generation: int = 0
    arg: int = 0
    endpoint: Endpoint | None = None
    options: int = 0


class Host:
    """One engine and the program attached to its area 0."""

    def __init__(self, number: int) -> None:
        conf = net_config(number, GSO_MAX)
        self._conf = sim_ffi.from_buffer(conf)
        config = sim_ffi.new("struct nt_sim_host_config *")
        config.netconf, config.netconf_bytes = self._conf, len(conf)
        config.seed, config.shape = 7 + number, SHAPE
        self.address = ADDRESSES[number]
        self.host = sim.nt_sim_host_new(config)
        self.program = Program()
        self._sleeping = ffi.new("uint32_t *", 0)
        view = sim.nt_sim_host_area(self.host, 0)
        parts = (here(part) for part in (view.program, view.server, view.hints))
        area = Area(*parts, view.slots, view.number)
        self.program.attach(area, socket.IPPROTO_TCP, self._sleeping, -1)
        self.queue = Queue(self.program, sim.NT_SIM_QUEUE)

    def step(self, now_ns: int) -> bool:
        """One turn, audited; whether it did anything."""
        done = sim.nt_sim_host_step(self.host, now_ns, BUDGET)
        why = sim.nt_sim_host_audit(self.host)
        assert why == sim_ffi.NULL, sim_ffi.string(why).decode()
        return bool(done)

    def restart(self, *, cold: bool) -> None:
        """A new generation, as after a kill between two steps."""
        why = sim.nt_sim_host_restart(self.host, cold)
        assert why == sim_ffi.NULL, sim_ffi.string(why).decode()


class Engines:
    """Both hosts and the way between them."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.hosts = (Host(0), Host(1))
        self._packet = sim_ffi.new("struct nt_sim_packet *")
        self._numbers = 0
        for host in self.hosts:
            self.request(host, Request(sim.NT_REQ_AREA_NEW, arg=1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for host in self.hosts:
            sim.nt_sim_host_free(host.host)

    def run(self, after_ms: float = 2) -> None:
        """Let time pass to each deadline on the way, until nobody has anything to do.

        The two milliseconds see a handshake end whose last acknowledgement waits for a request.
        """
        end = self.now_ns + int(after_ms * 1e6)
        self._settle()
        while (due := min(sim.nt_sim_host_deadline(h.host) for h in self.hosts)) <= end:
            self.now_ns = max(due, self.now_ns + 1)
            self._settle()
        self.now_ns = end

    def _settle(self) -> None:
        for _ in range(TURNS_MAX):
            busy = [host.step(self.now_ns) for host in self.hosts]
            moved = [self._carry(0, 1), self._carry(1, 0)]
            if not any(busy + moved) and not any(
                sim.nt_sim_host_has_work(host.host) for host in self.hosts
            ):
                return
        raise AssertionError("the engines never come to rest")

    def _carry(self, source: int, target: int) -> bool:
        moved = False
        while sim.nt_sim_host_collect(self.hosts[source].host, self._packet):
            moved = True
            delivered = sim.nt_sim_host_deliver(
                self.hosts[target].host, self._packet.data, self._packet.len,
                sim.NT_DESC_CSUM_VALID, sim.NT_DESC_PACKET,
            )  # fmt: skip
            assert delivered, "no buffer"
        return moved

    def request(self, host: Host, wanted: Request) -> CData:
        """Ask as the syscall server does; the reply, OSError where it has an errno."""
        self._numbers += 1
        request = sim_ffi.new("struct nt_request *")
        request.number, request.kind = self._numbers, wanted.kind
        request.slot, request.generation = wanted.slot, wanted.generation
        request.arg, request.options = wanted.arg, wanted.options
        if wanted.endpoint is not None:
            request.endpoint = {"addr": wanted.endpoint.addr, "port": wanted.endpoint.port}
        assert sim.nt_sim_host_push_request(host.host, request)
        self.run()
        reply = sim_ffi.new("struct nt_request *")
        assert sim.nt_sim_host_pop_reply(host.host, reply)
        if reply.error:
            raise OSError(reply.error, "refused by the server")
        return reply

    def bind(self, host: Host, sock: Socket, address: tuple[str, int], options: int = 0) -> None:
        """What the preloaded libc does."""
        name, local = sock.identity(), sock.bind_check(address)
        reply = self.request(
            host,
            Request(sim.NT_REQ_BIND, name.slot, name.generation, endpoint=local, options=options),
        )
        sock.bound(Endpoint(bytes(reply.endpoint.addr), reply.endpoint.port))

    def listen(self, host: Host, port: int, backlog: int = 8, region: int = 0) -> Socket:
        """A listening socket."""
        sock = host.program.socket()
        sock.set_queue(sim.NT_SIM_QUEUE)
        self.bind(host, sock, ("0.0.0.0", port))
        assert sock.listen_check() == 0
        listener = sim.nt_sim_host_listener(host.host, region, backlog)
        name = sock.identity()
        self.request(host, Request(sim.NT_REQ_LISTEN, name.slot, name.generation, region))
        sock.listening(here(listener.header), here(listener.claims), listener.entries)
        return sock

    def socket(self, host: Host) -> Socket:
        """A socket that the host's queue hears of."""
        sock = host.program.socket()
        sock.set_queue(sim.NT_SIM_QUEUE)
        return sock
