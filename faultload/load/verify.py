"""Checks acknowledged writes after the load: `python -m faultload.load.verify RUN_DIR`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from faultload.errors import FaultloadError, InvalidInput
from faultload.host.state import write_json
from faultload.load import locustfile, words
from faultload.load.plan import Plan
from faultload.record.directory import RunDirectory
from faultload.record.redactor import Redactor, plain
from faultload.record.tables import numbers, read
from faultload.spec.target import TARGET_ENV
from faultload.spec.yamlfile import expand_secrets, load

_CHUNK = 200
_RETRY_S = 10.0
_SHOWN = 100


def check(
    verifier: words.Verifier,
    acknowledged: Sequence[str],
    indeterminate: Sequence[str],
    target: dict[str, Any],
    retry_s: float = _RETRY_S,
    acknowledged_s: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What one verifier finds: acknowledged keys that are missing, and indeterminate ones that are there.

    `acknowledged_s`: when each key was acknowledged, on the run's clock. When it cannot look (`error`), the keys
    counted are those it had looked for by then.
    """
    missing: list[str] = []
    checked = present = 0
    error = None
    try:
        for chunk in _chunks(acknowledged):
            found = _retried(partial(verifier.present, chunk, target), retry_s)
            missing += [key for key in chunk if key not in found]
            checked += len(chunk)
        for chunk in _chunks(indeterminate):
            found = _retried(partial(verifier.present, chunk, target), retry_s)
            present += len(found & set(chunk))
    except Exception as problem:  # noqa: BLE001 - a journey file's own function
        error = f"{type(problem).__name__}: {problem}"
    return {
        "name": verifier.name,
        "checked": checked,
        "missing": missing[:_SHOWN],
        "missing_count": len(missing),
        "missing_acknowledged_s": sorted((acknowledged_s or {})[key] for key in missing if acknowledged_s),
        "indeterminate_present": present,
        "error": error,
    }


def _retried(look: Callable[[], set[str]], retry_s: float) -> set[str]:
    """Look again while it fails, for `retry_s` at most: a target that has just recovered may still stumble."""
    deadline = time.monotonic() + retry_s
    while True:
        try:
            return look()
        except Exception:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


def _chunks(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield list(keys[start : start + _CHUNK])


def ledger(run: RunDirectory) -> tuple[dict[str, float], list[str]]:
    """When each acknowledged key was, on the run's clock, and keys only attempted: their fate is open.

    Raises InvalidInput for a key that holds a secret in a form from which it cannot be made again.
    """
    table = read(run.path, "writes")
    kept, states, times = table["key"].to_pylist(), table["state"].to_pylist(), numbers(table["t_ns"])
    redactor = Redactor.from_environment()
    again = {key: redactor.key_again(key) for key in dict.fromkeys(kept)}
    lost = [key for key, found in again.items() if found is None]
    if lost:
        raise InvalidInput(
            f"{len(lost)} keys of the write ledger hold a secret in a form that cannot be looked up again, such as "
            f"{lost[0]!r}: acknowledge keys without secrets"
        )
    keys = [again[key] or key for key in kept]
    found = zip(keys, states, (times / 1e9).tolist(), strict=True)
    acknowledged = {key: t for key, state, t in found if state == "acknowledged"}
    indeterminate = list(dict.fromkeys(key for key in keys if key not in acknowledged))
    return acknowledged, indeterminate


def verify(run: RunDirectory, retry_s: float = _RETRY_S) -> dict[str, Any]:
    """Run the journey file's verifiers on the write ledger and write what they found. Raises InvalidInput."""
    acknowledged, indeterminate = ledger(run)
    last_s = max(acknowledged.values(), default=0.0)
    checks = []
    if acknowledged or indeterminate:
        locustfile.import_file(Plan.of_run(run, 0).journeys)
        target = _target()
        for verifier in sorted(words.verifiers(), key=lambda verifier: verifier.after_s):
            time.sleep(max(0.0, last_s + verifier.after_s - run.clock.now()))
            begun = run.clock.now()
            found = check(verifier, list(acknowledged), indeterminate, target, retry_s, acknowledged)
            checks.append({**found, "began_s": begun})
    result = {"acknowledged": len(acknowledged), "indeterminate": len(indeterminate), "checks": checks}
    write_json(run.write_checks_path, plain(result))
    return result


def _target() -> dict[str, Any]:
    path = os.environ.get(TARGET_ENV)
    if not path:
        return {}
    found: dict[str, Any] = expand_secrets(load(Path(path)).data)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faultload.load.verify")
    parser.add_argument("run", type=Path)
    try:
        verify(RunDirectory.existing(parser.parse_args(argv).run))
    except FaultloadError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
