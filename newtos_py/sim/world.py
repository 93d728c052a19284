"""The shared memory of engines under test, in one block that can be looked at and put back.

A `World` hands out regions as rs would, formatted, and opens the other ends of channels for a
test that plays a neighbour. Because all of it is one block, a test can take a snapshot inside a
step, at any crash point, and later put it back: what a new generation then finds is exactly what a
process that was killed there would have left behind.
"""

import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import Memory, Neighbour, Pool

PAGE = 4096
DESC_BYTES = 192
RETURN_BYTES = 8
DATA_BYTES = 136
_HEAD = struct.Struct("=BBBBHHIIII")
_REF = struct.Struct("=QIHH")
_RETURN = struct.Struct("=IHH")


@dataclass(frozen=True, slots=True)
class Ref:
    """struct nt_ref."""

    offset: int
    len: int
    region: int
    use: int = 0


@dataclass(frozen=True, slots=True)
class Desc:
    """struct nt_desc; `check` is filled when it is pushed."""

    kind: int
    data: bytes = b""
    refs: tuple[Ref, ...] = ()
    flags: int = 0
    gso_size: int = 0
    l4_offset: int = 0
    flow_hash: int = 0
    tag: int = 0
    arg: int = 0

    def pack(self, check: int) -> bytes:
        """The 192 bytes of the slot."""
        head = _HEAD.pack(
            self.kind, self.flags, len(self.data), len(self.refs), self.gso_size, self.l4_offset,
            self.flow_hash, self.tag, self.arg, check,
        )  # fmt: skip
        refs = b"".join(_REF.pack(r.offset, r.len, r.region, r.use) for r in self.refs)
        return head + refs.ljust(32, b"\0") + self.data.ljust(DATA_BYTES, b"\0")

    @classmethod
    def unpack(cls, slot: bytes) -> "Desc":
        """Read a slot."""
        kind, flags, inline_len, ref_count, gso, l4, flow, tag, arg, _ = _HEAD.unpack_from(slot)
        refs = tuple(
            Ref(*_REF.unpack_from(slot, _HEAD.size + i * _REF.size)) for i in range(ref_count)
        )
        return cls(kind, slot[56 : 56 + inline_len], refs, flags, gso, l4, flow, tag, arg)


@dataclass(frozen=True, slots=True)
class Return:
    """struct nt_return."""

    buffer: int
    use: int
    region: int


