"""How many connections an arena has room for."""

import pytest
from newtos_py.servers.tcp.face import TcpFaceError, arena_bytes_for, shape_for, shape_in

PAGE = 4096


@pytest.mark.parametrize("connections", [1, 1024, 1025, 16_384, 100_000, 1 << 20])
def test_the_arenas_size_says_how_many_connections_it_is_for(connections: int) -> None:
    size = arena_bytes_for(connections)
    shape = shape_for(connections)
    assert shape["tcbs"] >= connections
    assert shape_in(-(-size // PAGE) * PAGE) == shape


def test_an_arena_without_room_is_refused() -> None:
    with pytest.raises(TcpFaceError, match="4096 bytes"):
        shape_in(PAGE)
