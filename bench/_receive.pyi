from typing import Any

class _Lib:
    def nt_bench_kernel_receives(self, fd: int, calls: int) -> int: ...
    def nt_bench_ticks_a_second(self, ms: int) -> int: ...

ffi: Any
lib: _Lib
