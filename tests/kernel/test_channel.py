"""A channel keeps order through wraps, says when it is full, and survives what its peer writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

SLOT_BYTES = 8
FIRST_INDEX = 0xFFFF_FFF0  # close to the wrap of the free-running 32-bit indices


class Channel:
    """Both ends of a channel in private memory, indices starting anywhere."""

    def __init__(self, capacity: int, first_index: int = 0) -> None:
        self.size = lib.nt_channel_bytes(capacity, SLOT_BYTES)
        self.memory = ffi.new("char[]", self.size)
        self.consumer_page = ffi.cast("struct nt_channel_consumer_page *", self.memory)
        self.producer_page = ffi.cast("struct nt_channel_producer_page *", self.memory + 4096)
        lib.nt_channel_format(self.memory, capacity, SLOT_BYTES)
        self.consumer_page.head = self.producer_page.tail = first_index
        self.open()

    def open(self) -> None:
        self.producer = ffi.new("struct nt_producer *")
        self.consumer = ffi.new("struct nt_consumer *")
        assert lib.nt_producer_open(self.producer, self.memory, self.size, SLOT_BYTES) == 0
        assert lib.nt_consumer_open(self.consumer, self.memory, self.size, SLOT_BYTES) == 0

    def push(self, value: int) -> bool:
        return lib.nt_producer_push(self.producer, ffi.new("uint64_t *", value))

    def pop(self) -> int | None:
        slot = ffi.new("uint64_t *")
        return slot[0] if lib.nt_consumer_pop(self.consumer, slot) else None


def test_first_in_first_out_through_many_wraps() -> None:
    channel = Channel(4, FIRST_INDEX)
    for value in range(100):
        assert channel.push(value)
        assert channel.push(value + 1000)
        assert channel.pop() == value
        assert channel.pop() == value + 1000
    assert channel.pop() is None


def test_full_and_empty() -> None:
    channel = Channel(4, FIRST_INDEX)
    assert [channel.push(value) for value in range(5)] == [True] * 4 + [False]
    assert channel.pop() == 0
    assert channel.push(4)
    assert not channel.push(5)
    assert [channel.pop() for _ in range(5)] == [1, 2, 3, 4, None]


@given(st.lists(st.sampled_from(["push", "pop", "reopen"]), max_size=60))
def test_behaves_as_a_bounded_queue(steps: list[str]) -> None:
    channel = Channel(8, FIRST_INDEX)
    queue: list[int] = []
    for number, step in enumerate(steps):
        if step == "push":
            assert channel.push(number) == (len(queue) < 8)
            queue = [*queue, number][:8]
        elif step == "pop":
            assert channel.pop() == (queue.pop(0) if queue else None)
        else:
            channel.open()


def test_nothing_is_seen_before_it_is_published() -> None:
    channel = Channel(8)
    ffi.cast("uint64_t *", lib.nt_face_producer_slot(channel.producer))[0] = 7
    channel.producer.tail += 1
    assert channel.pop() is None
    lib.nt_face_producer_publish(channel.producer)
    assert channel.pop() == 7


def test_a_slot_is_not_reused_before_its_reader_has_published() -> None:
    channel = Channel(2)
    assert channel.push(1)
    assert channel.push(2)
    assert lib.nt_face_consumer_pending(channel.consumer) == 2
    channel.consumer.head += 2
    assert not channel.push(3)
    lib.nt_face_consumer_publish(channel.consumer)
    assert channel.push(3)


@pytest.mark.parametrize("head", [FIRST_INDEX + 5, FIRST_INDEX - 9, 0])
def test_a_head_that_cannot_be_gives_no_room(head: int) -> None:
    channel = Channel(8, FIRST_INDEX)
    channel.consumer_page.head = head % 2**32
    assert not channel.push(1)
    assert channel.producer.bad_index == 1


@pytest.mark.parametrize("tail", [FIRST_INDEX + 9, FIRST_INDEX - 1])
def test_a_tail_that_cannot_be_shows_nothing(tail: int) -> None:
    channel = Channel(8, FIRST_INDEX)
    channel.producer_page.tail = tail % 2**32
    assert channel.pop() is None
    assert channel.consumer.bad_index == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("magic", 1), ("version", 9), ("capacity", 3), ("capacity", 0), ("capacity", 2**20),
     ("slot_bytes", 16)],
)  # fmt: skip
def test_what_is_no_channel_of_that_shape_is_refused(field: str, value: int) -> None:
    channel = Channel(8)
    setattr(channel.producer_page, field, value)
    for end in ("producer", "consumer"):
        opened = getattr(lib, f"nt_{end}_open")(
            ffi.new(f"struct nt_{end} *"), channel.memory, channel.size, SLOT_BYTES
        )
        assert opened == -1


def test_a_region_that_is_too_small_is_refused() -> None:
    channel = Channel(1024)
    producer = ffi.new("struct nt_producer *")
    assert lib.nt_producer_open(producer, channel.memory, channel.size - 1, SLOT_BYTES) == -1
    assert lib.nt_producer_open(producer, channel.memory, 0, SLOT_BYTES) == -1
