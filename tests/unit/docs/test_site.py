"""The site of `make docs` has every page, and its API pages document what exists; needs no mkdocs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import faultload_analysis

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PACKAGES = sorted(path.name for path in Path(faultload_analysis.__file__).parent.iterdir() if path.is_dir())


def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "mkdocs.yml").read_text()))


def named(nav: Any) -> Iterator[str]:
    """Every file that a part of `nav` names."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from named(entry)


def identifiers() -> list[str]:
    """What the API pages document: `::: NAME`."""
    return [
        name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    ]


def test_the_navigation_names_every_page_once() -> None:
    pages = list(named(config()["nav"]))
    assert len(pages) == len(set(pages))
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} <= set(pages)


def test_every_file_in_the_navigation_exists() -> None:
    missing = [page for page in named(config()["nav"]) if not any((top / page).is_file() for top in (DOCS, ROOT))]
    assert missing == []


def test_the_site_loads_nothing_from_elsewhere() -> None:
    settings = config()
    assert settings["theme"]["font"] is False
    assert not {"extra", "extra_javascript", "extra_css"} & set(settings), "analytics and CDNs are set there"
    assert f"{settings['site_dir']}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_api_pages_document_what_exists() -> None:
    names = identifiers()
    assert {"faultload.open", "faultload.load"} <= set(names)
    assert {f"faultload_analysis.{package}" for package in PACKAGES if package != "__pycache__"} <= set(names)
    for name in names:
        assert resolve(name) is not None, name


@pytest.mark.parametrize("name", identifiers())
def test_everything_on_an_api_page_has_a_docstring(name: str) -> None:
    things = {name: resolve(name)}
    for public in getattr(things[name], "__all__", ()):
        if public != "Journey":  # asking for it imports gevent, which would patch this process
            things[f"{name}.{public}"] = getattr(things[name], public)
    for path, owner in list(things.items()):
        if isinstance(owner, type):
            members = {key: value for key, value in vars(owner).items() if not key.startswith("_")}
            things |= {f"{path}.{key}": value for key, value in members.items() if documents(value)}
    assert [path for path, thing in things.items() if documents(thing) and not thing.__doc__] == []


def documents(thing: Any) -> bool:
    """Whether it is of a kind that has a docstring of its own, unlike a constant or a field's default."""
    return callable(thing) or isinstance(thing, property | cached_property | classmethod)


def resolve(name: str) -> Any:
    """A module, or what a module holds under the last part of the name."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        module, _, member = name.rpartition(".")
        return getattr(import_module(module), member)
