"""The Python face of the wire driver: from its context to a running engine."""

from newtos_py.drivers.wire._engine import ffi, lib

from newtos_py.kernel.server import RunningServer, ServerContext, ServerSpec, WireEnd
from newtos_py.net import uplink
from newtos_py.net.uplink import GSO_MAX, RX_POOL, DriverFace, WiringError, span

# Names of enum nt_wire_counter (engine.h), in order.
COUNTERS = (
    *uplink.COUNTERS,
    "no_grant_drops",
    "bad_peer_descriptors",
    "bad_grants",
    "emulated_losses",
    "emulated_queue_drops",
    "emulated_reorders",
    "emulated_duplicates",
    "emulated_corruptions",
    "segmented_supers",
    "peer_cold_starts",
)


def create(context: ServerContext) -> RunningServer:
    """Open everything and recover; ArenaUnusableError if that needs a cold start."""
    wire = context.wire
    if wire is None:
        raise WiringError(f"{context.role} was given no wire")
    config = ffi.new("struct nt_wire_config *")
    uplink.fill_config(ffi, config.uplink, context)
    _fill_wire(config, wire)
    face = DriverFace(ffi, lib, "nt_wire", config, context)
    face.set_bell(lib.NT_WIRE_BELL_PEER, wire.peer)
    return face


def _fill_wire(config: "ffi.CData", wire: WireEnd) -> None:
    channels = wire.channels
    ends = (channels.out, channels.into, channels.returns_in, channels.returns_out)
    fields = ("tx", "rx", "grants_rx", "grants_tx")
    for field, memory in zip(fields, ends, strict=True):
        if memory is None:
            raise WiringError(f"wire {wire.name} lacks the channel for {field}")
        setattr(config, field, span(ffi, memory))
    config.peer_pool = span(ffi, wire.peer_pool.memory)
    emulation = wire.emulation
    for field in ("latency_ns", "rate_bits", "loss_ppb", "reorder_ppb", "duplicate_ppb"):
        setattr(config.emulation, field, getattr(emulation, field))
    config.emulation.corrupt_ppb = emulation.corrupt_ppb
    config.emulation.seed = emulation.seed


SERVER = ServerSpec(
    name="wire",
    arena_bytes=lib.nt_wire_arena_bytes(),
    counters=COUNTERS,
    create=create,
    pool=RX_POOL,
    gso_max=GSO_MAX,
    csum_tx=True,
)
