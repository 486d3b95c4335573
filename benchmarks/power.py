"""How often a true statement is shown: the share of runs that PASS at a limit of 2 and 4 times the truth.

`python benchmarks/power.py` plays quantiles at n 2,000 and 20,000, compares them with what was played before upper
bounds counted clusters (power_before.json), and exits with 1 where more was lost than is allowed. `--store FILE
--commit HASH` keeps what it plays, to compare a later change with. `--plan` plays what `faultload plan` tells, and
writes the table into the package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cells import QUANTILES, Bounds, Run, bounds_of, quantile_judge
from page import keep
from traffic import INDEPENDENT, Traffic, mm1

from faultload_analysis.evidence.of_run import share_of_run
from faultload_analysis.latency.of_run import mean_of_run, quantile_of_run
from faultload_analysis.latency.quantiles import mean_estimate
from faultload_analysis.slo.availability import proportion_estimate

HERE = Path(__file__).parent
BEFORE = HERE / "power_before.json"
OF_PLAN = HERE.parent / "analysis" / "faultload_analysis" / "power.json"

BAD_SHARES = (0.1, 0.05, 0.01, 0.001)
TRAFFIC = {"independent": INDEPENDENT, "M/M/1 at 0.5": mm1(0.5), "M/M/1 at 0.8": mm1(0.8)}
UTILISATION = {"independent": 0.0, "M/M/1 at 0.5": 0.5, "M/M/1 at 0.8": 0.8}
COMPARED = (2_000, 20_000)
LENGTHS = (60, 200, 600, 2_000, 6_000, 20_000, 60_000)
LONG, SHARE_OF_RUNS = 60_000, 0.5
TIMES = (2.0, 4.0)
LOSS, LOSS_UP_TO, LOSS_AT = 0.05, 0.99, 20_000

Statement = Callable[[Run], bool]
Shares = dict[str, dict[str, list[float]]]
"""By statistic and traffic: the share of runs that pass, one for each number of requests."""


def _under(bounds: Bounds, limit: float) -> bool:
    high = bounds[1]
    return high is not None and high <= limit


def quantiles_of_system(traffic: Traffic, times: float) -> dict[str, Statement]:
    """P50 to P99.9 at a limit of `times` the truth."""

    def at(p: float) -> Statement:
        limit, judge = times * traffic.quantile(p), quantile_judge(p)
        return lambda run: _under(judge(run, limit), limit)

    return {f"p{p * 100:g}": at(p) for p in QUANTILES}


def of_system(traffic: Traffic, utilisation: float) -> dict[str, Statement]:
    """What `plan` tells of statements of the system: quantiles, the mean, shares; the truth is half the limit."""

    def share(allowed: float) -> Statement:
        over = traffic.quantile(1.0 - allowed / 2.0)
        return lambda run: _under(bounds_of(proportion_estimate(run.population, over=over).complement()), allowed)

    mean = 2.0 / (1.0 - utilisation)
    return {
        **quantiles_of_system(traffic, 2.0),
        "mean": lambda run: _under(bounds_of(mean_estimate(run.population)), mean),
        **{f"bad {allowed:g}": share(allowed) for allowed in BAD_SHARES},
    }


def of_run(traffic: Traffic, utilisation: float) -> dict[str, Statement]:
    """The same of statements of the run."""

    def at(p: float) -> Statement:
        limit = 2.0 * traffic.quantile(p)
        return lambda run: _under(bounds_of(quantile_of_run(run.population, p)), limit)

    def share(allowed: float) -> Statement:
        over = traffic.quantile(1.0 - allowed / 2.0)
        return lambda run: _under(
            bounds_of(share_of_run(run.population.count_above(over), run.population.n)), allowed
        )

    mean = 2.0 / (1.0 - utilisation)
    return {
        **{f"p{p * 100:g}": at(p) for p in QUANTILES},
        "mean": lambda run: _under(bounds_of(mean_of_run(run.population)), mean),
        **{f"bad {allowed:g}": share(allowed) for allowed in BAD_SHARES},
    }


def played(
    statements: Callable[[str], dict[str, Statement]], lengths: Iterable[int], runs: int, seed: int
) -> Shares:
    """Play `runs` runs of each traffic and number of requests, half of them from 60,000 requests on."""
    shares: Shares = {}
    for place, (name, traffic) in enumerate(TRAFFIC.items()):
        wanted = statements(name)
        for n in lengths:
            some = runs if n < LONG else max(1, int(runs * SHARE_OF_RUNS))
            rng, passed = np.random.default_rng([seed, n, place]), dict.fromkeys(wanted, 0)
            for _ in range(some):
                run = Run(traffic.draw(rng, n), np.zeros(0))
                for statistic, passes in wanted.items():
                    passed[statistic] += passes(run)
            for statistic, count in passed.items():
                shares.setdefault(statistic, {}).setdefault(name, []).append(round(count / some, 3))
    return shares


def compared(runs: int, seed: int) -> dict[str, Shares]:
    """The shares at 2 and 4 times the truth, by the times."""

    def statements(name: str) -> dict[str, Statement]:
        at = {f"{times:g}": quantiles_of_system(TRAFFIC[name], times) for times in TIMES}
        return {f"{times} {p}": passes for times, by_p in at.items() for p, passes in by_p.items()}

    shares = played(statements, COMPARED, runs, seed)
    of_times: dict[str, Shares] = {}
    for key, by_traffic in shares.items():
        times, _, statistic = key.partition(" ")
        of_times.setdefault(times, {})[statistic] = by_traffic
    return of_times


def losses(before: dict[str, Shares], now: dict[str, Shares]) -> tuple[list[str], list[str]]:
    """Lines of a Markdown table of both, and what lost more than is allowed."""
    lines = ["| statistic | n | requests | " + " | ".join(f"{times} x before, now" for times in before) + " |"]
    lines.append("|" + "---|" * (3 + len(before)))
    missed = []
    for p in QUANTILES:
        statistic = f"p{p * 100:g}"
        for at, n in enumerate(COMPARED):
            for name in TRAFFIC:
                pairs = {t: (before[t][statistic][name][at], now[t][statistic][name][at]) for t in before}
                shown = " | ".join(f"{old:.2f}, {new:.2f}" for old, new in pairs.values())
                lines.append(f"| P{p * 100:g} | {n} | {name} | {shown} |")
                if n == LOSS_AT and p <= LOSS_UP_TO:
                    lost = {t: round(old - new, 3) for t, (old, new) in pairs.items() if old - new > LOSS + 1e-9}
                    missed += [f"{statistic}, n {n}, {name}, {t} x: {share} lost" for t, share in lost.items()]
    return lines, missed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--store", type=Path, help="keep what is played in this file instead of comparing it")
    parser.add_argument("--commit", help="with --store: of which commit the analysis package is")
    parser.add_argument("--plan", action="store_true", help="play and write the table that plan reads")
    parser.add_argument("--write", type=Path, help="keep the comparison between its marks in this file")
    options = parser.parse_args(argv)
    head: dict[str, Any] = {"runs": options.runs, "seed": options.seed}
    if options.plan:
        system = played(
            lambda name: of_system(TRAFFIC[name], UTILISATION[name]), LENGTHS, options.runs, options.seed
        )
        run = played(lambda name: of_run(TRAFFIC[name], UTILISATION[name]), LENGTHS, options.runs, options.seed)
        head |= {"date": time.strftime("%Y-%m-%d"), "requests": LENGTHS, "system": system, "run": run}
        write(OF_PLAN, head)
        return 0
    if options.store is not None:
        write(options.store, {"commit": options.commit, **head, "shares": compared(options.runs, options.seed)})
        return 0
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    now = compared(before["runs"], before["seed"])
    lines, missed = losses(before["shares"], now)
    if options.write is not None:
        keep(options.write, "the power", [_said(before), "", *lines])
    print("\n".join(lines), *(f"MISSED: {what}" for what in missed), sep="\n")
    return 1 if missed else 0


def _said(before: dict[str, Any]) -> str:
    return f"{before['runs']} runs each, seed {before['seed']}; before: commit {before['commit']}."


def write(path: Path, table: dict[str, Any]) -> None:
    """Write JSON, the shares of one traffic on one line."""
    text = json.dumps(table, indent=1)
    path.write_text(_joined(text) + "\n", encoding="utf-8")


def _joined(text: str) -> str:
    """Lists of numbers on one line."""
    lines: list[str] = []
    within = False
    for line in text.splitlines():
        if within:
            within = not line.strip().startswith("]")
            lines[-1] += line.strip() + (" " if within and line.endswith(",") else "")
        else:
            lines.append(line)
            within = line.endswith("[")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
