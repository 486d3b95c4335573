"""`faultload target`: starts, shows and stops a reference system without a run."""

from __future__ import annotations

from pathlib import Path

import click

from faultload import reference
from faultload.errors import ExitCode, NotUndone, Refused
from faultload.host.private import close_to_others, make_folder, write_text
from faultload.platforms import platform_of
from faultload.platforms.base import names
from faultload.run.deadlines import TARGET_READY_S
from faultload.spec.target import read_target


def bring_up(name: str, platform: str, defects: tuple[str, ...], copy: Path | None) -> None:
    """Start a reference system and print its URL and target file; stop it again when it does not come up."""
    started = reference.start(name, platform, defects=defects)
    try:
        file = started.wait_ready(TARGET_READY_S[platform])
    except BaseException:
        reference.stop(name, platform)
        raise
    if copy is not None:
        make_folder(copy.parent)
        write_text(copy, file.read_text())
        close_to_others(copy)
    click.echo(f"url     {read_target(file).url}")
    click.echo(f"target  {copy or file}")
    if defects:
        click.echo(f"defects {', '.join(defects)}")


def bring_down(name: str, platform: str) -> None:
    """Stop a reference system. Raises Refused when a run owns it, NotUndone when something stays."""
    found = reference.status(name, platform)
    if found is not None and found.owner_alive:
        raise Refused(f"{name} belongs to a run in progress (pid {found.owner.pid if found.owner else '?'})")
    left = reference.stop(name, platform)
    if left:
        raise NotUndone(f"{name} left behind: {', '.join(left)}")
    click.echo(f"{name} is down" if found is not None else f"{name} was not up")


def print_status(name: str, platform: str) -> ExitCode:
    """Print each service's readiness; the exit code is 0 when all are ready, else 4."""
    found = reference.status(name, platform)
    if found is None:
        click.echo(f"{name} is not up")
        return ExitCode.INVALID
    what = "up" if found.ready else "starting" if found.running else "left behind: its supervisor is gone"
    click.echo(f"{name} is {what} since {found.started}")
    if not found.ready:
        return ExitCode.INVALID
    click.echo(f"url     {found.url}\ntarget  {found.target_file}")
    if found.defects:
        click.echo(f"defects {', '.join(found.defects)}")
    target = read_target(found.target_file)
    on = platform_of(target)
    problems = []
    for service in target.services:
        bad = on.not_ready(service)
        problems += bad
        click.echo(f"{service:10} {'; '.join(bad) or 'ready'}  {names(on.instances(service))}")
    return ExitCode.INVALID if problems else ExitCode.PASS
