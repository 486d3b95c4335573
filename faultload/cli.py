"""Commands: parse, call, print; no logic. Heavy imports wait inside the command that needs them."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from faultload import __version__
from faultload.commands.output import Output
from faultload.errors import ExitCode, FaultloadError, in_words, of_the_machine

_PATH = click.Path(path_type=Path)
_NEW_OBJECTS = 50_000
"""So many between two searches for garbage: imports make far more than Python's 700, and they stay."""
_PLATFORM = click.option(
    "--platform",
    default="local",
    type=click.Choice(["local", "docker", "kubernetes"]),
    help="Where it runs.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="faultload")
def cli() -> None:
    """Load and chaos testing on one clock, with verdicts that know when they do not know.

    Exit codes: 0 PASS, 1 FAIL, 2 wrong usage or an invalid file, 3 INCONCLUSIVE, 4 INVALID, 5 refused or
    stopped by the gate, the guard, an abort condition or a person, 6 something could not be undone, 70 a bug
    in faultload, 130 interrupted.
    """


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a scenario's profile and target."""
    options = [
        click.option("--profile", metavar="P", help="Scale the scenario: smoke, standard, full or one of its own."),
        click.option(
            "--platform", metavar="P", help="Where to start the reference system: local, docker, kubernetes."
        ),
        click.option("--url", metavar="URL", help="Load this URL instead of the scenario's target."),
        click.option(
            "--target", type=_PATH, metavar="FILE", help="Use this target file instead of the scenario's."
        ),
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a value in the scenario."),
        click.option(
            "--defect", "defects", multiple=True, metavar="NAME", help="Switch on a defect of the reference system."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO|FOLDER|PACK...")
@_target_options
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Make the same random choices as this seed.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, metavar="N", help="How many load processes.")
@click.option("--approve", multiple=True, metavar="TARGET_ID", help="Confirm a target on another machine.")
@click.option("--out", type=_PATH, metavar="DIR", help="The run directory, which must be new or empty.")
def run(scenarios: tuple[str, ...], **options: Any) -> None:
    """Run scenarios: load the target, inject faults, judge the result."""
    from faultload.run.prepare import RunOptions
    from faultload.run.scenarios import run_scenarios

    command = ("faultload", *sys.argv[1:])
    sys.exit(run_scenarios(scenarios, RunOptions(command=command, **options)))


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def validate(paths: tuple[str, ...]) -> None:
    """Report every mistake in your files.

    Checks scenario, target and experiment files, and names file, line and a hint for each mistake.
    """
    from faultload.commands.validate import validate_files

    found = validate_files(paths, Path.cwd())
    for mistake in found.mistakes:
        _say(str(mistake))
    if found.mistakes:
        sys.exit(ExitCode.USAGE)
    for note in found.notes:
        click.echo(note)
    click.echo(f"{found.files} file{'s' if found.files != 1 else ''} in order")


@cli.command()
@click.argument("scenario")
@_target_options
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Make the same random choices as this seed.")
def plan(scenario: str, seed: int | None, **options: Any) -> None:
    """Show what a run would do, and touch nothing.

    Prints the timeline, the instances it would touch, and how many requests each objective needs.
    """
    from faultload.commands.plan import print_plan
    from faultload.run.prepare import RunOptions

    print_plan(scenario, RunOptions(seed=seed, **options))


@cli.command("list")
def list_packs() -> None:
    """List packs, scenarios and profiles, and how long they take."""
    from faultload.commands.plan import print_list

    print_list(Path.cwd())


@cli.command()
@click.argument("run_dir", metavar="RUN", type=_PATH)
def report(run_dir: Path) -> None:
    """Judge a run again from its raw data."""
    from faultload.run.finish import report_again

    sys.exit(report_again(run_dir))


@cli.command()
@click.argument("what", required=False, metavar="[RUN|TARGET_ID|FAULT]")
@click.option("--all", "everything", is_flag=True, help="Undo everything that is open on this machine.")
@click.option("--list", "only_list", is_flag=True, help="Only show what is open; name a fault to see all of it.")
@click.option("--yes", "confirmed", is_flag=True, help="With --all: do not ask.")
@click.option("--force", is_flag=True, help="With --all: also what belongs to a run that is still going on.")
def undo(what: str | None, everything: bool, only_list: bool, confirmed: bool, force: bool) -> None:
    """Undo open faults, and stop what a dead run left behind."""
    from faultload.commands.undo import undo_leftovers

    sys.exit(undo_leftovers(what, everything=everything, only_list=only_list, confirmed=confirmed, force=force))


@cli.group()
def target() -> None:
    """Start, check or stop a reference system without a run."""


@target.command("up")
@click.argument("name")
@_PLATFORM
@click.option("--defect", "defects", multiple=True, metavar="NAME", help="Switch on a defect.")
@click.option("--file", "copy", type=_PATH, metavar="target.yaml", help="Also write the target file here.")
def target_up(name: str, platform: str, defects: tuple[str, ...], copy: Path | None) -> None:
    """Start a reference system, and print its URL and target file."""
    from faultload.commands.target import bring_up

    bring_up(name, platform, defects, copy)


@target.command("down")
@click.argument("name")
@_PLATFORM
def target_down(name: str, platform: str) -> None:
    """Stop a reference system, and remove what it left behind."""
    from faultload.commands.target import bring_down

    bring_down(name, platform)


@target.command("status")
@click.argument("name")
@_PLATFORM
def target_status(name: str, platform: str) -> None:
    """Show whether a reference system is up, and which of its services are ready."""
    from faultload.commands.target import print_status

    sys.exit(print_status(name, platform))


@cli.command()
@click.option("--config", required=True, type=_PATH, metavar="FILE", help="The links and their pairs, as JSON.")
def proxy(config: Path) -> None:
    """Run a link proxy for your own system.

    It listens for each pair of a link, and lets you inject faults on that link.
    """
    from faultload.commands.proxy import serve_links

    serve_links(config)


@cli.command()
def doctor() -> None:
    """Show what this machine can and cannot do, and how to fix it."""
    from faultload.commands.doctor import print_findings

    sys.exit(print_findings())


@cli.command()
@click.option("--target", "of_target", is_flag=True, help="For target files instead of scenarios.")
def schema(of_target: bool) -> None:
    """Print the JSON Schema of scenario files, or of target files."""
    from faultload.spec.schema import scenario_schema, target_schema

    click.echo(json.dumps(target_schema() if of_target else scenario_schema(), indent=2))


def _say(problem: str) -> None:
    """What went wrong, on standard error: without secrets, and without what commands a terminal."""
    from faultload.record.redactor import Redactor
    from faultload.record.visible import visible

    click.echo(visible(Redactor.from_environment().text(problem)), err=True)


def main() -> None:
    """Entry of the `faultload` command: every expected error is a message and an exit code."""
    gc.set_threshold(_NEW_OBJECTS)
    output = Output()
    output.use()
    try:
        cli.main(prog_name="faultload", standalone_mode=False)
        lost = output.lost()
        if lost is not None:
            _say(lost)
            sys.exit(ExitCode.INTERNAL)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except click.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except FaultloadError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort: said plainly, with its trace in a file
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
        if of_the_machine(error):
            _say(f"this machine could not go on: {in_words(error)}{notes}")
            sys.exit(ExitCode.INTERNAL)
        from faultload.commands.crash import write_crash

        _say(f"faultload failed: {type(error).__name__}: {error}{notes}\n{write_crash(error)}")
        sys.exit(ExitCode.INTERNAL)


if __name__ == "__main__":
    main()
