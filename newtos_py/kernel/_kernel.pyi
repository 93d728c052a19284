from typing import Any

class _Lib:
    def nt_now_ns(self) -> int: ...
    def nt_cycles(self) -> int: ...

ffi: Any
lib: _Lib
