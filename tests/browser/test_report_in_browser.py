"""report.html in a real browser, with no network."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from synthetic_run import write_run

from faultload.report import write_reports
from faultload.verdict.judge import judge

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# every name resolves to nothing and every proxy refuses: whatever the page would fetch fails and is logged
OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--disable-quic")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on PATH: looked for {', '.join(NAMES)}")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("browser") / "run")
    write_reports(run, judge(run))
    return run.path / "report.html"


def opened(browser: str, report: Path, profile: Path, *options: str) -> tuple[str, str]:
    """What the browser printed on standard output and standard error."""
    command = [browser, *QUIET, *OFFLINE, f"--user-data-dir={profile}", *options, report.as_uri()]
    out, log = profile.with_suffix(".out"), profile.with_suffix(".log")
    # into files: a helper process that outlives the browser would hold a pipe open
    with open(out, "w") as stdout, open(log, "w") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, start_new_session=True)
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the browser did not end within 90 s: {log.read_text()[-2000:]}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return out.read_text(), log.read_text()


def test_the_dom_holds_the_verdict_and_every_figure(browser: str, report: Path, tmp_path: Path) -> None:
    dom, log = opened(browser, report, tmp_path / "p", "--dump-dom", "--enable-logging=stderr")
    assert 'data-verdict="FAIL"' in dom
    assert dom.count("<svg") == 5
    assert "1 of 8 objectives was missed" in dom
    for attribute in ("src", "href"):
        assert f'{attribute}="http' not in dom
    assert "CONSOLE" not in log, "the page complained, about its security policy or a resource"


def test_it_is_drawn(browser: str, report: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    opened(browser, report, tmp_path / "p", f"--screenshot={picture}", "--window-size=1280,2400")
    assert picture.stat().st_size > 50_000


def test_it_prints(browser: str, report: Path, tmp_path: Path) -> None:
    pages = tmp_path / "report.pdf"
    opened(browser, report, tmp_path / "p", f"--print-to-pdf={pages}", "--no-pdf-header-footer")
    assert pages.read_bytes().startswith(b"%PDF")
