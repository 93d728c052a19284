"""Whatever stands in a descriptor, a wire counts it and keeps its buffers in order."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newtos_py.drivers.wire._engine import ffi, lib

from newtos_py.kernel.server import Emulation

# A class of conftest.py, which is no module that could be imported.
Link = Any
CData = Any

HEADER_BYTES = 56  # of a descriptor: all but its inline bytes
CHECK_AT = 20

# Mostly right, so that the deeper checks are reached.
edge_64 = st.sampled_from([0, 1, 13, 34, 66, 4096, 8192, 200_000, 2**32, 2**63, 2**64 - 1])
edge_32 = st.sampled_from([0, 1, 13, 14, 60, 1998, 2048, 60_000, 69_632, 2**31, 2**32 - 1])
ref = st.tuples(edge_64, edge_32, st.sampled_from([0, 2, 3, 19, 271, 65_535]), st.integers(0, 9))
desc = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([1, 1, 1, 1, 5, 64, 0, 255]),
        "flags": st.sampled_from([0, 1, 2, 3, 255]),
        "inline_len": st.sampled_from([0, 14, 54, 66, 136, 137, 255]),
        "ref_count": st.sampled_from([0, 1, 1, 2, 3, 255]),
        "gso_size": st.sampled_from([0, 0, 1, 536, 1448, 65_535]),
        "l4_offset": st.sampled_from([0, 34, 54, 70, 65_535]),
        "tag": st.sampled_from([0, 8, 15, 16, 2**32 - 1]),
        "arg": edge_32,
        "refs": st.tuples(ref, ref),
        "data": st.binary(max_size=40),
        "right_check": st.sampled_from([True, True, True, False]),
    }
)


def fill(made: dict[str, Any], index: int) -> CData:
    out = ffi.new("struct nt_desc *")
    for name in ("kind", "flags", "inline_len", "ref_count", "gso_size", "l4_offset", "tag", "arg"):
        setattr(out, name, made[name])
    for i, (offset, length, region, use) in enumerate(made["refs"]):
        out.ref[i].offset, out.ref[i].len = offset, length
        out.ref[i].region, out.ref[i].use = region, use
    # An IPv4 and TCP header, spoilt from some byte on.
    head = b"\x02" * 12 + b"\x08\0" + b"\x45" + bytes(8) + b"\x06" + bytes(22) + b"\x80" + bytes(19)
    data = head[: 66 - len(made["data"])] + made["data"]
    ffi.memmove(out.data, data, len(data))
    right = ((index * 2654435761) & 0xFFFFFFFF) ^ 0x6E746F73
    out.check = right if made["right_check"] else 0
    return out


# make_link is a class and holds nothing between examples.
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(desc, max_size=30), st.lists(desc, max_size=30), st.booleans())
def test_any_descriptor_from_either_side(
    make_link: Callable[..., Link],
    from_ip: list[dict[str, Any]],
    from_peer: list[dict[str, Any]],
    emulated: bool,
) -> None:
    chance = 200_000_000 if emulated else 0
    link = make_link(Emulation(0, 0, chance, chance, chance, chance, 1))
    for made in from_ip:
        assert lib.nt_producer_push(link.a.down, fill(made, link.a.down.page.tail))
    peer = ffi.new("struct nt_producer *")
    region = link.frames[1]
    assert lib.nt_producer_open(peer, region.base, region.size, 192) == 0
    # `b` sends nothing itself here, so that its side of the wire is the liar's.
    link.b.step()
    for made in from_peer:
        assert lib.nt_producer_push(peer, fill(made, peer.page.tail))
    for _ in range(20):
        link.a.step()
        for host in link.hosts:
            for frame in host.take():
                assert 14 <= len(frame.data) <= 69_582
                host.give_back(frame)
    link.a.step()
    assert link.a.count("tx_frames") <= 128 * len(from_ip)
    assert link.a.count("bad_descriptors") + link.a.count("bad_references") <= 130 * len(from_ip)
