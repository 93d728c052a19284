"""The TCP engine's part of bench/instructions.py: run under callgrind, prints what it did.

Each case drives one engine through the simulator's dialogue. Only the steps that belong to a case
go through nt_sim_host_step_counted(), where callgrind counts; a dump is made at each call of
nt_sim_host_unsent(), which nothing else here calls, and so ends a case.
"""

import json

from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim._sim import lib
from newtos_py.sim.tcp_dialogue import ACK, FIN, SYN, Dialogue, Peer

MSS = 1448  # 1460 less the timestamps
BATCH = 8
ROUNDS = 40
OPENINGS = 25 * BATCH
WARM_UP = 8  # rounds before anything is counted
PORT = 80


def _connected(d: Dialogue) -> tuple[Socket, Peer]:
    listener = d.listen(PORT)
    peer = d.peer(5000, to=PORT)
    peer.shake_hands()
    sock, _ = listener.accept()
    sock.set_queue(1)
    d.run()
    return sock, peer


def _forget(d: Dialogue, peer: Peer) -> None:
    d.heard(peer.address, peer.port).clear()
    d.queue.collect()


def received() -> int:
    """In-order segments of a full MSS, a batch at a time; the program reads in between."""
    d = Dialogue(csum_valid=True)
    sock, peer = _connected(d)
    for number in range(WARM_UP + ROUNDS):
        with d.one_batch():
            for _ in range(BATCH):
                peer.send(ACK, bytes(MSS))
            if number >= WARM_UP:
                with d.counted_steps():
                    d.run()
        assert len(sock.recv(BATCH * MSS)) == BATCH * MSS
        d.after(ms=50)
        _forget(d, peer)
    return ROUNDS * BATCH


def sent() -> int:
    """Segments of a full MSS, a batch at a time."""
    d = Dialogue(csum_valid=True)
    sock, peer = _connected(d)
    for number in range(WARM_UP + ROUNDS):
        sock.send(bytes(BATCH * MSS))
        if number >= WARM_UP:
            with d.counted_steps():
                d.run()
        for _ in range(BATCH):
            peer.expect(ACK, MSS)
        peer.send(ACK)
    return ROUNDS * BATCH


def acknowledged() -> int:
    """Acknowledgements of one segment each, a batch at a time; nothing is sent in answer."""
    d = Dialogue(csum_valid=True)
    sock, peer = _connected(d)
    for number in range(WARM_UP + ROUNDS):
        sock.send(bytes(BATCH * MSS))
        d.run()
        numbers = []
        for _ in range(BATCH):
            peer.expect(ACK, MSS)
            numbers.append(peer.ack)
        with d.one_batch():
            for acked in numbers:
                peer.send(ACK, ack=acked)
            if number >= WARM_UP:
                with d.counted_steps():
                    d.run()
    return ROUNDS * BATCH


def opened_and_closed() -> int:
    """Passive openings, a batch at a time, closed by the peer first, then by the program."""
    d = Dialogue(csum_valid=True)
    listener = d.listen(PORT, backlog=2 * BATCH)

    def together(first_port: int) -> None:
        peers = [d.peer(first_port + number, to=PORT) for number in range(BATCH)]

        def all_send(flags: int) -> None:
            with d.counted_steps(), d.one_batch():
                for peer in peers:
                    peer.send(flags)

        def all_hear(flags: int) -> None:
            for peer in peers:
                peer.expect(flags)

        all_send(SYN)
        all_hear(SYN | ACK)
        all_send(ACK)
        socks = [listener.accept()[0] for _ in peers]
        all_send(ACK | FIN)
        for sock in socks:
            sock.close()
        with d.counted_steps():
            d.run()
        all_hear(ACK | FIN)
        all_send(ACK)
        d.queue.collect()

    for number in range(OPENINGS // BATCH):
        together(5000 + number * BATCH)
    assert d.counter("tcbs_in_use") == 0
    return OPENINGS


CASES = {
    "segment received": received,
    "segment sent": sent,
    "acknowledgement processed": acknowledged,
    "connection opened and closed": opened_and_closed,
}


def main() -> None:
    """Run all cases, in order."""
    done = {}
    mark = Dialogue()
    for name, case in CASES.items():
        done[name] = case()
        lib.nt_sim_host_unsent(mark.host)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
