"""A stressor in a container's control groups that lives as long as the container's main process.

`python -m faultload.agents.stress.container_stress ID PID cpu|memory|io|fill ...`, the rest as for `stressor`.

Runs in a helper that sees the machine's processes. A process that stayed in the control group of a container
that ended would keep its engine from starting it again (runc 1.2 refuses a control group that is not empty).
Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading

from faultload.agents.container.process import belongs
from faultload.agents.stress import stressor


def main(argv: list[str]) -> int:
    """Stress beside a container's main process; 3 when it is not that of the container any more."""
    container_id, pid, *rest = argv
    try:
        held = os.pidfd_open(int(pid))
    except ProcessLookupError:
        held = -1
    if held < 0 or not belongs(int(pid), container_id):
        print(f"process {pid} is not the container's any more", file=sys.stderr, flush=True)
        return stressor.REFUSED
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    return stressor.main([*rest, "--cgroup", pid])


def _end_with(held: int) -> None:
    """End this process as soon as the one that is held has ended."""
    select.select([held], [], [])
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
