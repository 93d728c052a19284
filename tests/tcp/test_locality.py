"""Whether segments arrive where their program runs: counted, with several lanes (locality.c)."""

import pytest

from newtos_py.sim.tcp_dialogue import ACK, Dialogue, lib

HERE, ELSEWHERE = 0, 5
KINDS = ("local_active", "far_active", "local_passive", "far_passive")


def dialogue(lanes: int = 2) -> Dialogue:
    d = Dialogue(lanes=lanes)
    d.program.context.lanes = lanes  # as if it were attached to the other lanes' servers, too
    return d


def counted(d: Dialogue) -> dict[str, int]:
    found = {kind: d.counter(f"{kind}_segments") for kind in KINDS}
    return {kind: count for kind, count in found.items() if count}


@pytest.mark.parametrize(("core", "kind"), [(HERE, "local_active"), (ELSEWHERE, "far_active")])
def test_an_active_connection_is_local_where_its_program_runs(core: int, kind: str) -> None:
    d = dialogue()
    d.program.run_on(core)
    sock = d.socket()
    d.connect(sock, 80)
    peer = d.peer(80, to=sock.getsockname()[1])
    peer.answer_syn()
    peer.send(ACK, b"answer")
    assert counted(d) == {kind: 2}


@pytest.mark.parametrize(("core", "kind"), [(HERE, "local_passive"), (ELSEWHERE, "far_passive")])
def test_what_came_before_accept_counts_for_who_accepts(core: int, kind: str) -> None:
    d = dialogue()
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    peer.send(ACK, b"request")
    assert counted(d) == {}, "nobody has it yet"
    d.program.run_on(core)
    sock, _ = listener.accept()
    assert sock.recv(7) == b"request"
    sock.send(b"answer")
    peer.expect(ACK, b"answer")
    assert counted(d) == {kind: 2}, "the handshake's end, and the request"
    peer.send(ACK, b"more")
    assert counted(d) == {kind: 3}


def test_what_the_card_put_elsewhere_is_far() -> None:
    d = dialogue()
    d.program.run_on(HERE)
    sock = d.socket()
    d.connect(sock, 80)
    peer = d.peer(80, to=sock.getsockname()[1])
    peer.answer_syn()
    lib.nt_sim_host_set_arg(d.host, 1 + 1)
    peer.send(ACK, b"by way of another lane")
    lib.nt_sim_host_set_arg(d.host, 0 + 1)
    peer.send(ACK, b"by way of this one")
    assert counted(d) == {"local_active": 2, "far_active": 1}


def test_what_nobody_accepts_is_not_counted() -> None:
    d = dialogue()
    d.listen(80)
    d.peer(5000, to=80).shake_hands()
    assert counted(d) == {}
    assert d.counter("segments_in") == 2


def test_look_ups_and_their_lengths() -> None:
    d = dialogue()
    d.listen(80, backlog=32)
    d.listen(80 + 256)  # in the same bucket of listeners
    for i in range(20):
        d.peer(5000 + i, to=80).shake_hands()
    assert d.counter("listen_lookups") == 20
    assert d.counter("listen_entries_seen") == 40
    looked = d.counter("hash_lookups")  # the audit's as well
    assert looked >= 40
    assert 20 <= d.counter("hash_entries_seen") < 1.2 * looked, "chains are short"


def test_with_one_lane_nothing_is_counted() -> None:
    d = Dialogue()
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    sock, _ = listener.accept()
    sock.send(b"hello")
    peer.expect(ACK, b"hello")
    peer.send(ACK, b"hello")
    assert counted(d) == {}
    assert d.counter("hash_lookups") == d.counter("listen_lookups") == 0
