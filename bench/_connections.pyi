from typing import Any

# A cffi object: a pointer, a struct or an array.
_C = Any

class _Lib:
    NT_BENCH_DESCRIPTORS_MAX: int
    def nt_bench_echo(self, listener: int) -> int: ...
    def nt_bench_ask(
        self, epoll: int, fds: _C, among: int, window: int, ns: int, seed: int, pause_ns: _C
    ) -> int: ...

ffi: Any
lib: _Lib
