"""The Python face of the TAP driver: from its context to a running engine."""

from newtos_py.drivers.tap._engine import ffi, lib
from newtos_py.drivers.tap.device import open_device

from newtos_py.kernel.server import RunningServer, ServerContext, ServerSpec
from newtos_py.net import uplink
from newtos_py.net.uplink import GSO_MAX, RX_POOL, DriverFace, WiringError

# Names of enum nt_tap_counter (engine.h), in order.
COUNTERS = (
    *uplink.COUNTERS,
    "no_buffer_drops",
    "bad_device_headers",
    "refused_drops",
    "blocked_drops",
    "rx_supers",
    "tx_supers",
)


def create(context: ServerContext) -> RunningServer:
    """Open everything and recover; ArenaUnusableError if that needs a cold start."""
    if context.device_fd < 0:
        raise WiringError(f"{context.role} was given no device")
    config = ffi.new("struct nt_tap_config *")
    uplink.fill_config(ffi, config.uplink, context)
    config.device_fd = context.device_fd
    return DriverFace(ffi, lib, "nt_tap", config, context)


SERVER = ServerSpec(
    name="tap",
    arena_bytes=lib.nt_tap_arena_bytes(),
    counters=COUNTERS,
    create=create,
    pool=RX_POOL,
    open_device=open_device,
    gso_max=GSO_MAX,
    csum_tx=True,
)
