"""Lets the site of `make docs` take pages and files from anywhere in the tree, and keeps their links working."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `nav` that are not in docs/."""
    for path in _named(config.nav):
        _add(path, files, config)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point every link at where the site has its file, and bring the file along if the site lacks it."""
    inside = Path(page.file.abs_src_path).is_relative_to(config.docs_dir)
    in_tree = posixpath.join("docs", page.file.src_uri) if inside else page.file.src_uri

    def on_site(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(in_tree), match[1])).removeprefix("docs/")
        _add(path, files, config)
        return posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(on_site, markdown)


def _add(path: str, files: Files, config: Any) -> None:
    if files.get_file_from_path(path) is None and (ROOT / path).is_file():
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [path for entry in (nav.values() if isinstance(nav, dict) else nav) for path in _named(entry)]
