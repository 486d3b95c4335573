"""Writes what docs say that the code knows: tables of faults and measures, lists of folders and files.

`python docs/generate.py` rewrites what stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from faultload.faults import PLATFORMS, cannot, faults_of, words
from faultload.spec.measures import measures
from faultload.spec.objective import parse_objective
from faultload.spec.vocabulary import Argument

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "faultload", ROOT / "analysis" / "faultload_analysis")
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def word_table() -> Iterator[str]:
    """Every word with its arguments; * marks those that have to be given."""
    yield "| word | what it does | arguments | layer | one-shot |"
    yield "|---|---|---|---|---|"
    for word in words().values():
        arguments = ", ".join(_argument(name, argument) for name, argument in word.arguments.items())
        yield _row(f"`{word.name}`", word.what, arguments, word.layer, "yes" if word.one_shot else "no")


def argument_table() -> Iterator[str]:
    """What each argument means, once."""
    yield "| argument | of | means |"
    yield "|---|---|---|"
    meanings: dict[tuple[str, str], list[str]] = {}
    for word in words().values():
        for name, argument in word.arguments.items():
            meanings.setdefault((name, argument.what), []).append(word.name)
    for (name, what), of in meanings.items():
        yield _row(f"`{name}`", ", ".join(f"`{one}`" for one in of) if len(of) < 6 else "several", what)


def platform_table() -> Iterator[str]:
    """Which platform makes which word."""
    yield "| word | " + " | ".join(PLATFORMS) + " |"
    yield "|---" * (len(PLATFORMS) + 1) + "|"
    for word in words():
        cells = []
        for platform in PLATFORMS:
            made = faults_of(platform).get(word)
            cells.append("–" if made is None else f"yes ({made.not_run})" if made.not_run else "yes")
        yield _row(f"`{word}`", *cells)


def refusal_table() -> Iterator[str]:
    """What a platform refuses, why, and the nearest that it can."""
    yield "| word | platform | why not | instead |"
    yield "|---|---|---|---|"
    for word in words():
        for platform in PLATFORMS:
            mistake = cannot(platform, word)
            if mistake is not None:
                yield _row(f"`{word}`", platform, mistake.message.partition(": ")[2], mistake.hint or "")


def _how(platform: str) -> Callable[[], Iterator[str]]:
    def table() -> Iterator[str]:
        yield "| word | made by | needs | witness: it is there | undo |"
        yield "|---|---|---|---|---|"
        for word, made in faults_of(platform).items():
            yield _row(f"`{word}`", made.made_by, made.needs, made.witnessed_by, made.undone_by)

    return table


def measure_table() -> Iterator[str]:
    """What an objective may ask, by the measures' own examples."""
    yield "| example | measure | filters |"
    yield "|---|---|---|"
    for measure in sorted(measures(), key=lambda one: one.names):
        for example, what in measure.examples:
            taken = ", ".join(f"`{name}`" for name in measure.filters_of(parse_objective(example).term))
            yield _row(f"`{example}`", what, "of the whole run" if measure.whole_run else taken)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "words": word_table,
    "arguments": argument_table,
    "platforms": platform_table,
    "refusals": refusal_table,
    **{platform: _how(platform) for platform in PLATFORMS},
}


def _argument(name: str, argument: Argument) -> str:
    shown = argument.default if isinstance(argument.default, str) else f"{argument.default or 0:g}"
    mark = r"\*" if argument.required else "" if argument.default is None else f" ({shown})"
    choices = f" `{'` or `'.join(argument.choices)}`" if argument.choices else ""
    return f"`{name}`{mark}{choices}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"\.(?: |$)", first, maxsplit=1)[0]


def folders() -> Iterator[Path]:
    """Every package, a folder before the folders in it."""
    for package in PACKAGES:
        yield from sorted(file.parent for file in package.rglob("__init__.py"))


def folder_list() -> Iterator[str]:
    """One line a folder: its rule."""
    yield "| folder | what belongs there |"
    yield "|---|---|"
    for folder in folders():
        yield f"| `{folder.relative_to(ROOT)}/` | {sentence(folder / '__init__.py')} |"


def file_list() -> Iterator[str]:
    """One line a module, folder by folder."""
    for folder in folders():
        files = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
        if not files:
            continue
        yield f"### `{folder.relative_to(ROOT)}/`"
        yield ""
        for file in files:
            line = f"- `{file.name}`: {sentence(file)}."
            yield from textwrap.wrap(line, 116, subsequent_indent="  ", break_on_hyphens=False)
        yield ""


PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "faults.md": TABLES,
    "writing-scenarios.md": {"measures": measure_table},
    "whats-here.md": {"folders": folder_list},
    "files.md": {"files": file_list},
}


def generated(page: str, text: str) -> str:
    """A page with its generated blocks written anew."""

    def block(match: re.Match[str]) -> str:
        lines = "\n".join(PAGES[page][match[2]]())
        return f"{match[1]}{lines}\n{match[3]}"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Rewrite the pages; with --check only say whether they are as they should be."""
    for name in PAGES:
        page = ROOT / "docs" / name
        text = page.read_text()
        wanted = generated(name, text)
        if "--check" not in sys.argv:
            page.write_text(wanted)
        elif text != wanted:
            sys.exit(f"{page} is old: python docs/{Path(__file__).name}")


if __name__ == "__main__":
    main()
