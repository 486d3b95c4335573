"""Whether a process may have more memory is found out without taking it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from faultload.host.memory import check_memory


def test_there_is_some_here() -> None:
    check_memory(1024 * 1024)


def test_a_process_that_may_have_no_more_is_told_at_once() -> None:
    code = (
        "from faultload.host.memory import check_memory\n"
        "import resource\n"
        "here = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (here + 2**26, here + 2**26))\n"
        "check_memory(2**20)\n"
        "try: check_memory()\n"
        "except MemoryError: print('none left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("none left\n", "")


def test_more_than_there_can_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 0
    with pytest.raises(MemoryError):
        check_memory(2**60)
