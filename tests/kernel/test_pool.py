"""Pools hand out each buffer once, and tell a stale return or reference from a fresh one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

REGION = 3
SMALL, LARGE = 4, 2
FITS_SMALL = lib.NT_POOL_SMALL_BYTES - lib.NT_POOL_HEADROOM
FITS_LARGE = lib.NT_POOL_LARGE_BYTES - lib.NT_POOL_HEADROOM


class Pool:
    """An owner over private memory; `restart` is the owner's next generation."""

    def __init__(self) -> None:
        self.size = lib.nt_pool_bytes(SMALL, LARGE)
        self.memory = ffi.new("uint8_t[]", self.size)
        lib.nt_pool_format(self.memory, SMALL, LARGE)
        self.restart()

    def restart(self) -> None:
        self.owner = ffi.new("struct nt_pool_owner *")
        self.stack = ffi.new("uint32_t[]", SMALL + LARGE)
        opened = lib.nt_pool_own(self.owner, self.memory, self.size, REGION, self.stack)
        assert opened == 0

    @property
    def view(self) -> ffi.CData:
        return ffi.addressof(self.owner, "view")

    def take(self, length: int = 100) -> int:
        return lib.nt_pool_take(self.owner, length)

    def use(self, buffer: int) -> int:
        return self.owner.view.use[buffer]

    def give_back(self, buffer: int, use: int, region: int = REGION) -> bool:
        ret = ffi.new("struct nt_return *", {"buffer": buffer, "use": use, "region": region})
        return lib.nt_pool_give_back(self.owner, ret[0])

    def ref(self, buffer: int, use: int, offset: int = 0, length: int = 1) -> ffi.CData:
        start = lib.nt_pool_offset(self.view, buffer) + offset
        fields = {"offset": start, "len": length, "region": REGION, "use": use}
        return ffi.new("struct nt_ref *", fields)

    def read(self, ref: ffi.CData) -> bool:
        return lib.nt_pool_read(self.view, ref) != ffi.NULL


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_each_buffer_is_handed_out_once_and_warm_ones_first(pool: Pool) -> None:
    taken = [pool.take() for _ in range(SMALL + 1)]
    assert sorted(taken[:SMALL]) == list(range(SMALL))
    assert taken[SMALL] == -1
    assert pool.give_back(2, pool.use(2))
    assert pool.take() == 2


def test_large_buffers_are_for_what_needs_them(pool: Pool) -> None:
    assert {pool.take(FITS_SMALL + 1), pool.take(FITS_LARGE)} == {SMALL, SMALL + 1}
    assert pool.take(FITS_SMALL + 1) == -1
    assert pool.take(FITS_LARGE + 1) == -1
    assert pool.take(FITS_SMALL) < SMALL


def test_a_return_counts_once(pool: Pool) -> None:
    buffer = pool.take()
    use = pool.use(buffer)
    assert pool.give_back(buffer, use)
    assert not pool.give_back(buffer, use)
    assert pool.owner.stale_returns == 1
    assert sorted(pool.take() for _ in range(SMALL)) == list(range(SMALL))


def test_malformed_returns_are_counted_and_ignored(pool: Pool) -> None:
    buffer = pool.take()
    use = pool.use(buffer)
    assert not pool.give_back(buffer, use + 2)
    assert not pool.give_back(buffer, use, region=REGION + 1)
    assert not pool.give_back(SMALL + LARGE, use)
    assert not pool.give_back(2**32 - 1, use)
    assert not pool.give_back(SMALL - 1, pool.use(SMALL - 1))  # never handed out
    assert pool.owner.stale_returns == 5
    assert pool.give_back(buffer, use)


def test_a_reference_is_read_only_while_its_buffer_is_out(pool: Pool) -> None:
    buffer = pool.take()
    ref = pool.ref(buffer, pool.use(buffer), offset=64, length=FITS_SMALL)
    assert pool.read(ref)
    assert lib.nt_pool_current(pool.view, ref)
    assert pool.give_back(buffer, ref.use)
    assert not pool.read(ref)
    assert not lib.nt_pool_current(pool.view, ref)
    assert pool.take() == buffer
    assert not pool.read(ref), "an old reference into the buffer's next life"


def test_a_free_buffer_is_never_read(pool: Pool) -> None:
    assert not pool.read(pool.ref(1, pool.use(1)))


def test_a_reference_stays_within_one_buffer(pool: Pool) -> None:
    for buffer in (pool.take(), pool.take(FITS_LARGE)):
        capacity = lib.nt_pool_capacity(pool.view, buffer)
        use = pool.use(buffer)
        assert pool.read(pool.ref(buffer, use, 0, capacity))
        assert not pool.read(pool.ref(buffer, use, 0, capacity + 1))
        assert not pool.read(pool.ref(buffer, use, capacity - 1, 2))
        assert not pool.read(pool.ref(buffer, use, 1, 2**32 - 1))


@pytest.mark.parametrize("offset", [0, 4096, 2**63, 2**64 - 1])
def test_a_reference_outside_of_the_buffers(pool: Pool, offset: int) -> None:
    assert lib.nt_pool_buffer_at(pool.view, offset, 1) == -1
    assert lib.nt_pool_buffer_at(pool.view, pool.size, 0) == -1


def test_a_new_owner_takes_odd_buffers_as_out(pool: Pool) -> None:
    out = [pool.take(), pool.take(FITS_LARGE)]
    back = pool.take()
    assert pool.give_back(back, pool.use(back))
    pool.restart()
    free = {pool.take() for _ in range(SMALL - 1)} | {pool.take(FITS_LARGE)}
    assert free == set(range(SMALL + LARGE)) - set(out)
    assert pool.take() == pool.take(FITS_LARGE) == -1
    assert all(pool.give_back(buffer, pool.use(buffer)) for buffer in out)


@given(st.lists(st.tuples(st.sampled_from("tgr"), st.integers(0, SMALL + LARGE - 1))))
def test_a_buffer_is_out_or_free_never_both(steps: list[tuple[str, int]]) -> None:
    pool = Pool()
    out: dict[int, int] = {}
    for step, number in steps:
        if step == "t":
            buffer = pool.take(FITS_LARGE if number >= SMALL else 1)
            if buffer >= 0:
                assert buffer not in out
                out[buffer] = pool.use(buffer)
        elif step == "g":
            assert pool.give_back(number, out.get(number, 1)) == (number in out)
            out.pop(number, None)
        else:
            pool.restart()
        free = pool.owner.free_small_count + pool.owner.free_large_count
        assert free + len(out) == SMALL + LARGE


@pytest.mark.parametrize("field", ["magic", "version", "small_count", "large_count", "bytes"])
def test_what_is_no_pool_is_refused(pool: Pool, field: str) -> None:
    header = ffi.cast("struct nt_pool_header *", pool.memory)
    setattr(header, field, getattr(header, field) + 1)
    view = ffi.new("struct nt_pool *")
    assert lib.nt_pool_open(view, pool.memory, pool.size, REGION) == -1


def test_a_pool_larger_than_its_region_is_refused(pool: Pool) -> None:
    view = ffi.new("struct nt_pool *")
    assert lib.nt_pool_open(view, pool.memory, pool.size - 1, REGION) == -1
    assert lib.nt_pool_open(view, pool.memory, 0, REGION) == -1
