"""Accept entries are claimed by exactly one, withdrawn before they are, and reused afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

ENTRIES = 8
FIRST_INDEX = 2**32 - 3


class Listener:
    """Server and acceptors over one listener region in private memory."""

    def __init__(self, first_index: int = 0, entries: int = ENTRIES) -> None:
        self.ring = ffi.new("uint8_t[]", lib.nt_listener_ring_bytes(entries))
        self.claims = ffi.new("uint8_t[]", lib.nt_listener_claims_bytes())
        lib.nt_listener_format(self.ring, self.claims, entries, 5)
        self.listener = ffi.new("struct nt_listener *")
        assert self.open(entries) == 0
        self.listener.header.tail = self.tail = first_index
        self.listener.claims.scan = self.listener.header.shared_until = first_index

    def open(self, entries: int = ENTRIES) -> int:
        return lib.nt_listener_open(self.listener, self.ring, self.claims, entries)

    def add(self, slot: int, area: int = 1) -> bool:
        """What the server does with a new connection."""
        if not lib.nt_listener_reusable(self.listener, self.tail):
            return False
        entry = ffi.new(
            "struct nt_accept_entry *", {"area": area, "slot": slot, "offered_to": area}
        )
        entry.peer.port = slot + 1
        lib.nt_listener_fill(self.listener, self.tail, entry)
        self.tail = (self.tail + 1) % 2**32
        lib.nt_listener_publish(self.listener, self.tail)
        return True

    def accept(self, area: int = 1) -> int | None:
        offer = ffi.new("struct nt_accept_offer *")
        found = lib.nt_listener_find(self.listener, area, offer)
        assert found == lib.nt_listener_has_open(self.listener)
        if not found:
            return None
        assert lib.nt_listener_claim(self.listener, offer, area, offer.entry.slot)
        assert self.taken_by(offer.index) == (area, offer.entry.slot)
        assert offer.entry.peer.port == offer.entry.slot + 1
        return int(offer.entry.slot)

    def taken_by(self, index: int) -> tuple[int, int] | None:
        area, slot = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        taken = lib.nt_listener_taken_by(self.listener, index, area, slot)
        return (area[0], slot[0]) if taken else None


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
    assert lib.nt_listener_withdraw(listener.listener, 1)
    assert lib.nt_listener_withdraw(listener.listener, 1), "as a restarted server does again"
    assert not lib.nt_listener_take(listener.listener, 1, 1, 1)
    assert listener.taken_by(1) is None
    assert [listener.accept() for _ in range(3)] == [0, 2, None]
    assert not lib.nt_listener_withdraw(listener.listener, 2), "claimed already"


def test_an_acceptor_takes_its_own_first_then_the_oldest() -> None:
    listener = Listener(FIRST_INDEX)
    for slot, area in enumerate([1, 1, 2, 1, 2]):
        listener.add(slot, area)
    assert [listener.accept(area) for area in (2, 1, 2, 2, 2, 2)] == [2, 0, 4, 1, 3, None]


def test_an_acceptor_overtakes_only_so_many() -> None:
    listener = Listener(entries=16)
    for slot in range(lib.NT_LISTENER_LOOK_AHEAD + 1):
        listener.add(slot, 2 if slot >= lib.NT_LISTENER_LOOK_AHEAD - 1 else 1)
    assert listener.accept(2) == lib.NT_LISTENER_LOOK_AHEAD - 1
    assert listener.accept(2) == 0, "its next one is too far behind"


def test_the_slower_of_two_looks_again() -> None:
    listener = Listener(FIRST_INDEX)
    listener.add(5)
    offer = ffi.new("struct nt_accept_offer *")
    assert lib.nt_listener_find(listener.listener, 2, offer)
    assert listener.accept(1) == 5
    assert not lib.nt_listener_claim(listener.listener, offer, 2, 9)
    assert listener.taken_by(offer.index) == (1, 5)


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
            assert lib.nt_listener_withdraw(listener.listener, newest)
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


# -- Which entries an acceptor looks at ------------------------------------------------------

ANY, SHARED, OWN = lib.NT_LISTENER_ANY, lib.NT_LISTENER_SHARED, lib.NT_LISTENER_OWN


def take_in(listener: Listener, scope: int, area: int) -> int | None:
    """Find and claim in a scope; the slot."""
    offer = ffi.new("struct nt_accept_offer *")
    raw = listener.listener
    found = lib.nt_listener_find_in(raw, scope, area, offer)
    assert found == lib.nt_listener_has_open_in(raw, scope, area)
    if not found:
        return None
    assert lib.nt_listener_claim(raw, offer, area, offer.entry.slot)
    return int(offer.entry.slot)


def test_others_entries_are_not_ones_own_until_they_are_shared() -> None:
    listener = Listener(FIRST_INDEX)
    for slot, area in enumerate([1, 2, 2, 1]):
        assert listener.add(slot, area)
    assert take_in(listener, SHARED, 1) is None
    assert take_in(listener, OWN, 2) == 1
    lib.nt_listener_share(listener.listener, (FIRST_INDEX + 1) % 2**32)
    assert take_in(listener, SHARED, 2) == 0
    assert take_in(listener, SHARED, 2) is None
    assert take_in(listener, OWN, 2) == 2
    assert take_in(listener, OWN, 2) is None
    assert take_in(listener, OWN, 1) == 3
    assert not lib.nt_listener_has_open(listener.listener)


def test_what_was_passed_over_is_found_once_it_is_shared() -> None:
    listener = Listener(FIRST_INDEX)
    for slot in range(ENTRIES):
        assert listener.add(slot, area=1)
        assert take_in(listener, OWN, 2) is None
    lib.nt_listener_share(listener.listener, listener.tail)
    assert [take_in(listener, OWN, 2) for _ in range(ENTRIES)] == list(range(ENTRIES))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 3)),
            st.tuples(st.sampled_from(["any", "shared", "own"]), st.integers(1, 3)),
            st.tuples(st.just("share"), st.integers(0, ENTRIES)),
        ),
        max_size=60,
    )
)
def test_scopes_find_what_a_list_would(steps: list[tuple[str, int]]) -> None:
    listener = Listener(FIRST_INDEX, entries=4 * ENTRIES)
    scopes = {"any": ANY, "shared": SHARED, "own": OWN}
    waiting: list[tuple[int, int, int]] = []  # number, slot, area
    added, shared = 0, 0
    for what, number in steps:
        if what == "add" and len(waiting) < ENTRIES and listener.add(added % 64, number):
            waiting.append((added, added % 64, number))
            added += 1
        elif what == "share":
            shared = max(shared, min(shared + number, added))
            lib.nt_listener_share(listener.listener, (FIRST_INDEX + shared) % 2**32)
        elif what in scopes:
            mine = [each for each in waiting if each[2] == number]
            free = [each for each in waiting if each[0] < shared]
            own = free[:1] or mine[:1]
            ahead = [each for each in mine if each[0] < waiting[0][0] + 8]
            may = {"any": ahead[:1] or waiting[:1], "shared": free[:1], "own": own}[what]
            assert take_in(listener, scopes[what], number) == (may[0][1] if may else None)
            waiting = [each for each in waiting if each not in may]
