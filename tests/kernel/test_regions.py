"""A reference becomes bytes only within its region and, in a pool, only while it is current."""

import pytest

from newtos_py.kernel._kernel import ffi, lib

AREA_REGION = lib.NT_REGION_AREA
POOL_REGION = lib.NT_REGION_DRIVER_POOL


class Memory:
    """A server's table with one socket area and one pool."""

    def __init__(self) -> None:
        self.regions = ffi.new("struct nt_regions *")
        self.area = ffi.new("uint8_t[]", bytes(range(100)))
        assert self.map(AREA_REGION, self.area, 100) == 0
        size = lib.nt_pool_bytes(2, 1)
        self.pool_memory = ffi.new("uint8_t[]", size)
        lib.nt_pool_format(self.pool_memory, 2, 1)
        self.owner = ffi.new("struct nt_pool_owner *")
        self.stack = ffi.new("uint32_t[]", 3)
        lib.nt_pool_own(self.owner, self.pool_memory, size, POOL_REGION, self.stack)
        self.pool = ffi.addressof(self.owner, "view")
        assert self.map(POOL_REGION, self.pool_memory, size, self.pool) == 0

    def map(self, number: int, base: ffi.CData, size: int, pool: ffi.CData = ffi.NULL) -> int:
        return lib.nt_regions_set(self.regions, number, base, size, pool)

    def resolve(self, offset: int, length: int, region: int = AREA_REGION) -> bytes | None:
        ref = ffi.new("struct nt_ref *", {"offset": offset, "len": length, "region": region})
        start = lib.nt_regions_resolve(self.regions, ref)
        return None if start == ffi.NULL else bytes(ffi.buffer(start, length))

    def packet(self, data: bytes) -> dict[str, int]:
        buffer = lib.nt_pool_take(self.owner, len(data))
        offset = lib.nt_pool_offset(self.pool, buffer)
        ffi.memmove(self.pool_memory + offset, data, len(data))
        use = self.owner.view.use[buffer]
        return {"offset": offset, "len": len(data), "region": POOL_REGION, "use": use}

    def gather(
        self, inline: bytes, refs: list[dict[str, int]], inline_from: int = 0, room: int = 300
    ) -> bytes | None:
        desc = ffi.new(
            "struct nt_desc *",
            {"inline_len": len(inline), "data": list(inline), "ref": refs, "ref_count": len(refs)},
        )
        return self.gather_desc(desc, inline_from, room)

    def gather_desc(self, desc: ffi.CData, inline_from: int = 0, room: int = 300) -> bytes | None:
        out = ffi.new("uint8_t[]", room)
        length = lib.nt_regions_gather(self.regions, desc, inline_from, out, room)
        return None if length < 0 else bytes(ffi.buffer(out, length))


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_reference_within_bounds(memory: Memory) -> None:
    assert memory.resolve(0, 100) == bytes(range(100))
    assert memory.resolve(98, 2) == b"\x62\x63"
    assert memory.resolve(100, 0) == b""


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 101), (100, 1), (101, 0), (2**64 - 1, 2), (2**64 - 1, 2**32 - 1), (50, 2**32 - 1)],
)
def test_a_reference_out_of_bounds(memory: Memory, offset: int, length: int) -> None:
    assert memory.resolve(offset, length) is None


@pytest.mark.parametrize("region", [0, 1, AREA_REGION + 1, lib.NT_REGIONS_MAX, 65535])
def test_a_region_that_is_not_mapped(memory: Memory, region: int) -> None:
    assert memory.resolve(0, 1, region) is None


def test_an_unmapped_region_is_gone(memory: Memory) -> None:
    lib.nt_regions_clear(memory.regions, AREA_REGION)
    assert memory.resolve(0, 1) is None


@pytest.mark.parametrize("number", [0, lib.NT_REGIONS_MAX, 2**32 - 1])
def test_numbers_that_name_no_region(memory: Memory, number: int) -> None:
    assert memory.map(number, memory.area, 100) == -1
    lib.nt_regions_clear(memory.regions, number)


def test_gather_puts_inline_bytes_first_then_references(memory: Memory) -> None:
    area = {"offset": 10, "len": 3, "region": AREA_REGION}
    packet = memory.packet(b"packet")
    assert memory.gather(b"head", [area, packet]) == b"head\x0a\x0b\x0cpacket"
    assert memory.gather(b"head", [packet, area], inline_from=3) == b"dpacket\x0a\x0b\x0c"
    assert memory.gather(b"", []) == b""


def test_gather_fits_exactly_or_not_at_all(memory: Memory) -> None:
    refs = [memory.packet(b"12345"), memory.packet(b"678")]
    assert memory.gather(b"ab", refs, room=10) == b"ab12345678"
    assert memory.gather(b"ab", refs, room=9) is None
    assert memory.gather(b"ab", refs, room=6) is None
    assert memory.gather(b"ab", refs, room=1) is None


def test_gather_refuses_a_stale_packet(memory: Memory) -> None:
    packet = memory.packet(b"old")
    buffer = lib.nt_pool_buffer_at(memory.pool, packet["offset"], 1)
    ret = {"buffer": buffer, "use": packet["use"], "region": POOL_REGION}
    assert lib.nt_pool_give_back(memory.owner, ffi.new("struct nt_return *", ret)[0])
    assert memory.gather(b"", [packet]) is None


@pytest.mark.parametrize(("inline_len", "ref_count", "inline_from"), [
    (137, 0, 0), (255, 0, 0), (10, 3, 0), (10, 255, 0), (10, 0, 11), (10, 0, 2**32 - 1),
])  # fmt: skip
def test_gather_refuses_what_cannot_be(
    memory: Memory, inline_len: int, ref_count: int, inline_from: int
) -> None:
    desc = ffi.new("struct nt_desc *", {"inline_len": inline_len, "ref_count": ref_count})
    assert memory.gather_desc(desc, inline_from) is None


def test_the_check_word_tells_neighbouring_slots_apart() -> None:
    checks = {lib.nt_face_desc_check(index) for index in range(4096)}
    assert len(checks) == 4096
