"""Logs hold no secret at any time: split over writes, in long lines, of killed processes, and in a flood."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faultload.host import processes
from faultload.host.secrets import SECRETS_ENV
from faultload.record import logs
from faultload.record.logs import CleanLines, Pump, open_log, spawn, wait_until_written
from faultload.record.redactor import Redactor

SECRETS = {"plain": "hunter2-hunter2", "signs": 'p@ss w/rd+"\\', "lines": "-----BEGIN-----\nMIIB+/=\n-----END-----"}
FORMS = {
    "plain": lambda secret: secret,
    "JSON": lambda secret: json.dumps({"token": secret}),
    "Basic": lambda secret: "Basic " + base64.b64encode(f"alice:{secret}".encode()).decode(),
    "hex": lambda secret: secret.encode().hex(),
}


@pytest.fixture(params=SECRETS)
def secret(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return keep(SECRETS[request.param], monkeypatch)


@pytest.fixture
def plain_secret(monkeypatch: pytest.MonkeyPatch) -> str:
    return keep(SECRETS["plain"], monkeypatch)


def keep(secret: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SECRETS_ENV, "TOKEN")
    monkeypatch.setenv("TOKEN", secret)
    return secret


def cleaned(*pieces: bytes) -> bytes:
    lines = CleanLines(Redactor.from_environment())
    return b"".join([*map(lines.feed, pieces), lines.rest()])


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_replaced_wherever_a_write_ends(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    text = f"before\n> {written} <\nafter\n".encode()
    whole = Redactor.from_environment().text(text.decode()).encode()
    assert b"***TOKEN***" in whole and written.encode() not in whole
    for at in range(len(text)):
        assert cleaned(text[:at], text[at:]) == whole, at


def test_a_secret_is_replaced_that_comes_byte_by_byte(secret: str) -> None:
    pieces = [bytes([one]) for one in f"> {secret} <\n".encode()]
    assert cleaned(*pieces) == b"> ***TOKEN*** <\n"


@pytest.mark.parametrize("at", [0, 100, 65_530, 65_536, 100_000, 131_060, 131_072, 190_000])
def test_a_secret_is_replaced_anywhere_in_a_line_that_is_too_long_to_wait_for(secret: str, at: int) -> None:
    line = (b"." * at + secret.encode()).ljust(200_000, b".")
    pieces = [line[start : start + 32_768] for start in range(0, len(line), 32_768)]
    lines = CleanLines(Redactor.from_environment())
    early = b"".join(map(lines.feed, pieces))
    assert len(early) > 100_000, "it is not kept until the end"
    assert early + lines.rest() == line.replace(secret.encode(), b"***TOKEN***")


def test_many_secrets_in_one_long_line_are_all_replaced(secret: str) -> None:
    line = secret.encode() * 20_000
    assert cleaned(*(line[at : at + 10_000] for at in range(0, len(line), 10_000))) == b"***TOKEN***" * 20_000


def test_a_long_line_of_long_characters_is_cut_where_no_secret_is(secret: str) -> None:
    line = ("🔑" * 20_000 + secret) * 3
    data = line.encode()
    assert cleaned(*(data[at : at + 999] for at in range(0, len(data), 999))).decode() == line.replace(
        secret, "***TOKEN***"
    )


def test_lines_are_written_at_once(plain_secret: str) -> None:
    lines = CleanLines(Redactor.from_environment())
    assert lines.feed(b"one\ntwo\nthr") == b"one\ntwo\n"
    assert lines.feed(b"ee\n") == b"three\n"


def test_bytes_that_are_no_text_stay_as_they_were(secret: str) -> None:
    noise = bytes(range(256)) * 500
    pieces = [noise[at : at + 999] for at in range(0, len(noise), 999)]
    assert cleaned(*pieces) == noise


def say(program: str, log: Path) -> subprocess.Popen[bytes]:
    return spawn([sys.executable, "-c", program], log=log)


def written(log: Path) -> str:
    wait_until_written(60)
    return log.read_text()


def test_what_any_program_writes_is_clean_while_it_runs(plain_secret: str, tmp_path: Path) -> None:
    """Also what a library or a program that it starts writes without Python."""
    log = tmp_path / "logs" / "load-0.log"
    program = (
        "import os, subprocess, sys, time\n"
        "os.write(1, b'raw ' + os.environb[b'TOKEN'] + b'\\n')\n"
        "print('error', os.environ['TOKEN'], file=sys.stderr)\n"
        "subprocess.run(['sh', '-c', 'echo child $TOKEN'])\nsys.stdin.read()"
    )
    with spawn([sys.executable, "-c", program], log=log, stdin=subprocess.PIPE) as process:
        wanted = "raw ***TOKEN***\nerror ***TOKEN***\nchild ***TOKEN***\n"
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_text() == wanted):
            assert plain_secret not in (log.read_text() if log.exists() else "")
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        assert process.poll() is None
    assert log.stat().st_mode & 0o777 == 0o600


def test_its_process_says_whose_log_it_writes(
    plain_secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    plain = processes.spawn
    monkeypatch.setattr(processes, "spawn", lambda argv, **options: started.append(argv) or plain(argv, **options))
    os.close(open_log(tmp_path / "log"))
    assert started[0][1:] == ["-m", "faultload.record.logs", str(tmp_path / "log")]
    wait_until_written(60)


def test_what_a_killed_process_said_is_kept(plain_secret: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    said = "print('line\\n' * 20000, os.environ['TOKEN'], end='', flush=True)"
    program = f"import os\n{said}\nos.kill(os.getpid(), 9)"
    assert say(program, log).wait(60) == -signal.SIGKILL
    assert written(log) == "line\n" * 20_000 + " ***TOKEN***"


def test_a_log_outlives_whoever_started_it(plain_secret: str, tmp_path: Path) -> None:
    """The conductor is killed: what its processes say afterwards is clean as well."""
    log = tmp_path / "log"
    child = "import os, sys, time; os.read(3, 1); print('orphan', os.environ['TOKEN'])"
    starter = (
        "import os, sys\nfrom pathlib import Path\nfrom faultload.record.logs import spawn\n"
        "r, w = os.pipe(); os.dup2(r, 3)\n"
        f"spawn([sys.executable, '-c', {child!r}], log=Path({str(log)!r}), pass_fds=[3])\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", starter], check=False).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert log.read_text() == "orphan ***TOKEN***\n"


def test_a_flood_holds_nobody_up_and_the_log_says_what_it_left_out(plain_secret: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import os, time\nline = (os.environ['TOKEN'] + ' is the token\\n').encode() * 4000\n"
        "for _ in range(100_000_000 // len(line)):\n    at = 0\n"
        "    while at < len(line):\n        at += os.write(1, line[at:])\n"
        "time.sleep(1)\nos.write(1, b'the end\\n')"
    )
    assert say(program, log).wait(120) == 0
    text = written(log)
    assert plain_secret not in text
    lines = set(text.splitlines())
    said = [line for line in lines if line.startswith("[faultload: ")]
    assert lines - set(said) <= {"***TOKEN*** is the token", "the end"}
    assert len(text) < 100_000_000 or not said


@pytest.mark.parametrize("cut", range(15))
def test_no_part_of_a_secret_is_left_beside_a_gap(
    secret: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reaches into what is left out, another one out of it."""
    monkeypatch.setattr(logs, "_MOST_WAITING", 1000)
    with open(tmp_path / "log", "wb") as log:
        pump = Pump(-1, log.fileno(), Redactor.from_environment())
        pump.take(b"first\n" * 2000 + b"> " + secret[:cut].encode())
        pump.take(secret[cut:].encode() + b"\nin the gap\n" + secret[:cut].encode())
        pump.pass_on()
        pump.take(secret[cut:].encode() + b" <\n" + b"." * Redactor.from_environment().reach + b"\nlast\n")
        pump.pass_on()
        pump.finish()
    text = (tmp_path / "log").read_text()
    assert re.fullmatch(r"(first\n)*f?i?r?s?t?\[faultload: \d+ bytes of this log were left out: .*\]\nlast\n", text)


