"""The registry of faults: words and classes are found; a broken package harms no other fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.faults import declare, faults_of, makes, words
from faultload.faults.base import PlatformFault
from faultload.spec.vocabulary import FaultWord

MADE = """
from faultload.faults import declare, makes
from faultload.faults.base import PlatformFault
from faultload.spec.vocabulary import FaultWord

@makes("zebra", "local")
class Zebra(PlatformFault):
    pass
"""


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("raise RuntimeError('half installed')", "half installed"),
        (MADE, "a class makes 'zebra' on local, but no word is declared"),
        (f"{MADE}\ndeclare(FaultWord('zebra', 'stripes'))\nraise RuntimeError('half')", "half"),
    ],
    ids=["not imported", "no word", "half imported"],
)
def test_a_broken_package_is_named_and_harms_no_other_fault(tmp_path: Path, module: str, why: str) -> None:
    (tmp_path / "broken_faults.py").write_text(f"{module}\n")
    info = tmp_path / "broken_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faultload.faults]\nbroken = broken_faults\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    code = (
        "from faultload.faults import broken, faults_of, words\n"
        "print(dict(broken()))\n"
        "print('kill' in faults_of('local'), 'zebra' in words(), 'zebra' in faults_of('local'))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    named, there = done.stdout.splitlines()
    assert "broken_faults cannot be used" in named
    assert why in named
    assert there == "True False False"


def test_a_word_and_a_class_are_declared_once() -> None:
    assert declare(words()["kill"]) is words()["kill"]
    with pytest.raises(ValueError, match="there is a fault word 'kill' already"):
        declare(FaultWord("kill", "something else"))

    class Other(PlatformFault):
        pass

    with pytest.raises(ValueError, match="makes 'kill' on local already"):
        makes("kill", "local")(Other)
    assert faults_of("local")["kill"] is not Other


def test_a_platform_that_nobody_knows_makes_no_fault() -> None:
    assert faults_of("external") == {}
