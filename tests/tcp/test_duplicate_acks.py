"""Segments that come in one batch after a hole are acknowledged one by one (RFC 5681 §4.2)."""

import pytest

from newtos_py.sim._sim import lib
from newtos_py.sim.tcp_dialogue import ACK, Dialogue

MSS = 1448


def test_each_segment_after_a_hole_tells_of_it(
    d: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender retransmits after three: one for all of a batch would leave it to its timer."""
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    listener.accept()
    batch: list[bytes] = []
    monkeypatch.setattr(d, "deliver", lambda packet, **_: batch.append(packet))
    for i in range(1, 5):
        peer.send(ACK, bytes(MSS), seq=1 + i * MSS)
    monkeypatch.undo()
    for packet in batch:
        assert lib.nt_sim_host_deliver(d.host, packet, len(packet), 0, lib.NT_DESC_PACKET)
    d.run()
    for _ in range(4):
        peer.expect(ACK, ack=1)
    peer.expect_nothing()
    peer.send(ACK, bytes(MSS), seq=1)
    peer.expect(ACK, ack=1 + 5 * MSS)
