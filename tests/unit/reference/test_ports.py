"""Ports that are given out: free, and to one owner only."""

from __future__ import annotations

import socket
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from faultload.reference.kit import ports
from faultload.reference.kit.ports import free_ports


@pytest.fixture(autouse=True)
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def narrow(monkeypatch: pytest.MonkeyPatch, count: int) -> range:
    first = free_ports(1)[0]
    monkeypatch.setattr(ports, "_FROM", first)
    monkeypatch.setattr(ports, "_TO", first + count)
    return range(first, first + count)


def _take(folder: str) -> list[int]:
    tempfile.tempdir = folder
    return [port for _ in range(5) for port in free_ports(20)]


def test_processes_that_start_at_once_are_given_different_ports(claims: Path) -> None:
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        taken = [port for found in pool.map(_take, [str(claims)] * 4) for port in found]
    assert len(taken) == len(set(taken)) == 400


def test_a_port_that_somebody_listens_on_is_not_given_out(monkeypatch: pytest.MonkeyPatch, claims: Path) -> None:
    first, second = narrow(monkeypatch, 2)
    for file in claims.iterdir():
        file.unlink()
    with socket.create_server(("127.0.0.1", first)):
        assert free_ports(1) == [second]
        with pytest.raises(OSError, match="fewer than 1 free ports"):
            free_ports(1)


def test_a_claim_is_over_after_a_minute_and_garbage_claims_nothing(
    monkeypatch: pytest.MonkeyPatch, claims: Path
) -> None:
    (port,) = narrow(monkeypatch, 1)
    (file,) = claims.iterdir()
    file.write_text(f"{port} {time.time() - 30}\n")
    with pytest.raises(OSError, match="fewer than 1 free ports"):
        free_ports(1)
    file.write_text(f"{port} {time.time() - 61}\n{port}\nnonsense\n{port} tomorrow\n")
    assert free_ports(1) == [port]
    assert file.stat().st_mode & 0o777 == 0o600
