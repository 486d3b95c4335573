"""From a record to its verdict and reports, even if the run was killed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultload.chaos.journal import still_open
from faultload.chaos.warden import conductor_lives
from faultload.errors import ExitCode, InvalidInput, NoVerdict, Refused, in_words, of_the_machine
from faultload.host.memory import check_memory
from faultload.host.secrets import SECRETS_ENV
from faultload.record.directory import RunDirectory
from faultload.record.logs import wait_until_written

LOGS_S = 2.0
"""So long the end of a run waits for its logs, at most: a process that lives on goes on writing."""


def report_again(path: Path) -> ExitCode:
    """Judge and report a run from its raw files.

    Raises InvalidInput for no run, Refused for one under way and for one with links in it, which may come from
    anybody: reports are written into it, and logs are read and cut. A run that cannot be read loses the verdict
    that it had.
    """
    try:
        run = RunDirectory.of_anybody(path)
    except InvalidInput:
        with suppress(OSError):
            if RunDirectory(path).info_path.exists():
                RunDirectory(path).withdraw_verdict()
        raise
    if conductor_lives(run):
        raise Refused(f"{path} is still running")
    return ExitCode(finish(run)["exit_code"])


def finish(run: RunDirectory, *, skip_analysis: bool = False) -> dict[str, Any]:
    """Seal, judge and report a run; also one that was killed.

    Raises NoVerdict where the machine has no room, memory or descriptors left for it; a report that cannot be
    written is only named. Its exit code says what a verdict's would: 6 for faults still open, 130 for a person.
    """
    try:
        return _finished(run, skip_analysis=skip_analysis)
    except Exception as error:
        if of_the_machine(error):
            raise no_verdict(run, error) from None
        raise


def no_verdict(run: RunDirectory, error: Exception, *, interrupted: bool | None = None) -> NoVerdict:
    """What is known where no verdict can be: what is still open, and whether a person stopped the run.

    `interrupted`: where that is known; None: the record says it.
    """
    left: list[str] = []
    with suppress(OSError):
        left = [fault.label for fault in still_open(run)]
    if interrupted is None:
        with suppress(OSError, InvalidInput):
            stopped = run.info().stopped
            interrupted = stopped is not None and stopped.by == "person"
    return NoVerdict(run.path, in_words(error), left, interrupted=bool(interrupted))


def _finished(run: RunDirectory, *, skip_analysis: bool) -> dict[str, Any]:
    run.withdraw_verdict()
    check_memory()
    from faultload.record.sealed import seal

    os.environ.setdefault(SECRETS_ENV, ",".join(run.info().secrets))

    wait_until_written(LOGS_S)
    seal(run.path)
    run.redact_foreign_files()
    run.trim_logs()
    if skip_analysis:
        print(f"not judged: `faultload report {run.path}` judges what was recorded", file=sys.stderr)
        code = ExitCode.NOT_UNDONE if still_open(run) else ExitCode.INTERRUPTED
        return {"verdict": "INCONCLUSIVE", "exit_code": int(code), "objectives": []}
    from faultload.report import write_reports
    from faultload.report.terminal import print_verdict
    from faultload.verdict.judge import judge

    judgement = judge(run)
    run.update({"verdict": judgement.verdict["verdict"]})
    for name, why in write_reports(run, judgement).items():
        print(f"{name} was not written: {why}", file=sys.stderr)
    print_verdict(judgement.verdict, run.path)
    return judgement.verdict
