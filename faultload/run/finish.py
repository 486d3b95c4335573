"""From a record to its verdict and reports, even if the run was killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from faultload.chaos.warden import conductor_lives
from faultload.errors import ExitCode, Refused
from faultload.host.private import neither_file_nor_folder
from faultload.host.secrets import SECRETS_ENV
from faultload.record.directory import RunDirectory
from faultload.record.logs import wait_until_written

LOGS_S = 2.0
"""So long the end of a run waits for its logs, at most: a process that lives on goes on writing."""


def report_again(path: Path) -> ExitCode:
    """Judge and report a run from its raw files.

    Raises InvalidInput for no run, Refused for one under way and for one with links in it, which may come from
    anybody: reports are written into it, and logs are read and cut.
    """
    run = RunDirectory.existing(path)
    if conductor_lives(run):
        raise Refused(f"{path} is still running")
    odd = neither_file_nor_folder(path.resolve())
    if odd is not None:
        raise Refused(f"{odd} is neither a file nor a folder: no run wrote it; remove it first")
    return ExitCode(finish(run)["exit_code"])


def finish(run: RunDirectory, *, skip_analysis: bool = False) -> dict[str, Any]:
    """Seal, judge and report a run; also one that was killed."""
    from faultload.record.sealed import seal

    os.environ.setdefault(SECRETS_ENV, ",".join(run.info().secrets))

    wait_until_written(LOGS_S)
    seal(run.path)
    run.redact_foreign_files()
    run.trim_logs()
    if skip_analysis:
        return {"verdict": "INCONCLUSIVE", "exit_code": int(ExitCode.INTERRUPTED), "objectives": []}
    from faultload.report import write_reports
    from faultload.report.terminal import print_verdict
    from faultload.verdict.judge import judge

    judgement = judge(run)
    run.update({"verdict": judgement.verdict["verdict"]})
    write_reports(run, judgement)
    print_verdict(judgement.verdict, run.path)
    return judgement.verdict
