"""Whether this process may still have memory: numerical libraries wait for it for ever where it may not."""

from __future__ import annotations

import mmap
from contextlib import suppress

NUMERICS_BYTES = 256 * 1024 * 1024
"""Address space that numpy, scipy and pyarrow take before the first number; OpenBLAS asks for its part for ever."""


def check_memory(size: int = NUMERICS_BYTES) -> None:
    """See that this process may map so much more, under `ulimit -v` too. Raises MemoryError."""
    with suppress(OSError, ValueError):
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        return
    raise MemoryError