class World:
    """All memory of a test."""

    def __init__(self, size: int = 32 << 20) -> None:
        self._mapping = mmap.mmap(-1, size)
        self._buffer = ffi.from_buffer(self._mapping)
        self.address = int(ffi.cast("uintptr_t", self._buffer))
        self._used = 0
        self._kept: list[tuple[int, int]] = []

    def region(self, size: int, keep: Sequence[tuple[int, int]] | None = None) -> Memory:
        """A zeroed, page-aligned region; snapshots hold the ranges `keep` of it, or all."""
        start = self._used
        self._used += -(-size // PAGE) * PAGE
        assert self._used <= len(self._mapping), "make the world larger"
        kept = [(0, size)] if keep is None else keep
        self._kept += [(start + offset, length) for offset, length in kept]
        return Memory(self.address + start, size)

    def snapshot(self) -> list[bytes]:
        """All that a killed process would leave, at this instant."""
        return [bytes(ffi.buffer(self._buffer + at, length)) for at, length in self._kept]

    def restore(self, snapshot: list[bytes]) -> None:
        """Put a snapshot back; regions made since then keep what they hold."""
        for (at, _), data in zip(self._kept, snapshot, strict=False):
            ffi.memmove(self._buffer + at, data, len(data))

    def read(self, memory: Memory, offset: int, size: int) -> bytes:
        """Bytes of a region."""
        assert 0 <= offset <= offset + size <= memory.bytes
        return bytes(ffi.buffer(ffi.cast("char *", memory.address + offset), size))

    def write(self, memory: Memory, offset: int, data: bytes) -> None:
        """Change bytes of a region."""
        assert 0 <= offset <= offset + len(data) <= memory.bytes
        ffi.memmove(ffi.cast("char *", memory.address + offset), data, len(data))

    def channel(self, slot_bytes: int, capacity: int = 1024) -> Memory:
        """A formatted channel."""
        memory = self.region(lib.nt_channel_bytes(capacity, slot_bytes))
        lib.nt_channel_format(_void(memory), capacity, slot_bytes)
        return memory

    def pool(self, small: int, large: int, region: int) -> Pool:
        """A formatted packet pool."""
        memory = self.region(lib.nt_pool_bytes(small, large))
        lib.nt_pool_format(_void(memory), small, large)
        return Pool(memory, region)

    def status(self) -> Memory:
        """A formatted status page."""
        memory = self.region(PAGE)
        lib.nt_status_format(ffi.cast("struct nt_status *", memory.address))
        return memory


def _void(memory: Memory) -> object:
    return ffi.cast("void *", memory.address)


class Producer:
    """The sending end of a channel, played by a test."""

    def __init__(self, memory: Memory, slot_bytes: int = DESC_BYTES) -> None:
        self._end = ffi.new("struct nt_producer *")
        assert lib.nt_producer_open(self._end, _void(memory), memory.bytes, slot_bytes) == 0

    def push(self, desc: Desc) -> bool:
        """Publish a descriptor; False if the channel is full."""
        check = lib.nt_face_desc_check(self._end.tail)
        return self.push_raw(desc.pack(check))

    def push_return(self, ret: Return) -> bool:
        """Publish a return; False if the channel is full."""
        return self.push_raw(_RETURN.pack(ret.buffer, ret.use, ret.region))

    def push_raw(self, slot: bytes) -> bool:
        """Publish a slot as it is."""
        return bool(lib.nt_producer_push(self._end, slot))


class Consumer:
    """The receiving end of a channel, played by a test."""

    def __init__(self, memory: Memory, slot_bytes: int = DESC_BYTES) -> None:
        self._end = ffi.new("struct nt_consumer *")
        self._slot = ffi.new("char[]", slot_bytes)
        assert lib.nt_consumer_open(self._end, _void(memory), memory.bytes, slot_bytes) == 0

    def pop(self) -> Desc | None:
        """The oldest descriptor, or None; its check word must fit its slot."""
        expected = lib.nt_face_desc_check(self._end.head)
        slot = self._pop()
        if slot is None:
            return None
        assert struct.unpack_from("=I", slot, 20)[0] == expected, "check word of another slot"
        return Desc.unpack(slot)

    def pop_all(self) -> list[Desc]:
        """All descriptors there are."""
        return list(iter(self.pop, None))

    def pop_returns(self) -> list[Return]:
        """All returns there are."""
        return [Return(*_RETURN.unpack(slot)) for slot in iter(self._pop, None)]

    def _pop(self) -> bytes | None:
        return bytes(ffi.buffer(self._slot)) if lib.nt_consumer_pop(self._end, self._slot) else None


class PoolPlayer:
    """The owner of a packet pool, played by a test: a driver's RX pool."""

    def __init__(self, world: World, pool: Pool, small: int, large: int) -> None:
        self._world = world
        self._pool = pool
        self._stack = ffi.new("uint32_t[]", small + large)
        self._owner = ffi.new("struct nt_pool_owner *")
        memory = pool.memory
        assert (
            lib.nt_pool_own(self._owner, _void(memory), memory.bytes, pool.region, self._stack) == 0
        )
        self.out = 0

    def put(self, data: bytes, shift: int = 50) -> Ref:
        """Take a buffer, fill it; what a descriptor refers to it with."""
        buffer = lib.nt_pool_take(self._owner, len(data))
        assert buffer >= 0, "the test's pool is exhausted"
        self.out += 1
        offset = lib.nt_pool_offset(ffi.addressof(self._owner.view), buffer) + shift
        self._world.write(self._pool.memory, offset, data)
        return Ref(offset, len(data), self._pool.region, self._owner.view.use[buffer])

    def buffer_of(self, ref: Ref) -> int:
        """The index that a return names it with."""
        return int(lib.nt_pool_buffer_at(ffi.addressof(self._owner.view), ref.offset, ref.len))

    def give_back(self, ret: Return) -> bool:
        """Take a returned buffer back; False if the return is stale."""
        cret = ffi.new("struct nt_return *", (ret.buffer, ret.use, ret.region))
        taken = bool(lib.nt_pool_give_back(self._owner, cret[0]))
        self.out -= taken
        return taken


def pool_buffer(pool: Pool, ref: Ref) -> int:
    """The buffer of somebody else's pool that a reference lies in."""
    view = ffi.new("struct nt_pool *")
    memory = pool.memory
    assert lib.nt_pool_open(view, _void(memory), memory.bytes, pool.region) == 0
    return int(lib.nt_pool_buffer_at(view, ref.offset, ref.len))


@dataclass
class EngineRunner:
    """Steps an engine, audits it after each step, and can die at any crash point.

    `create` makes an engine over the world's memory as the process of a new generation would and
    answers its struct nt_engine's address; `inject` arms a crash point of it.
    """

    world: World
    create: Callable[[bool], int]
    inject: Callable[[int, int], None]
    now_ns: int = 1_000_000_000
    address: int = field(init=False, default=0)

    def boot(self, recovered: bool = False) -> None:
        """Start a generation."""
        self.address = self.create(recovered)
        self._engine = ffi.cast("struct nt_engine *", self.address)
        self.audit()

    def step(self, budget: int = 16) -> int:
        """One turn, then an audit."""
        done = int(self._engine.step(self._engine.context, self.now_ns, budget))
        self.audit()
        return done

    def run(self, after_ms: float = 0) -> None:
        """Let time pass to each deadline on the way; step until the engine is idle."""
        end = self.now_ns + int(after_ms * 1e6)
        self.settle()
        while (due := self.deadline()) <= end:
            self.now_ns = max(due, self.now_ns + 1)
            self.settle()
        self.now_ns = max(end, self.now_ns)
        self.settle()

    def settle(self) -> None:
        """Step at this instant until there is nothing to do."""
        for _ in range(1000):
            if self.step() == 0 and self.deadline() > self.now_ns and not self.has_work():
                return
        raise AssertionError("the engine never comes to rest")

    def deadline(self) -> int:
        """When it wants to step without input."""
        return int(self._engine.next_deadline(self._engine.context))

    def has_work(self) -> bool:
        """Whether a step would find input."""
        return bool(self._engine.has_work(self._engine.context))

    def audit(self) -> None:
        """Fail if an invariant of the arena does not hold."""
        why = ffi.new("char[256]")
        if self._engine.audit(self._engine.context, why, 256) != 0:
            raise AssertionError(ffi.string(why).decode())

    def die_at(self, crash_point: int, budget: int = 16) -> bool:
        """Step, be killed at the n-th crash point of it, boot again; False if it has fewer.

        The step really runs on to its end, but what it writes after the crash point is undone.
        """
        found: list[list[bytes]] = []

        @ffi.callback("void(void *)")  # type: ignore[untyped-decorator]
        def crash(_arg: object) -> None:
            found.append(self.world.snapshot())

        self.inject(crash_point, int(ffi.cast("uintptr_t", crash)))
        self._engine.step(self._engine.context, self.now_ns, budget)
        self.inject(0, 0)
        if not found:
            return False
        self.world.restore(found[0])
        self.boot(recovered=True)
        return True


def neighbour(world: World, role: str) -> Neighbour:
    """Another server as a context describes it; nobody is behind its doorbell."""
    status = world.status()
    sleeping = status.address + ffi.offsetof("struct nt_status", "sleeping")
    return Neighbour(role, status, sleeping, -1)


def with_payload(desc: Desc, world: World, regions: dict[int, Memory]) -> bytes:
    """All bytes of a descriptor, gathered as a driver would: inline, then references."""
    parts = [world.read(regions[ref.region], ref.offset, ref.len) for ref in desc.refs]
    return desc.data + b"".join(parts)


__all__ = [
    "DESC_BYTES", "RETURN_BYTES", "Consumer", "Desc", "EngineRunner", "PoolPlayer", "Producer",
    "Ref", "Return", "World", "neighbour", "pool_buffer", "replace", "with_payload",
]  # fmt: skip
