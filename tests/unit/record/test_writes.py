"""writes.json as WriteChecks: a mistake names file and key, what a newer version added disturbs nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faultload.errors import InvalidInput
from faultload.record.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def test_nothing_was_read_back_where_there_is_no_file(run: RunDirectory) -> None:
    assert run.write_checks() is None


def test_it_is_read_as_a_verifier_wrote_it(run: RunDirectory) -> None:
    check = {"name": "api", "checked": 9, "missing": ["k"], "missing_count": 1, "missing_acknowledged_s": [4.5],
             "indeterminate_present": 0, "error": None, "began_s": 70.0}  # fmt: skip
    run.write_checks_path.write_text(json.dumps({"acknowledged": 9, "indeterminate": 2, "checks": [check]}))
    found = run.write_checks()
    assert found is not None
    (api,) = found.checks
    assert (found.acknowledged, found.indeterminate) == (9, 2)
    assert (api.name, api.missing, api.missing_count) == ("api", ("k",), 1)
    assert (api.missing_acknowledged_s, api.began_s, api.error) == ((4.5,), 70.0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "this is no JSON"),
        ("[]", "this is no JSON object"),
        ('{"acknowledged": "x"}', "acknowledged: "),
        ('{"checks": null}', "checks: "),
        ('{"checks": [1]}', "checks[0]: "),
        ('{"checks": [{"name": "api", "missing_count": "x"}]}', "checks[0].missing_count: "),
    ],
)
def test_a_mistake_names_file_and_key(run: RunDirectory, text: str, said: str) -> None:
    run.write_checks_path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        run.write_checks()
    assert str(caught.value).startswith(f"{run.write_checks_path}: {said}")
    assert "put back a copy" in str(caught.value)
