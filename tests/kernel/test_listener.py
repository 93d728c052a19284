"""Accept entries are claimed by exactly one, withdrawn before they are, and reused afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

ENTRIES = 8
FIRST_INDEX = 2**32 - 3


class Listener:
    """Server and acceptors over one listener region in private memory."""

    def __init__(self, first_index: int = 0) -> None:
        self.ring = ffi.new("uint8_t[]", lib.nt_listener_ring_bytes(ENTRIES))
        self.claims = ffi.new("uint8_t[]", lib.nt_listener_claims_bytes())
        lib.nt_listener_format(self.ring, self.claims, ENTRIES, 5)
        self.listener = ffi.new("struct nt_listener *")
        assert self.open() == 0
        self.listener.header.tail = self.tail = first_index
        self.listener.claims.scan = first_index

    def open(self, entries: int = ENTRIES) -> int:
        return lib.nt_listener_open(self.listener, self.ring, self.claims, entries)

    def add(self, slot: int) -> bool:
        """What the server does with a new connection."""
        if not lib.nt_listener_reusable(self.listener, self.tail):
            return False
        entry = ffi.new("struct nt_accept_entry *", {"area": 1, "slot": slot})
        entry.peer.port = slot + 1
        lib.nt_listener_fill(self.listener, self.tail, entry)
        self.tail = (self.tail + 1) % 2**32
        lib.nt_listener_publish(self.listener, self.tail)
        return True

    def accept(self) -> int | None:
        entry = ffi.new("struct nt_accept_entry *")
        open_before = lib.nt_listener_has_open(self.listener)
        claimed = lib.nt_listener_claim(self.listener, entry)
        assert claimed == open_before
        assert not claimed or entry.peer.port == entry.slot + 1
        return entry.slot if claimed else None


def test_oldest_first_then_nothing() -> None:
    listener = Listener(FIRST_INDEX)
    for slot in range(5):
        assert listener.add(slot)
    assert [listener.accept() for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_a_full_ring_takes_no_more_until_one_is_claimed() -> None:
    listener = Listener(FIRST_INDEX)
    assert [listener.add(slot) for slot in range(ENTRIES + 1)] == [True] * ENTRIES + [False]
    assert listener.accept() == 0
    assert listener.add(100)
    assert not listener.add(101)


def test_a_withdrawn_entry_is_nobodys() -> None:
    listener = Listener()
    for slot in range(3):
        listener.add(slot)
    assert lib.nt_listener_take(listener.listener, 1)
    assert not lib.nt_listener_take(listener.listener, 1)
    assert [listener.accept() for _ in range(3)] == [0, 2, None]
    assert not lib.nt_listener_take(listener.listener, 2), "claimed already"


def test_an_entry_is_not_seen_before_the_tail() -> None:
    listener = Listener()
    entry = ffi.new("struct nt_accept_entry *", {"slot": 7, "peer": {"port": 8}})
    lib.nt_listener_fill(listener.listener, 0, entry)
    assert listener.accept() is None
    lib.nt_listener_publish(listener.listener, 1)
    assert listener.accept() == 7


@given(st.lists(st.sampled_from(["add", "accept", "withdraw"]), max_size=60))
def test_behaves_as_a_bounded_queue(steps: list[str]) -> None:
    listener = Listener(FIRST_INDEX)
    open_entries: dict[int, int] = {}  # index: slot
    for number, step in enumerate(steps):
        if step == "add":
            lap_before = (listener.tail - ENTRIES) % 2**32
            index = listener.tail
            assert listener.add(number) == (lap_before not in open_entries)
            if index != listener.tail:
                open_entries[index] = number
        elif step == "accept":
            oldest = next(iter(open_entries), None)
            assert listener.accept() == (None if oldest is None else open_entries.pop(oldest))
        elif open_entries:
            newest = list(open_entries)[-1]
            assert lib.nt_listener_take(listener.listener, newest)
            del open_entries[newest]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=ENTRIES))
def test_scribbled_claims_harm_nobody_else(scan: int, words: list[int]) -> None:
    listener = Listener(FIRST_INDEX)
    for slot in range(ENTRIES):
        assert listener.add(slot)
    listener.listener.claims.scan = scan
    for i, word in enumerate(words):
        listener.listener.claims.claim[i] = word
    accepted = [listener.accept() for _ in range(ENTRIES)]
    got = [slot for slot in accepted if slot is not None]
    assert len(set(got)) == len(got)
    assert listener.accept() is None


@pytest.mark.parametrize("entries", [0, 3, ENTRIES // 2, ENTRIES * 2, 8192])
def test_another_size_is_refused(entries: int) -> None:
    assert Listener().open(entries) == -1


@pytest.mark.parametrize("field", ["magic", "version", "entries"])
def test_another_layout_is_refused(field: str) -> None:
    listener = Listener()
    setattr(listener.listener.header, field, 9)
    assert listener.open() == -1