def test_a_log_on_a_full_disk_holds_nobody_up(plain_secret: str) -> None:
    program = "for _ in range(50000): print('a line of a log that nobody can write')"
    assert say(program, Path("/dev/full")).wait(60) == 0
    wait_until_written(60)


def test_without_secrets_a_process_writes_to_its_log_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRETS_ENV, raising=False)
    descriptor = open_log(tmp_path / "log")
    assert Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path / "log"
    os.close(descriptor)


def test_a_forked_process_has_a_clean_log_too(
    plain_secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tells.py").write_text("import os\ndef main():\n    print('forked', os.environ['TOKEN'])\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    conductor = (  # in a process of its own: gevent, which other tests bring, would wait for its children
        "import sys\nfrom pathlib import Path\nfrom faultload.record.logs import wait_until_written\n"
        "from faultload.run.warm import ForkServer\n"
        "server = ForkServer('test', {'tells': 'tells:main'})\n"
        f"process = server.spawn([sys.executable, '-m', 'tells'], log=Path({str(tmp_path / 'log')!r}))\n"
        "assert (process.wait(60), server.lost) == (0, None), server.lost\n"
        "server.close()\nwait_until_written(60)"
    )
    subprocess.run([sys.executable, "-c", conductor], check=True)
    assert (tmp_path / "log").read_text() == "forked ***TOKEN***\n"
