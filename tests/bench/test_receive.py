"""The receive bench measures calls that find nothing, on both sides; times are not judged."""

import pytest
from newtos_py.bench import receive


def test_both_sides_are_measured() -> None:
    results = receive.measure(runs=3, calls=1000)
    assert [result.where for result in results] == ["newtos", "Linux"]
    assert all(0 < r.best_cycles <= r.median_cycles <= r.worst_cycles for r in results)


def test_a_receive_that_finds_something_is_no_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sock = receive.idle_connection()
    assert receive.lib.nt_face_empty_receives(sock.sock, 3) > 0
    sock.sock.rx_head = 2**32 - 5  # as if bytes had come
    assert receive.lib.nt_face_empty_receives(sock.sock, 3) == 0
    monkeypatch.setattr(receive, "ours", lambda _calls: 0)
    with pytest.raises(receive.BenchError):
        receive.measure(runs=1, calls=10)
