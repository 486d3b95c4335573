"""What the pages say is there: paths, commands, options, modules, keys, words; and their examples validate."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from chaoslib.experiment import ensure_experiment_is_valid
from pydantic import BaseModel

from faultload.cli import cli
from faultload.commands.validate import validate_files
from faultload.errors import ExitCode, InvalidInput
from faultload.faults import PLATFORMS, cannot, faults_of, words
from faultload.reference import REFERENCES
from faultload.spec import alerts, scenario, target
from faultload.spec.experiment import read_experiment
from faultload.spec.journeys import read_journeys
from faultload.spec.objective import parse_objective

ROOT = Path(__file__).parents[3]
AT_THE_TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = sorted([*AT_THE_TOP, *(ROOT / "docs").glob("*.md")])
FOLDERS = "faultload|analysis|scenarios|experiments|loadtests|tests|docs"
OF_OTHERS = {"--bind", "--directory", "--wheel", "--var", "--config", "--port"}
OF_OTHERS |= {"--write", "--kinds", "--round", "--troubles", "--moments"}  # of the matrices
OF_OTHERS |= {"--kind", "--n", "--runs", "--quick", "--keep", "--plan"}  # of benchmarks/coverage.py and power.py
OF_OTHERS |= {"--metric", "--seconds"}
"""Options of other programs that the pages mention."""

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Block(NamedTuple):
    """A fenced block: its mark `<!-- kind path -->`, its language, its text."""

    kind: str
    path: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    fence = re.compile(r"(?:^<!-- (\w+) (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(*(part or "" for part in match.groups())) for match in fence.finditer(page.read_text())]


def code_spans(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def command_lines(page: Path) -> Iterator[str]:
    """Every `faultload ...` of shell blocks and code spans."""
    shell = [block.text.replace("\\\n", " ") for block in blocks(page) if block.language == "sh"]
    lines = [line.partition(" #")[0] for text in shell for line in text.splitlines()]
    for text in [*lines, *code_spans(page)]:
        match = re.match(r"faultload(?: (.*))?$", text.strip())
        if match is not None:
            yield match.group(1) or ""


def files_of(page: Path) -> set[str]:
    """The files that a page's own examples make."""
    return {block.path for block in blocks(page) if block.path}


def options_of(command: click.Command) -> set[str]:
    found = {name for param in command.params for name in param.opts}
    return found | {name for sub in getattr(command, "commands", {}).values() for name in options_of(sub)}


def test_there_are_pages() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "whats-here.md", "faults.md", "analysis.md"} <= names
    assert any(block.kind == "scenario" for block in blocks(ROOT / "README.md"))
    assert list(command_lines(ROOT / "README.md"))


@by_page
def test_every_path_exists(page: Path) -> None:
    texts = [*code_spans(page), *(block.text for block in blocks(page) if block.language == "sh")]
    found = {one for text in texts for one in re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]+", text)}
    own = files_of(page) | {str(parent) for path in files_of(page) for parent in Path(path).parents}
    missing = {path for path in found if not (ROOT / path).exists() and path.rstrip("/") not in own}
    assert not missing


@by_page
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for path, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", page.read_text()):
        file = page.parent / path if path else page
        assert file.exists(), path
        heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}
        assert not anchor or anchor in slugs, f"{path}#{anchor}"


@by_page
def test_every_command_and_option_exists(page: Path) -> None:
    for line in command_lines(page):
        command: click.Command = cli
        for word in line.split():
            if word.startswith("-"):
                assert word.partition("=")[0] in options_of(command) | {"--help", "--version"}, line
            elif isinstance(command, click.Group):
                assert word in command.commands, f"there is no command: faultload {line}"
                command = command.commands[word]
    options = {option for span in code_spans(page) for option in re.findall(r"(?<![\w-])--[a-z-]+", span)}
    assert options <= options_of(cli) | OF_OTHERS


