"""Writes the trace of a bug in faultload to a file that can be sent, instead of to the screen."""

from __future__ import annotations

import traceback
from datetime import datetime

from faultload.errors import FaultloadError
from faultload.host.private import make_folder, write_text
from faultload.host.state import state_home
from faultload.record.redactor import Redactor


def write_crash(error: BaseException) -> str:
    """Write the trace of an unexpected error; returns a sentence that says where."""
    trace = Redactor.from_environment().text("".join(traceback.format_exception(error)))
    path = state_home() / "crashes" / f"{datetime.now().strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        make_folder(path.parent)
        write_text(path, trace, encoding="utf-8", errors="backslashreplace")
    except (OSError, FaultloadError):
        return f"this is a bug in faultload; its trace could not be kept:\n{trace}"
    return f"this is a bug in faultload; the trace is in {path}"
