"""YAML files are read with the line of every key; the environment is filled in, secrets are not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faultload.errors import InvalidInput
from faultload.host.secrets import SECRETS_ENV
from faultload.record.redactor import Redactor
from faultload.spec.yamlfile import Document, dotted, expand_secrets, load

Read = Callable[..., Document]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, *, expand: bool = True) -> Document:
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return load(path, expand=expand)

    return read


def test_every_key_has_its_line(read: Read) -> None:
    document = read("a: 1\n\nb:\n  - c: 2\n    d: 3\n  - 4\n")
    assert document.data == {"a": 1, "b": [{"c": 2, "d": 3}, 4]}
    assert [document.line(path) for path in (("a",), ("b",), ("b", 0, "d"), ("b", 1))] == [1, 3, 5, 6]
    assert document.line(("b", 0, "no", "such")) == 4
    assert document.line(("nowhere",)) == 1


def test_a_path_as_people_write_it() -> None:
    assert dotted(("faults", 0, "with", "duration_s")) == "faults[0].with.duration_s"


def test_the_environment_is_filled_in_with_its_type(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("EMPTY", "")
    text = "a: ${PORT}\nb: '${PORT}'\nc: http://x:${PORT}/\nd: ${MISSING_HERE:-5}\ne: ${EMPTY:-6}\nf: x${EMPTY}\n"
    assert read(text).data == {"a": 8080, "b": "8080", "c": "http://x:8080/", "d": 5, "e": 6, "f": "x"}


def test_experiments_keep_their_references(read: Read) -> None:
    assert read("a: ${duration_s}\n", expand=False).data == {"a": "${duration_s}"}


def test_a_secret_stays_a_reference(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-value")
    document = read("a: Bearer ${secret:TOKEN}\n")
    assert document.data == {"a": "Bearer ${secret:TOKEN}"}
    assert document.secrets == {"TOKEN": "s3cret-value"}


def test_whoever_expands_a_secret_keeps_it_out_of_what_it_and_its_children_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRETS_ENV, "OTHER")
    monkeypatch.setenv("TOKEN", "s3cret-value")
    assert Redactor.from_environment().text("s3cret-value") == "s3cret-value"
    assert expand_secrets({"a": ["Bearer ${secret:TOKEN}"]}) == {"a": ["Bearer s3cret-value"]}
    assert Redactor.from_environment().text("s3cret-value") == "***TOKEN***"
    assert os.environ[SECRETS_ENV] == "OTHER,TOKEN"


@pytest.mark.parametrize("text", ["a: ${secret:NOT_SET_HERE}\n", "a: ${NOT_SET_HERE}\n"])
def test_what_the_environment_lacks_is_a_mistake(read: Read, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"file.yaml:1: a: the environment has no NOT_SET_HERE \(export"):
        read(text)


def test_merge_keys(read: Read) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], y: 9}\nd: {<<: *a, x: 5}\n"
    assert read(text).data["c"] == {"x": 1, "y": 9, "z": 2}
    assert read(text).data["d"] == {"x": 5, "y": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [*a]\n", ":1: a[0]: this alias contains itself"),
        ("a: {<<: 5}\n", ":1: a: << takes a mapping"),
        ("? [a, b]\n: c\n", ":1: a key must be a plain word"),
        ("2026-01-01: c\n", ":1: a key must be a plain word"),
        ("!!python/object:os.system x: 1\n", ":1: a key must be a plain word"),
        ("x: !!python/object/apply:os.system [ls]\n", ""),
        ("x: !!python/name:os.system ''\n", ":1: x: cannot read this value"),
        ("x: 2026-99-99\n", ":1: x: cannot read this value"),
        ("on: 1\nyes: 2\n", ":2: True: this key appears twice"),
        ("x: \x01\n", ": not valid YAML"),
    ],
)
def test_odd_yaml_is_a_mistake_and_never_a_trace(read: Read, text: str, says: str) -> None:
    if not says:  # a tagged sequence is just a sequence: nothing is ever called
        assert read(text).data == {"x": ["ls"]}
        return
    with pytest.raises(InvalidInput) as refused:
        read(text)
    assert f"file.yaml{says}" in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="a folder, not a file"):
        load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(tmp_path / "binary.yaml")


def test_a_few_lines_of_aliases_that_mean_billions_of_values_are_refused(read: Read) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12)]
    with pytest.raises(InvalidInput, match="more than 200000 values: aliases of aliases multiply"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/name:os.system\n", "could not determine"),
        (f"a: {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
    ],
)
def test_a_file_that_asks_for_more_than_plain_data_is_refused(read: Read, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(text)


def test_a_tag_that_would_call_something_calls_nothing(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read("a: !!python/object/apply:os.system ['touch made']\n").data == {"a": ["touch made"]}
    assert not (tmp_path / "made").exists()