@by_page
def test_every_example_validates(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "a-secret-of-some-length")
    monkeypatch.delenv("SHOP_URL", raising=False)
    marked = [block for block in blocks(page) if block.kind]
    for block in marked:
        file = tmp_path / block.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
    for block in marked:
        file = tmp_path / block.path
        match block.kind:
            case "scenario" | "target":
                found = validate_files([str(file)], tmp_path)
                mistakes, count = found.mistakes, found.files
                assert (mistakes, count) == ([], 1)
            case "experiment":
                read_experiment(file, words())
                ensure_experiment_is_valid(yaml.safe_load(block.text))
            case "journeys":
                compile(block.text, block.path, "exec")
                assert read_journeys(file).classes
            case "file":
                assert block.text == (ROOT / block.path).read_text()
            case _:
                pytest.fail(f"unknown mark: {block.kind}")


def test_a_broken_example_would_be_seen(tmp_path: Path) -> None:
    good = next(block for block in blocks(ROOT / "README.md") if block.kind == "experiment")
    file = tmp_path / "experiment.yaml"
    file.write_text(good.text.replace("func: pause", "func: paws"))
    with pytest.raises(InvalidInput):
        read_experiment(file, words())


@by_page
def test_every_objective_in_a_table_parses(page: Path) -> None:
    for table in re.findall(r"^<!-- objectives -->\n(.*?)(?:\n\n|\Z)", page.read_text(), re.MULTILINE | re.DOTALL):
        examples = [match.group(1) for row in table.splitlines() if (match := re.match(r"\| `([^`]+)` \|", row))]
        assert len(examples) > 5
        for example in examples:
            parse_objective(example)


def keys_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_every_key_of_the_models_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "writing-scenarios.md").read_text()
    models: list[Any] = [
        scenario.Scenario,
        alerts.AlertRule,
        scenario.TargetChoice,
        scenario.Load,
        scenario.StageSpec,
        scenario.FaultSpec,
        scenario.Repeat,
        scenario.ChaosMonkey,
        scenario.ChanceFault,
        scenario.ObjectiveSpec,
        scenario.Recovery,
        scenario.Profile,
        target.TargetFile,
        target.Service,
        target.Link,
        target.Guard,
    ]
    for model in models:
        for key in keys_of(model):
            assert re.search(rf"`{key}`|\b{key}:", text), f"{model.__name__}.{key}"


@pytest.mark.parametrize("page", ["faults.md", "files.md", "whats-here.md", "writing-scenarios.md"])
def test_what_is_generated_is_as_the_code_says(page: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / page).read_text()
    assert set(re.findall(r"<!-- generated: (\w+) -->", text)) == set(module.PAGES[page])
    assert text == module.generated(page, text), "python docs/generate.py"
    for folder in module.folders():
        assert all(module.sentence(file) for file in folder.glob("*.py")), folder


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_fault_says_how_it_is_made_witnessed_and_undone(platform: str) -> None:
    assert faults_of(platform)
    silent = [
        f"{word}: {text}"
        for word, made in faults_of(platform).items()
        for text in ("made_by", "needs", "witnessed_by", "undone_by")
        if not getattr(made, text)
    ]
    assert silent == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_platform_cannot_do_is_refused_with_the_nearest_that_it_can(platform: str) -> None:
    for word in words():
        refused = cannot(platform, word)
        assert (refused is None) == (word in faults_of(platform))
        assert refused is None or (refused.message.partition(": ")[2] and refused.hint), word


def test_the_readme_is_short_and_shows_a_report() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert 10_000 < (ROOT / picture).stat().st_size < 200_000


def test_exit_codes_commands_and_defects_are_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\|(?: [A-Z]+ \|)? {int(code)} \|", text, re.MULTILINE), code.name
    for name in cli.commands:
        assert f"`faultload {name}" in text, name
    for name in words():
        assert f"`{name}`" in text, name
    for system in REFERENCES.values():
        for defect in system.defects:
            assert f"`{defect}`" in text, defect


def test_the_page_on_reading_runs_runs_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    parts = [block.text for block in blocks(ROOT / "docs" / "reading-runs.md") if block.language == "python"]
    assert len(parts) >= 4
    exec("\n".join(parts), {})
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
