"""Whatever instruction an engine dies at, its next generation passes each input on exactly once.

The engine of these tests reads numbers from one channel, changes objects of its arena, and writes
an answer for each number to another channel. What a death would leave at a crash point is copied
there and then: all shared memory, as it stands. Each copy is then recovered by a new generation,
which finishes the work. The answers and objects must be those of a run without any death.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

KIND, LAYOUT = 0x54455354, 3
OBJECTS = 8
WORDS = 5  # 64-bit words an object: its number of changes, and four of payload
BODY_BYTES = OBJECTS * WORDS * 8
JOURNAL_BYTES = 2048
ARENA_BYTES = lib.nt_arena_bytes(BODY_BYTES, JOURNAL_BYTES)
CAPACITY = 16
CHANNEL_BYTES = lib.nt_channel_bytes(CAPACITY, 8)
IN_PORT, OUT_PORT = 5, 2
FIRST_INDEX = 2**32 - 3


def after(index: int, steps: int = 1) -> int:
    """Free-running indices wrap at 32 bits."""
    return (index + steps) % 2**32


class Memory:
    """The shared memory of the engine and its two neighbours, which a death leaves as it is."""

    def __init__(self) -> None:
        self.arena = ffi.new("uint8_t[]", ARENA_BYTES)
        self.channels = [ffi.new("uint8_t[]", CHANNEL_BYTES) for _ in range(2)]
        for channel in self.channels:
            lib.nt_channel_format(channel, CAPACITY, 8)
            ffi.cast("uint32_t *", channel)[0] = FIRST_INDEX
            ffi.cast("struct nt_channel_producer_page *", channel + 4096).tail = FIRST_INDEX

    def parts(self) -> list[ffi.CData]:
        return [self.arena, *self.channels]

    def copy(self) -> "Memory":
        other = Memory()
        for ours, theirs in zip(self.parts(), other.parts(), strict=True):
            ffi.memmove(theirs, ours, ffi.sizeof(ours))
        return other


def producer(channel: ffi.CData) -> ffi.CData:
    end = ffi.new("struct nt_producer *")
    assert lib.nt_producer_open(end, channel, CHANNEL_BYTES, 8) == 0
    return end


def consumer(channel: ffi.CData) -> ffi.CData:
    end = ffi.new("struct nt_consumer *")
    assert lib.nt_consumer_open(end, channel, CHANNEL_BYTES, 8) == 0
    return end


class Engine:
    """One generation: opens the arena, and handles inputs in transactions."""

    def __init__(self, memory: Memory, at_crash_point: Callable[[], None] | None = None) -> None:
        self.memory = memory
        self.txn = ffi.new("struct nt_txn *")
        self.opened = lib.nt_arena_open(
            self.txn, memory.arena, ARENA_BYTES, KIND, LAYOUT, BODY_BYTES, JOURNAL_BYTES
        )
        recovered = self.opened == lib.NT_ARENA_RECOVERED
        self.into, self.out = consumer(memory.channels[0]), producer(memory.channels[1])
        assert lib.nt_txn_add_consumer(self.txn, IN_PORT, self.into, recovered) == 0
        assert lib.nt_txn_add_producer(self.txn, OUT_PORT, self.out, recovered) == 0
        self.words = ffi.cast("uint64_t *", lib.nt_arena_body(self.txn))
        if self.opened == lib.NT_ARENA_FRESH:
            lib.nt_arena_set_formatted(self.txn)
        if at_crash_point is not None:
            self.watch(at_crash_point)

    def watch(self, at_crash_point: Callable[[], None]) -> None:
        """Call `at_crash_point` at each crash point instead of dying there."""

        @ffi.callback("void(void *)")
        def crash(_: ffi.CData) -> None:
            at_crash_point()
            self.txn.crash_at = self.txn.crash_points + 1

        self.crash = crash
        self.txn.crash = crash
        self.txn.crash_at = 1

    def object(self, number: int) -> ffi.CData:
        return self.words + number % OBJECTS * WORDS

    def handle(self, value: int) -> None:
        """Change two objects (perhaps the same one), and answer with what came out of it."""
        for number in (value, value // OBJECTS):
            words = self.object(number)
            lib.nt_txn_touch(self.txn, words, WORDS * 8)
            words[0] += 1
            words[1 + value % (WORDS - 1)] ^= value * 0x9E3779B97F4A7C15 % 2**64
        answer = ffi.cast("uint64_t *", lib.nt_face_producer_slot(self.out))
        answer[0] = value + self.object(value)[0] * 1000
        self.out.tail = after(self.out.tail)

    def step(self, batch: int) -> int:
        """Handle up to `batch` inputs in one transaction."""
        inputs = min(lib.nt_face_consumer_pending(self.into), batch)
        inputs = min(inputs, lib.nt_face_producer_room(self.out, inputs))
        for _ in range(inputs):
            self.handle(ffi.cast("const uint64_t *", lib.nt_face_consumer_slot(self.into))[0])
            self.into.head = after(self.into.head)
        lib.nt_txn_commit(self.txn)
        return inputs

    def body(self) -> list[int]:
        return list(ffi.unpack(self.words, OBJECTS * WORDS))


@dataclass
class Outcome:
    """What the neighbours and an observer see in the end."""

    answers: list[int]
    objects: list[int]


def push(memory: Memory, values: Sequence[int]) -> None:
    end = producer(memory.channels[0])
    assert all(lib.nt_producer_push(end, ffi.new("uint64_t *", value)) for value in values)


def answers(memory: Memory) -> list[int]:
    end, slot, got = consumer(memory.channels[1]), ffi.new("uint64_t *"), []
    while lib.nt_consumer_pop(end, slot):
        got.append(slot[0])
    return got


def finish(memory: Memory) -> Outcome:
    """Let a new generation do the rest."""
    engine = Engine(memory)
    while engine.step(3):
        pass
    return Outcome(answers(memory), engine.body())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=7), st.integers(1, 4))
def test_exactly_once_wherever_it_dies(values: list[int], batch: int) -> None:
    memory = Memory()
    engine = Engine(memory)
    push(memory, values)
    deaths: list[Memory] = []
    engine.watch(lambda: deaths.append(memory.copy()))
    while engine.step(batch):
        pass
    expected = Outcome(answers(memory), engine.body())
    assert len(deaths) > len(values) * 4
    for death in deaths:
        assert finish(death) == expected


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=4))
def test_dying_again_while_recovering_changes_nothing(values: list[int]) -> None:
    memory = Memory()
    engine = Engine(memory)
    push(memory, values)
    deaths: list[Memory] = []
    engine.watch(lambda: deaths.append(memory.copy()))
    engine.step(len(values))
    expected = Outcome(answers(memory), engine.body())
    for death in deaths:
        # What a rollback that dies has restored so far: the newest entries of the journal.
        header = ffi.cast("struct nt_arena_header *", death.arena)
        journal = death.arena + header.journal_offset
        end = header.journal_bytes
        while end:
            offset, length = ffi.unpack(ffi.cast("uint64_t *", journal + end - 16), 2)
            end -= 16 + (length + 7) // 8 * 8
            ffi.memmove(death.arena + offset, journal + end, length)
            assert finish(death.copy()) == expected


def test_a_transaction_can_be_undone() -> None:
    memory = Memory()
    engine = Engine(memory)
    push(memory, [1, 2, 3])
    engine.step(1)
    before = engine.body()
    engine.handle(77)
    engine.into.head = after(engine.into.head)
    lib.nt_txn_rollback(engine.txn)
    assert engine.body() == before
    assert (engine.into.head, engine.out.tail) == ((FIRST_INDEX + 1) % 2**32,) * 2
    assert engine.step(9) == 2
    assert answers(memory) == [1001, 1002 + 1000 * (before[2 * WORDS] > 0), 1003]


def test_the_first_open_is_fresh_the_next_recovers() -> None:
    memory = Memory()
    assert Engine(memory).opened == lib.NT_ARENA_FRESH
    assert Engine(memory).opened == lib.NT_ARENA_RECOVERED


def test_an_init_that_died_starts_over_from_zero() -> None:
    memory = Memory()
    engine = Engine(memory)
    engine.words[3] = 99
    ffi.cast("struct nt_arena_header *", memory.arena).formatted = 0
    engine = Engine(memory)
    assert engine.opened == lib.NT_ARENA_FRESH
    assert engine.body() == [0] * OBJECTS * WORDS


@pytest.mark.parametrize(
    "field",
    ["magic", "version", "layout", "kind", "bytes", "journal_offset", "journal_capacity",
     "body_offset"],
)  # fmt: skip
def test_what_is_no_arena_of_this_engine_is_bad(field: str) -> None:
    memory = Memory()
    Engine(memory)
    header = ffi.cast("struct nt_arena_header *", memory.arena)
    setattr(header, field, getattr(header, field) + 8)
    assert reopen(memory) == lib.NT_ARENA_BAD


def reopen(memory: Memory) -> int:
    return lib.nt_arena_open(
        ffi.new("struct nt_txn *"), memory.arena, ARENA_BYTES, KIND, LAYOUT, BODY_BYTES,
        JOURNAL_BYTES,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 8), (ARENA_BYTES, 8), (2**64 - 4, 8), (4096, 0), (4096, 2**64 - 1), (4096, 64)],
)
def test_a_damaged_journal_is_bad(offset: int, length: int) -> None:
    memory = Memory()
    engine = Engine(memory)
    lib.nt_txn_touch(engine.txn, engine.words, 8)
    entry = ffi.cast("uint64_t *", engine.txn.journal + 8)
    assert ffi.unpack(entry, 2) == [engine.txn.header.body_offset, 8]
    entry[0], entry[1] = offset, length
    assert reopen(memory) == lib.NT_ARENA_BAD


@pytest.mark.parametrize("length", [1, 8, 23, 2**63])
def test_a_journal_of_impossible_length_is_bad(length: int) -> None:
    memory = Memory()
    Engine(memory)
    ffi.cast("struct nt_arena_header *", memory.arena).journal_bytes = length
    assert reopen(memory) == lib.NT_ARENA_BAD


def test_a_region_that_is_too_small_is_bad() -> None:
    arena = ffi.new("uint8_t[]", ARENA_BYTES)
    opened = lib.nt_arena_open(
        ffi.new("struct nt_txn *"), arena, ARENA_BYTES - 1, KIND, LAYOUT, BODY_BYTES,
        JOURNAL_BYTES,
    )  # fmt: skip
    assert opened == lib.NT_ARENA_BAD


def test_a_cursor_that_cannot_be_is_refused() -> None:
    memory = Memory()
    engine = Engine(memory)
    engine.txn.header.cursor[IN_PORT] = FIRST_INDEX - 1
    engine.txn.header.cursor[OUT_PORT] = after(FIRST_INDEX, CAPACITY + 1)
    txn = ffi.new("struct nt_txn *")
    txn.header = engine.txn.header
    assert lib.nt_txn_add_consumer(txn, IN_PORT, engine.into, True) == -1
    assert lib.nt_txn_add_producer(txn, OUT_PORT, engine.out, True) == -1


def test_room_is_what_the_journal_still_takes() -> None:
    engine = Engine(Memory())
    assert lib.nt_face_txn_room(engine.txn) == JOURNAL_BYTES
    lib.nt_txn_touch(engine.txn, engine.words, 13)
    used = JOURNAL_BYTES - lib.nt_face_txn_room(engine.txn)
    assert 13 < used <= 13 + lib.NT_JOURNAL_ENTRY_BYTES
    lib.nt_txn_commit(engine.txn)
    assert lib.nt_face_txn_room(engine.txn) == JOURNAL_BYTES


def test_a_transaction_that_did_nothing_costs_no_number() -> None:
    engine = Engine(Memory())
    number = engine.txn.number
    lib.nt_txn_commit(engine.txn)
    assert engine.txn.number == number
    lib.nt_txn_touch(engine.txn, engine.words, 8)
    lib.nt_txn_commit(engine.txn)
    assert engine.txn.number == engine.txn.header.txn == number + 1


def test_the_number_of_a_transaction_is_never_zero() -> None:
    memory = Memory()
    engine = Engine(memory)
    engine.txn.header.txn = 2**32 - 1
    assert Engine(memory).txn.number == 1
