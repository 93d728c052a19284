"""What a program that no longer accepts from a listening socket can still get there: nothing.

It keeps the claim words mapped, so it may go on writing into them, late or on purpose.
"""

import pytest
from accepting import Lab, Worker, claim
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, Dialogue, lib


@pytest.fixture
def lab(d: Dialogue) -> Lab:
    return Lab(d)


def leave(lab: Lab, worker: Worker) -> None:
    """The server knows; the program behaves as if it did not."""
    name = worker.listener.identity()
    reply = lab.d.request(
        lib.NT_REQ_UNLISTEN, area=name.area, slot=name.slot, generation=name.generation
    )
    assert (reply.error, reply.arg) == (0, 1)


def is_nothing(sock: Socket) -> bool:
    """Whether it is a socket without a connection, or with one that is aborted."""
    try:
        sock.recv(10)
    except OSError:
        return True
    return False


def test_a_claim_for_a_granted_slot_comes_to_nothing(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"secret")
    told = lab.told()
    late = lab.other(told)
    leave(lab, late)
    stolen = late.accept()
    lab.d.run()
    assert is_nothing(stolen)
    sock = told.accept()
    lab.d.run()
    assert sock.recv(10) == b"secret"


def test_a_claim_without_a_word_comes_to_nothing(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"secret")
    told = lab.told()
    late = lab.other(told)
    granted = late.program.socket()
    leave(lab, late)
    claim(late, slot=granted.identity().slot)
    lab.connect()  # somebody looks at the queue
    found = [told.accept() for _ in range(2)]
    lab.d.run()
    assert b"secret" in [b"" if is_empty(sock) else sock.recv(10) for sock in found]


def is_empty(sock: Socket) -> bool:
    return not sock.poll() & 1


def test_what_was_offered_to_it_goes_to_the_others(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"early")
    told = lab.told()
    other = lab.other(told)
    leave(lab, told)
    listener = lab.master.sock.listener
    newest = listener.header.tail - 1 & listener.entries - 1
    assert listener.entry[newest].area != told.area
    sock = other.accept()
    lab.d.run()
    assert sock.recv(10) == b"early"
    sock.send(b"welcome")
    peer.expect(ACK | PSH, b"welcome")
    assert not told.accepts()


def test_its_own_slot_is_not_its_own_any_more(d: Dialogue) -> None:
    """Nobody else is there to have it yet, so it stays bound to the slot of who left."""
    listener = d.listen(80)
    number = d.region_number(listener)
    d.request(lib.NT_REQ_HOLD, arg=number, options=1)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    peer.send(ACK, b"secret")
    name = listener.identity()
    reply = d.request(lib.NT_REQ_UNLISTEN, slot=name.slot, generation=name.generation)
    assert (reply.error, reply.arg) == (0, 1)
    stolen, _ = listener.accept()
    stolen.send(b"mine")
    d.run()
    peer.expect_nothing()
    heir = d.join(listener, d.other_program(1), 1)
    d.after(ms=2)
    sock, _ = heir.accept()
    sock.send(b"ours")
    d.run()
    assert sock.recv(10) == b"secret"
    assert d.heard("10.0.0.3", 5000)[-1].data == b"ours"


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_what_it_claimed_before_it_left_is_its(lab: Lab, whose: str) -> None:
    """accept() and close() of the listening socket, before the server has looked."""
    peer = lab.connect()
    peer.send(ACK, b"hello")
    told = lab.told()
    worker = told if whose == "its own" else lab.other(told)
    sock = worker.accept()
    worker.listener.close()
    lab.d.run()
    assert sock.recv(10) == b"hello"
    sock.send(b"you")
    peer.expect(ACK | PSH, b"you")
    assert not lab.other(worker).accepts()


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_what_it_sent_before_it_died_is_delivered(lab: Lab, whose: str) -> None:
    peer = lab.connect()
    told = lab.told()
    worker = told if whose == "its own" else lab.other(told)
    worker.accept().send(b"last words")
    lab.dies(worker)
    peer.expect(FIN | ACK | PSH, b"last words")
    assert not lab.other(worker).accepts()


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_it_may_die_over_what_it_claimed_late(lab: Lab, whose: str) -> None:
    peer = lab.connect()
    peer.send(ACK, b"hello")
    told = lab.told()
    late = told if whose == "its own" else lab.other(told)
    leave(lab, late)
    if whose == "another's":
        late.accept().send(b"from beyond")
    lab.dies(late)
    sock = lab.other(late).accept()
    lab.d.run()
    assert sock.recv(10) == b"hello"
    sock.send(b"you")
    peer.expect(ACK | PSH, b"you")


def test_one_that_goes_on_claiming_keeps_nobody_from_it(lab: Lab) -> None:
    told, late = lab.workers
    leave(lab, late)
    peer = lab.connect()
    peer.send(ACK, b"hello")
    for _ in range(20):
        stolen = late.accept()
        lab.d.run()
        assert is_nothing(stolen)
        stolen.close()
        lab.d.run()
    sock = told.accept()
    lab.d.run()
    assert sock.recv(10) == b"hello"
