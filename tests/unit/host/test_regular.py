"""Of what others name only regular files are read: nobody waits for a FIFO, and nothing is taken out of a pipe."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.host.processes import identify
from faultload.host.regular import head_of
from faultload.platforms.local.facts import facts_of


def test_the_first_bytes_of_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\nexit\n")
    (tmp_path / "link").symlink_to("run")
    assert head_of(tmp_path / "run", 9) == head_of(tmp_path / "link", 9) == b"#!/bin/sh"
    assert head_of(tmp_path / "run", 100) == b"#!/bin/sh\nexit\n"


@pytest.mark.parametrize("what", ["a FIFO", "a socket", "a folder", "nothing", "a device", "no path"])
def test_nothing_else_is_read_or_waited_for(tmp_path: Path, what: str) -> None:
    path = str(tmp_path / "it")
    with socket.socket(socket.AF_UNIX) as listening:
        if what == "a FIFO":
            os.mkfifo(path)
        elif what == "a socket":
            listening.bind(path)
        elif what == "a folder":
            os.mkdir(path)  # noqa: PTH102 - as text
        elif what != "nothing":
            path = "/dev/zero" if what == "a device" else "a\0name"
        assert head_of(path, 10) is None


def test_the_name_of_a_descriptor_takes_nothing_out_of_our_own_pipe() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"#!mine")
        assert head_of(f"/dev/fd/{reading}", 100) is None
        assert os.read(reading, 100) == b"#!mine"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_process_whose_argument_names_a_fifo_is_looked_at_all_the_same(tmp_path: Path) -> None:
    """As `bash <(...)` does, whose script is /dev/fd/63: of whoever opens it."""
    os.mkfifo(tmp_path / "orders")
    argv = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "orders"]
    with subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        found = identify(process.pid)
        assert found is not None
        facts = facts_of(found)
        assert facts is not None and facts.argv[-1] == "orders" and facts.shebang == ()
        process.communicate()
