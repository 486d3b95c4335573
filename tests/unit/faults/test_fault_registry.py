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


def test_a_package_that_cannot_be_imported_is_named_and_harms_no_other_fault(tmp_path: Path) -> None:
    (tmp_path / "broken_faults.py").write_text("raise RuntimeError('half installed')\n")
    info = tmp_path / "broken_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faultload.faults]\nbroken = broken_faults\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    code = (
        "from faultload.faults import broken, faults_of; print(dict(broken())); print('kill' in faults_of('local'))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "half installed" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == "True"


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
