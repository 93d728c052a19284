"""A host whose drivers are a process of the test: capture rings by name, and a record."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.clock import now_ns
from newtos_py.kernel.region import (
    all_of,
    capture_driver,
    create_region,
    map_memory,
    unlink_region,
    unmap_memory,
)
from newtos_py.rs.process_id import boot_id, own_id
from newtos_py.rs.records import HostRecord, ServerRecord, ServerState
from newtos_py.rs.runtime import new_token, open_runtime_dir, region_name

RING_BYTES = 1 << 20


class Driver:
    """A driver that records what the test says."""

    def __init__(self, name: str) -> None:
        size = lib.nt_capture_bytes(RING_BYTES)
        self.region = create_region(name, size)
        memory = map_memory(self.region.descriptor, size, all_of(size))
        lib.nt_capture_format(ffi.cast("void *", memory.address), RING_BYTES)
        unmap_memory(memory)
        self.memory = map_memory(self.region.descriptor, size, capture_driver(size))
        self.capture = ffi.new("struct nt_capture *")
        assert lib.nt_capture_open(self.capture, ffi.cast("void *", self.memory.address), size) == 0

    @property
    def wanted(self) -> bool:
        return lib.nt_face_capture_wanted(self.capture, now_ns())

    def record(self, frame: bytes, direction: int = lib.NT_CAPTURE_OUT, at: int = 0) -> None:
        bytes_ = ffi.new("char[]", frame)
        pieces = ffi.new("struct nt_capture_piece[]", [(bytes_, len(frame))])
        lib.nt_capture_frame(self.capture, at or now_ns(), direction, pieces, 1)

    def close(self) -> None:
        unmap_memory(self.memory)
        os.close(self.region.descriptor)
        unlink_region(self.region.name)


class FakeHost:
    """A host on record whose servers are all this process."""

    def __init__(self, record: HostRecord) -> None:
        self.record = record
        self.drivers = {
            server.role: Driver(region_name(record.token, record.host, f"cap.{server.role}"))
            for server in record.servers
            if server.role != "ip"
        }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    """Host `web` with the interfaces lan (a wire) and tap."""
    path = Path(tempfile.mkdtemp(prefix="newtos-test-"))
    monkeypatch.setenv("NEWTOS_RUNTIME_DIR", str(path))
    servers = tuple(
        ServerRecord(role, 0, ServerState.RUNNING, 1, 0, None) for role in ("wire.lan", "tap", "ip")
    )
    record = HostRecord(
        host="web",
        token=new_token(),
        boot_file="net.toml",
        boot_id=boot_id(),
        rs=own_id(),
        programs_core=0,
        slice_us=100,
        helpers=(),
        servers=servers,
    )
    open_runtime_dir(path).register([record])
    fake = FakeHost(record)
    yield fake
    for driver in fake.drivers.values():
        driver.close()
    shutil.rmtree(path)
