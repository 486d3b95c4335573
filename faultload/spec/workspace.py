"""Where to look for files: beside the scenario, in the workspace, in the shipped packs."""

from __future__ import annotations

from pathlib import Path


def packs_root() -> Path:
    """The folder of what is shipped: scenarios, experiments, loadtests, deploy, docker-compose.yml."""
    package = Path(__file__).parents[1]
    installed = package / "packs"
    return installed if installed.is_dir() else package.parent


def workspace_of(start: Path) -> Path | None:
    """The nearest folder upwards that holds `scenarios/`, or None."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / "scenarios").is_dir():
            return folder
    return None


def find(name: str, beside: Path) -> Path | None:
    """A file that a scenario names: beside it, in its workspace, in the shipped packs."""
    path = Path(name).expanduser()
    if path.is_absolute():
        return path if path.is_file() else None
    roots = [beside, workspace_of(beside), packs_root()]
    for root in roots:
        if root is not None and (root / path).is_file():
            return (root / path).absolute()
    return None


def scenario_files(name: str, here: Path) -> list[Path]:
    """The scenario files that an argument names: a file, a folder, or a pack; empty when there is none."""
    roots = [here, workspace_of(here), packs_root()]
    candidates = [root / part for root in roots if root is not None for part in (name, f"scenarios/{name}")]
    for candidate in candidates:
        if candidate.is_file():
            return [candidate.absolute()]
        if candidate.is_dir() and (found := sorted(candidate.glob("*.yaml"))):
            return [path.absolute() for path in found]
    return []


def packs(here: Path) -> dict[str, list[Path]]:
    """Scenario files by pack: those of the workspace, and the shipped ones that it does not replace."""
    found: dict[str, list[Path]] = {}
    for root in (packs_root(), workspace_of(here)):
        if root is None:
            continue
        for folder in sorted((root / "scenarios").iterdir()):
            if folder.is_dir() and (files := sorted(folder.glob("*.yaml"))):
                found[folder.name] = files
    return dict(sorted(found.items()))


def runs_folder(here: Path) -> Path:
    """Where run directories go: `runs` in the workspace, or in the current folder outside of one."""
    workspace = workspace_of(here)
    root = workspace if workspace is not None and workspace != packs_root_if_installed() else here
    return root / "runs"


def packs_root_if_installed() -> Path | None:
    """The packs folder when it lies inside an installed package, where nothing may be written."""
    root = packs_root()
    return root if root.name == "packs" else None
