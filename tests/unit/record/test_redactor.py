"""No form that a client makes of a secret is written; a key of the write ledger can still be looked up."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest

from faultload.errors import InvalidInput
from faultload.host.secrets import SECRETS_ENV
from faultload.load.verify import ledger
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.redactor import Redactor

SECRETS = {
    "plain": "hunter2-hunter2",
    "signs": "p@ss w/rd+\"'\\&<>=?%~",
    "unicode": "gehéimnis-ÜÖ-秘密-🔑",
    "lines": "-----BEGIN KEY-----\nMIIB+/==\n-----END KEY-----",
    "binary": "".join(chr(code) for code in range(0x21, 0x7F)),
}


def _bytes(secret: str) -> bytes:
    return secret.encode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a sentence": lambda s: f"cannot log in with {s}!",
    "Basic, of a short name": lambda s: base64.b64encode(b"u:" + _bytes(s)).decode(),
    "Basic, of a longer name": lambda s: base64.b64encode(b"admin:" + _bytes(s)).decode(),
    "Basic, of no name": lambda s: base64.b64encode(b":" + _bytes(s)).decode(),
    "base64 with more behind it": lambda s: base64.b64encode(b"dsn=" + _bytes(s) + b"@host").decode(),
    "base64": lambda s: base64.b64encode(_bytes(s)).decode(),
    "base64 without padding": lambda s: base64.b64encode(_bytes(s)).decode().rstrip("="),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(_bytes(s)).decode(),
    "base64 for URLs without padding": lambda s: base64.urlsafe_b64encode(b"ab" + _bytes(s)).decode().rstrip("="),
    "base64 in a query": lambda s: urlencode({"auth": base64.b64encode(_bytes(s)).decode()}),
    "base64 in JSON of PHP": lambda s: base64.b64encode(_bytes(s)).decode().replace("/", "\\/"),
    "hex": lambda s: _bytes(s).hex(),
    "hex in capitals": lambda s: _bytes(s).hex().upper(),
    "URL": lambda s: quote(s, safe=""),
    "URL with slashes": quote,
    "URL as requests does it": lambda s: quote(s, safe="!#$%&'()*+,/:;=?@[]~"),
    "URL in small letters": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%C3", "%c3"),
    "a form": quote_plus,
    "a URL in a URL": lambda s: quote(quote(s, safe=""), safe=""),
    "JSON": lambda s: json.dumps(s),
    "JSON of any letters": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps({"body": json.dumps({"p": s})}),
    "repr": repr,
    "bytes": lambda s: repr(_bytes(s)),
    "repr of bytes in JSON": lambda s: json.dumps(repr(_bytes(s))),
    "HTML": html.escape,
    "HTML as numbers": lambda s: "".join(f"&#{ord(one)};" for one in s),
    "HTML as hex": lambda s: "".join(f"&#x{ord(one):x};" for one in s),
}


BESIDE = {
    "in a sentence",
    "Basic, of a longer name",
    "base64 with more behind it",
    "base64 in a query",
    "JSON in JSON",
}
"""Forms with something beside the secret, which may stay: a sentence, a user's name, a key."""


@pytest.fixture(params=SECRETS)
def secret(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SECRETS_ENV, "TOKEN")
    monkeypatch.setenv("TOKEN", SECRETS[request.param])
    return SECRETS[request.param]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_replaced(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    clean = Redactor.from_environment().text(f"> {written} <")
    assert "***TOKEN***" in clean
    assert written not in clean and secret not in clean
    if form not in BESIDE:
        assert clean.strip("> <\"'b\\") == "***TOKEN***", clean


@pytest.mark.parametrize("form", FORMS)
def test_no_form_is_in_anything_that_a_run_writes(tmp_path: Path, secret: str, form: str) -> None:
    written = FORMS[form](secret)
    run = RunDirectory.create(tmp_path / "run")
    run.begin({"scenario": {"x": written}, "command": ["run", written]})
    run.event("note", what="x", text=written)
    run.write_verdict({"reasons": [written], "objectives": [{"why": written}]})
    run.write_text("report.html", f"<p>{html.escape(written)}</p>")
    run.log("api").write_text(f"before\n{written}\nafter\n")
    run.chaos_journal("cut", 1).write_text(json.dumps({"output": written}))
    writer = tables.TableWriter(run.path, "samples")
    row = {name: [0] for name in writer.schema.names}
    texts = {name: [written] for name in ("request", "journey", "variant", "outcome", "method") if name in row}
    writer.write({**row, **texts})
    writer.close()
    run.redact_foreign_files()
    for path in run.path.rglob("*"):
        if path.is_file() and path.suffix != ".arrows":
            assert not (found := [one for one in (written, secret) if one in path.read_text()]), (path, found)
    rows = tables.read(run.path, "samples")
    assert "***TOKEN***" in rows["request"][0].as_py() and written not in rows["request"][0].as_py()
    assert run.log("api").read_text().startswith("before\n") and run.log("api").read_text().endswith("\nafter\n")


def test_a_value_with_a_line_end_is_found_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "from-a-file\n")
    assert Redactor(["TOKEN"]).text("Bearer from-a-file") == "Bearer ***TOKEN***"


def test_what_is_no_secret_stays(secret: str) -> None:
    innocent = "GET /memories/4711?q=hunter2 aGVsbG8gd29ybGQ= deadbeef 100% \\u00e9 &amp; \\n" + "QUJD" * 100
    assert Redactor.from_environment().text(innocent) == innocent


def test_a_long_log_takes_no_time_worth_naming(secret: str) -> None:
    """Base64 of pictures and rows of one letter must not make it slow: 4 MB in less than 8 s on a busy machine."""
    text = "QUJDREVGRw" * 100_000 + secret[:-1] * 20_000 + "%" * 1_000_000 + "\\" * 1_000_000 + "0" * 1_000_000
    began = time.process_time()
    Redactor.from_environment().text(text)
    assert time.process_time() - began < 8


KEYS = ["as it is", "base64", "hex", "URL", "a form", "JSON"]


@pytest.mark.parametrize("form", KEYS)
def test_a_key_that_holds_a_secret_is_kept_with_a_digest_and_looked_up_as_it_was(
    tmp_path: Path, secret: str, form: str
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    written = FORMS[form](secret).strip('"')
    keys = [f"order-{written}-{number}" for number in range(3)] + ["order-4"]
    writer = tables.TableWriter(run.path, "writes")
    states = ["acknowledged", "acknowledged", "attempted", "acknowledged"]
    writer.write({"t_ns": [1, 2, 3, 4], "key": keys, "state": states})
    writer.close()
    kept = tables.read(run.path, "writes")["key"].to_pylist()
    assert all("***TOKEN***" in key and " digest:" in key and written not in key for key in kept[:3]), kept
    assert kept[3] == "order-4" and len(set(kept)) == 4
    acknowledged, indeterminate = ledger(run)
    assert (list(acknowledged), indeterminate) == ([keys[0], keys[1], keys[3]], [keys[2]])


def test_a_key_that_cannot_be_made_again_is_said_and_not_counted_as_lost(tmp_path: Path, secret: str) -> None:
    run = RunDirectory.create(tmp_path / "run")
    writer = tables.TableWriter(run.path, "writes")
    writer.write({"t_ns": [1], "key": [FORMS["Basic, of a short name"](secret)], "state": ["acknowledged"]})
    writer.close()
    with pytest.raises(InvalidInput, match="1 keys of the write ledger hold a secret in a form that cannot be"):
        ledger(run)
