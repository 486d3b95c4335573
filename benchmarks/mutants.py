"""Changes one thing at a time in the core and looks whether its tests notice.

`python benchmarks/mutants.py [MODULE ...] [--count 14] [--seed 1]`; MODULE is a key of `CORE` or `all`. Works on a
copy in a temporary folder, so the tree is never changed. Ends with 1 when fewer than `--least` percent were killed
in any of the modules, with 2 when the unchanged tests fail. What survives with a reason: docs/mutants.md.

Ours, as mutmut and cosmic-ray mutate everything and start an interpreter for each mutant: here a seeded sample of
equal size says how well each module is tested, and each mutant is forked from a process that has the libraries.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    *("faultload", "analysis", "tests", "benchmarks", "docs"),
    *("experiments", "loadtests", "scenarios", "deploy", "notebooks"),
)
LIBRARIES = ("numpy", "scipy.special", "scipy.stats", "pyarrow.parquet", "pydantic", "yaml", "hypothesis", "httpx")
_VERDICT = ("tests/unit/verdict", "--ignore=tests/unit/verdict/test_window.py")
_CHAOS = ("tests/unit/chaos", "tests/unit/run/test_overlap.py")
_EVIDENCE = ("tests/unit/analysis/evidence", "--ignore=tests/unit/analysis/evidence/test_calibration.py")
_QUANTILES = "tests/oracle/test_quantile_tables.py"
_ANALYSIS = "analysis/faultload_analysis"

CORE: dict[str, tuple[str, ...]] = {
    "faultload/spec/checks.py": ("tests/unit/spec", "tests/unit/run/test_overlap.py"),
    "faultload/spec/stages.py": ("tests/unit/load", "tests/unit/spec"),
    "faultload/load/schedule.py": ("tests/unit/load",),
    "faultload/load/dispatcher.py": ("tests/unit/load",),
    "faultload/load/recorder.py": ("tests/unit/load",),
    "faultload/load/waiting.py": ("tests/unit/load",),
    "faultload/run/conductor.py": ("tests/unit/run",),
    "faultload/run/kept_warden.py": ("tests/unit/run",),
    "faultload/run/narration.py": ("tests/unit/run",),
    "faultload/chaos/warden.py": _CHAOS,
    "faultload/chaos/gate.py": _CHAOS,
    "faultload/chaos/guard.py": _CHAOS,
    "faultload/chaos/journal.py": _CHAOS,
    "faultload/verdict/judge.py": _VERDICT,
    "faultload/verdict/evidence.py": _VERDICT,
    "faultload/verdict/spoilage.py": _VERDICT,
    "faultload/verdict/recoveries.py": _VERDICT,
    "faultload/verdict/phases.py": _VERDICT,
    f"{_ANALYSIS}/latency/quantiles.py": (_QUANTILES, *_EVIDENCE),
    f"{_ANALYSIS}/evidence/dependence.py": (*_EVIDENCE, _QUANTILES, "tests/oracle/test_slo_tables.py"),
    f"{_ANALYSIS}/slo/budget.py": ("tests/unit/analysis/slo", "tests/oracle/test_slo_tables.py"),
    f"{_ANALYSIS}/latency/population.py": ("tests/unit/analysis/latency/test_population.py", *_EVIDENCE),
}
"""The core, and the tests that concern each module: those that take seconds, no whole runs."""

# -- the operators

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}

Change = tuple[str, Callable[[], None]]
"""What a mutation says it does, and what does it to the tree that it was found in."""


def changes(node: ast.AST) -> Iterator[Change]:
    """The mutations of one node."""
    if isinstance(node, ast.Compare):
        for at, old in enumerate(node.ops):
            for new in _COMPARED.get(type(old), ()):
                yield f"{_sign(old)} to {_sign(new())}", _setter(node.ops, at, new())
    elif isinstance(node, ast.BoolOp):
        new_op: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{_sign(node.op)} to {_sign(new_op)}", lambda: setattr(node, "op", new_op)
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _COMPUTED:
        other = _COMPUTED[type(node.op)]()
        yield f"{_sign(node.op)} to {_sign(other)}", lambda: setattr(node, "op", other)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Name | ast.Attribute):
        key = "id" if isinstance(node, ast.Name) else "attr"
        name = _SWAPPED.get(getattr(node, key))
        if name is not None:
            yield f"{getattr(node, key)} to {name}", lambda: setattr(node, key, name)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return None", lambda: setattr(node, "value", ast.Constant(None))


def _constants(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} to {not value}", lambda: setattr(node, "value", not value)
    elif isinstance(value, int | float):
        for new in (value + 1, value - 1):
            yield f"{value} to {new}", lambda new=new: setattr(node, "value", new)  # type: ignore[misc]


def children_changes(node: ast.AST) -> Iterator[tuple[ast.AST, Change]]:
    """Mutations that replace a child of a node: conditions, `not` and minus signs, and statements dropped."""
    for name, value in ast.iter_fields(node):
        if name in ("test", "ifs"):
            for at, test in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(node, ast.Assert) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
                    continue
                negated = ast.UnaryOp(ast.Not(), test)
                setter = _setter(value, at, negated) if isinstance(value, list) else _field(node, name, negated)
                yield test, ("condition negated", setter)
        for at, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not | ast.USub | ast.Invert):
                inner = child.operand
                setter = _setter(value, at, inner) if isinstance(value, list) else _field(node, name, inner)
                yield child, (f"{_sign(child.op)} removed", setter)
            if isinstance(child, ast.stmt) and isinstance(value, list) and _droppable(child):
                yield child, ("statement dropped", _setter(value, at, ast.Pass()))


def _droppable(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return not isinstance(node.targets[0], ast.Name)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue | ast.Delete)


def _setter(items: list[ast.AST], at: int, new: ast.AST) -> Callable[[], None]:
    return lambda: items.__setitem__(at, new)


def _field(node: ast.AST, name: str, new: ast.AST) -> Callable[[], None]:
    return lambda: setattr(node, name, new)


def _sign(op: ast.AST) -> str:
    """An operator as it is written."""
    if isinstance(op, ast.cmpop):
        text = ast.unparse(ast.Compare(ast.Name("a"), [op], [ast.Name("b")]))
    elif isinstance(op, ast.boolop):
        text = ast.unparse(ast.BoolOp(op, [ast.Name("a"), ast.Name("b")]))
    elif isinstance(op, ast.unaryop):
        return {"Not": "not", "USub": "minus", "Invert": "~"}[type(op).__name__]
    else:
        text = ast.unparse(ast.BinOp(ast.Name("a"), op, ast.Name("b")))
    return text[2:-2]


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def looked_at(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that do something: no annotations, decorators, assertions, or the entry of a script."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                entry = isinstance(child, ast.If) and "__name__" in ast.dump(child.test)
                if isinstance(child, ast.AST) and not isinstance(child, ast.Assert) and not entry:
                    todo.append(child)


@dataclass(frozen=True)
class Mutant:
    """One changed module."""

    line: int
    what: str
    was: str
    source: str


def mutants_of(source: str, count: int, rng: random.Random) -> list[Mutant]:
    """So many mutants of a module, drawn from all that there are, by line."""
    tree = ast.parse(source)
    lines = source.splitlines()
    numbers = list(range(sum(1 for _ in _every(tree))))
    rng.shuffle(numbers)
    found: list[Mutant] = []
    for number in numbers:
        if len(found) == count:
            break
        changed = copy.deepcopy(tree)
        line, (what, apply) = next(islice(_every(changed), number, None))
        apply()
        try:
            text = ast.unparse(ast.fix_missing_locations(changed))
            compile(text, "mutant", "exec")
        except (SyntaxError, ValueError):
            continue
        found.append(Mutant(line, what, lines[line - 1].strip(), text))
    return sorted(found, key=lambda one: (one.line, one.what))


def _every(tree: ast.AST) -> Iterator[tuple[int, Change]]:
    """Every mutation of a module, with its line."""
    line = 1
    for node in looked_at(tree):
        line = getattr(node, "lineno", line)
        for change in changes(node):
            yield line, change
        for child, change in children_changes(node):
            yield getattr(child, "lineno", line), change


# -- the tests


def play(copied: Path, tests: tuple[str, ...], timeout_s: float) -> tuple[bool, float]:
    """Whether tests pass in a copy of the tree, in a process of their own, and how long they took, in seconds."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        quiet = os.open(copied / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 3
        try:
            import pytest

            code = int(pytest.main(["-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(code)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() - began > timeout_s:
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what a test left behind, or what hangs
    if not done:
        os.waitpid(pid, 0)
        return False, time.monotonic() - began
    return os.waitstatus_to_exitcode(status) == 0, time.monotonic() - began


def make_copy(folder: Path) -> None:
    """The tree as it is on the disk, and this process in it."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    os.chdir(folder)
    first = [str(folder), str(folder / "analysis")]
    sys.path[:0] = first
    os.environ["PYTHONPATH"] = os.pathsep.join(first)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
        importlib.import_module(name)


def measure(module: str, folder: Path, count: int, seed: int) -> tuple[int, list[Mutant]]:
    """How many mutants of a module were made, and which survived. Raises SystemExit when it has failing tests."""
    path, tests = folder / module, CORE[module]
    source = path.read_text()
    passed, took = play(folder, tests, 600)
    if not passed:
        print((folder / "output.txt").read_text()[-3000:], file=sys.stderr)
        raise SystemExit(f"the tests of {module} fail before anything is changed")
    chosen = mutants_of(source, count, random.Random(f"{seed} {module}"))
    survived = []
    for mutant in chosen:
        path.write_text(mutant.source)
        try:
            if play(folder, tests, 20 + 5 * took)[0]:
                survived.append(mutant)
                print(f"    {module}:{mutant.line}: {mutant.what}: {mutant.was}", flush=True)
        finally:
            path.write_text(source)
    return len(chosen), survived


def main() -> int:
    """Entry."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "modules", nargs="*", default=["all"], metavar="MODULE", help="such as verdict/judge, or all"
    )
    parser.add_argument("--count", type=int, default=14, help="mutants a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=85.0, help="percent that must be killed in all")
    asked = parser.parse_args()
    chosen = [name for name in CORE if any(one == "all" or one in name for one in asked.modules)]
    if not chosen:
        parser.error(f"no such module; there are: {', '.join(CORE)}")
    made_in_all = killed_in_all = 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="faultload-mutants-") as name:
        folder = Path(name).resolve()
        make_copy(folder)
        for module in chosen:
            made, survived = measure(module, folder, asked.count, asked.seed)
            made_in_all, killed_in_all = made_in_all + made, killed_in_all + made - len(survived)
            rows.append(f"| `{module}` | {made} | {made - len(survived)} |")
            print(rows[-1], flush=True)
        os.chdir(ROOT)
    share = 100 * killed_in_all / made_in_all
    print("\n| module | mutants | killed |\n|---|---:|---:|")
    print("\n".join([*rows, f"| all, seed {asked.seed} | {made_in_all} | {killed_in_all} ({share:.0f} %) |"]))
    return 0 if share >= asked.least else 1


if __name__ == "__main__":
    sys.exit(main())
