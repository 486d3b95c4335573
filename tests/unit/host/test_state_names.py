"""The state folder: whatever a target is called, what is kept of it is in the folder of its kind."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from faultload.host.state import file_name, open_faults_dir, state_home, target_dir

ODD = [
    "..",
    ".",
    "",
    "../../etc",
    "/etc",
    "a/b",
    "docker:unix:///run/docker.sock",
    "a\\b",
    "a\0b",
    "\n",
    "~",
    "%2E%2E",
]


@pytest.mark.parametrize("identifier", ODD)
def test_no_name_leads_out_of_its_folder(identifier: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for folder, kind in ((open_faults_dir(identifier), "open"), (target_dir(identifier), "targets")):
        folder.mkdir(parents=True)
        assert folder.resolve().parent == (state_home() / kind).resolve()
        assert folder in (state_home() / kind).glob("*"), "undo finds it there"
    assert identifier == "" or unquote(file_name(identifier)) == identifier


def test_two_names_are_two_files() -> None:
    assert len({file_name(one) for one in ODD}) == len(ODD)
