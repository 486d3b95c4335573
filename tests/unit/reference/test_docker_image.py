"""The image of the memory service without an engine: what goes in, and that it is enough."""

from __future__ import annotations

import ast
import io
import tarfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from faultload.errors import TargetError
from faultload.reference.host import docker_image
from faultload.reference.host.docker_image import PACKAGE, Recipe
from faultload.reference.kit import patroni
from faultload.reference.systems.memory import containers
from faultload.spec.target import read_target

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy" / "memory"
RECIPE = Recipe("memory", "debian:12")


def compose() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def modules_started() -> set[str]:
    return {
        word
        for service in compose().values()
        for word in service.get("command", ())  # type: ignore[attr-defined]
        if str(word).startswith("faultload.")
    }


def imported(file: Path) -> set[str]:
    """The modules of faultload that a file imports, also inside functions, but not for type checking only."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faultload"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("faultload")}
        waiting += ast.iter_child_nodes(node)
    return found


def file_of(module: str) -> Path | None:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def test_the_image_holds_every_module_that_its_services_import() -> None:
    inside = set(RECIPE.files())
    waiting, seen = modules_started(), set[Path]()
    assert len(waiting) == 4
    while waiting:
        file = file_of(waiting.pop())
        if file is None or file in seen:
            continue
        seen.add(file)
        assert file.relative_to(PACKAGE.parent).as_posix() in inside
        waiting |= imported(file)
    assert len(seen) > 15


def test_nothing_of_the_tool_itself_goes_into_the_image() -> None:
    assert {Path(file).parts[:2] for file in RECIPE.files() if len(Path(file).parts) > 2} == {
        ("faultload", "agents"), ("faultload", "host"), ("faultload", "reference"), ("deploy", "memory"),
    }  # fmt: skip
    assert {Path(file).name for file in RECIPE.files() if "faultload/host" in file} == {"__init__.py", "private.py"}
    assert not [file for file in RECIPE.files() if "reference/host" in file]


def test_its_packages_are_those_of_the_extra() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["reference"]
    assert (DEPLOY / "requirements.txt").read_text().split("\n")[:-1] == sorted(extra, key=str.lower)


def test_the_tag_changes_with_what_goes_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed, shipped = tmp_path / "site" / "faultload", tmp_path / "packs"
    monkeypatch.setattr(docker_image, "PACKAGE", installed)
    monkeypatch.setattr(docker_image, "packs_root", lambda: shipped)
    installed.mkdir(parents=True)
    (shipped / "deploy" / "memory").mkdir(parents=True)
    (shipped / "deploy" / "memory" / "Dockerfile").write_text(
        "FROM x\nCOPY faultload/a.py \\\n faultload/b*.py /opt/\n"
    )
    (installed / "a.py").write_text("1")
    with pytest.raises(TargetError, match=r"copies faultload/b\*\.py"):
        RECIPE.files()
    (installed / "b1.py").write_text("2")
    assert RECIPE.files() == [RECIPE.dockerfile, "faultload/a.py", "faultload/b1.py"]
    first = RECIPE.tag
    assert RECIPE.tag == first and Recipe("memory", "other").tag != first
    (installed / "b2.py").write_text("2")
    second = RECIPE.tag
    (installed / "b2.py").write_text("3")
    assert len({first, second, RECIPE.tag}) == 3


def test_the_build_context_is_the_same_wherever_it_is_made() -> None:
    first = RECIPE.context()
    assert first == RECIPE.context()
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == RECIPE.files()
        assert {(entry.uid, entry.uname, entry.mtime) for entry in archive} == {(0, "", 0)}


def test_the_platform_starts_the_compose_file_at_the_top() -> None:
    assert containers.COMPOSE_FILE == ROOT / "docker-compose.yml"


def test_every_service_of_the_compose_file_is_checked_restarted_limited_and_on_loopback() -> None:
    services = compose()
    by_profile: dict[str, set[str]] = {}
    for name, service in services.items():
        by_profile.setdefault(",".join(service.get("profiles", [])), set()).add(name)  # type: ignore[call-overload]
    assert by_profile == {
        "": {"gateway", "api", "cloud", "shortterm", "pg1", "pg2", "arbiter"},
        "observability": {"prometheus", "grafana"},
        "load": {"locust-master", "locust-worker", "faultload"},
    }
    for name, service in services.items():
        assert service["mem_limit"], name
        for port in service.get("ports", ()):  # type: ignore[attr-defined]
            assert port.startswith("127.0.0.1:"), name
        if name == "faultload":  # it ends by itself, once
            assert service["restart"] == "no" and "healthcheck" not in service
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name  # type: ignore[index]
    assert (services["api"]["scale"], services["locust-worker"]["scale"]) == (3, 2)


def test_faultload_finds_the_gateway_and_the_databases_under_the_names_of_the_compose_file() -> None:
    target = read_target(DEPLOY / "target.yaml")
    services = compose()
    command = services["faultload"]["command"]
    assert target.platform == "external" and f"--approve={target.id}" in command  # type: ignore[operator]
    url, dsn = urlsplit(str(target.url)), target.services["db"].dsn or ""
    assert url.hostname in services and services["gateway"]["command"][-1] == str(url.port)  # type: ignore[index]
    assert dsn == patroni.read_write_dsn("memory", [("pg1", 5432), ("pg2", 5432)])


def test_what_dockerfiles_copy_is_let_into_the_build_context() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        Path(source).parts[0]
        for dockerfile in (ROOT / "deploy").glob("*/Dockerfile")
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    assert copied == let_in
