"""How often the bounds are wrong, and how often they decide: simulated runs whose truth is known.

`python benchmarks/coverage.py` prints the tables as Markdown and exits with 1 when a required limit is missed;
`--write docs/calibration.md` also keeps them there between its markers. `--kind collections --n 2000 --runs 200`
plays one cell of the kinds of traffic in kinds.py and prints it; `--kind all` plays the whole table (whole.py), and
with `--keep FILE` goes on where the last call stopped. `--keep FILE --write docs/calibration.md` writes that table.
`--metric teeth-23s --seconds 600 --runs 200` plays slopes of the kinds of metric in series.py in the same way.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy
from cells import STATISTICS
from kinds import KINDS
from page import keep
from series import HEAD as SLOPES
from series import LENGTHS_S, SERIES, tally
from traffic import INDEPENDENT, OTHERS, QUEUES, Traffic
from whole import LENGTHS, Kept, broken, parts, play, power_text, text

from faultload_analysis.evidence.dependence import largest_passing
from faultload_analysis.evidence.distributions import binomial_sf
from faultload_analysis.evidence.verdict import Estimate, Verdict, decide
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate, upper_rank
from faultload_analysis.slo.availability import largest_unseen_outage, proportion_estimate

WRONG_AT_MOST = 0.05
POWER = {  # utilisation: (times the truth, verdict, in at least this share of the runs)
    "independent": ((1.5, Verdict.PASS, 0.98), (0.67, Verdict.FAIL, 0.97)),
    "M/M/1 0.5": ((1.5, Verdict.PASS, 0.98), (0.67, Verdict.FAIL, 0.97)),
    "M/M/1 0.8": ((2.0, Verdict.PASS, 0.38), (0.67, Verdict.FAIL, 0.97)),
    "M/M/1 0.9": ((0.5, Verdict.FAIL, 0.97),),
}
TIMES_THE_TRUTH = (10.0, 4.0, 2.0, 1.5, 0.67, 0.5)
RATE_PER_S = 100


class Report:
    """Lines of Markdown, and the limits that were missed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.missed: list[str] = []

    def text(self, *lines: str) -> None:
        self.lines += [*lines, ""]
        print("\n".join(lines), "\n", flush=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.text(
            "| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(r) + " |" for r in rows)
        )

    def require(self, fine: bool, what: str) -> None:
        if not fine:
            self.missed.append(what)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


class Outcomes:
    """What became of one bound and its opposite over many runs."""

    def __init__(self, truth: float) -> None:
        self.truth = truth
        self.runs = self.high_wrong = self.low_wrong = self.high_open = 0
        self.widths: list[float] = []
        self.worth: list[float] = []

    def add(self, found: Estimate) -> None:
        self.runs += 1
        self.high_wrong += found.high is not None and found.high < self.truth
        self.low_wrong += found.low is not None and found.low > self.truth
        self.high_open += found.high is None
        low, high = -math.inf if found.low is None else found.low, math.inf if found.high is None else found.high
        self.widths.append((high - low) / self.truth)
        self.worth.append(found.n_eff or 0.0)

    def share(self, count: int) -> str:
        return f"{count / self.runs:.3f}"

    @property
    def wrong(self) -> tuple[str, str]:
        return self.share(self.high_wrong), self.share(self.low_wrong)

    @property
    def width(self) -> str:
        width = float(np.median(self.widths))
        return "open" if math.isinf(width) else f"{width:.2f}"


def verdict(found: Estimate, target: float, operator: str = "<=") -> Verdict:
    return decide(operator, target, found, fmt="{:g}".format).verdict


def p99_at_the_truth(report: Report, runs: int, seed: int) -> None:
    report.text("### P99", "", f"{runs} runs each. The target is the truth, then a multiple of it.")
    rows, powers = [], []
    for n in (20_000, 5_000, 2_000):
        for traffic in QUEUES:
            truth, rng = traffic.quantile(0.99), np.random.default_rng([seed, n])
            seen, plain, rank = Outcomes(truth), 0, upper_rank(n, 0.99)
            verdicts = {times: [0, 0] for times in TIMES_THE_TRUTH} if n == 20_000 else {}
            for _ in range(runs):
                latencies = Population.of(traffic.draw(rng, n))
                seen.add(quantile_estimate(latencies, 0.99, target=truth))
                plain += rank is not None and latencies.order_statistic(rank) < truth
                for times, counts in verdicts.items():
                    said = verdict(quantile_estimate(latencies, 0.99, target=times * truth), times * truth)
                    counts[0] += said is Verdict.PASS
                    counts[1] += said is Verdict.FAIL
            wrong_pass, wrong_fail = seen.wrong
            worth = f"{np.median(seen.worth):.0f}"
            ends = (seen.share(seen.high_open), seen.width, worth, seen.share(plain))
            rows.append((f"{n}", traffic.name, wrong_pass, wrong_fail, *ends))
            report.require(float(wrong_pass) <= WRONG_AT_MOST, f"P99 PASS at the truth, n {n}, {traffic.name}")
            if n == 20_000:
                report.require(float(wrong_fail) <= WRONG_AT_MOST, f"P99 FAIL at the truth, {traffic.name}")
                powers.append((traffic.name, *_power(report, traffic, verdicts, runs)))
    wrong = ("PASS at the truth", "FAIL at the truth")
    head = ("n", "requests", *wrong, "no upper bound", "width / truth", "n_eff", "PASS if taken as independent")
    report.table(head, rows)
    report.text("n = 20000: how often it decides.")
    pass_fail = [f"{'PASS' if times > 1 else 'FAIL'} at {times:g} x" for times in TIMES_THE_TRUTH]
    report.table(("requests", *pass_fail), powers)


def _power(report: Report, traffic: Traffic, verdicts: dict[float, list[int]], runs: int) -> list[str]:
    for times, wanted, least in POWER[traffic.name]:
        share = verdicts[times][wanted is Verdict.FAIL] / runs
        report.require(share >= least, f"P99 {wanted} at {times:g} x, {traffic.name}: {share:.3f}")
    return [f"{counts[times < 1] / runs:.3f}" for times, counts in verdicts.items()]


def other_quantiles(report: Report, runs: int, seed: int) -> None:
    report.text("### Other quantiles, and short runs", "", f"{runs} runs each: PASS and FAIL at the truth.")
    quantiles = (0.5, 0.9, 0.95, 0.99, 0.999)
    rows = []
    for n in (20_000, 5_000, 1_000, 500, 200, 60):
        for traffic in QUEUES:
            rng = np.random.default_rng([seed, n, 1])
            seen = [Outcomes(traffic.quantile(p)) for p in quantiles]
            for _ in range(runs):
                latencies = Population.of(traffic.draw(rng, n))
                for p, outcome in zip(quantiles, seen, strict=True):
                    outcome.add(quantile_estimate(latencies, p, target=outcome.truth))
            rows.append((f"{n}", traffic.name, *(" / ".join(outcome.wrong) for outcome in seen)))
    report.table(("n", "requests", *(f"p{p * 100:g}" for p in quantiles)), rows)


def other_traffic(report: Report, runs: int, seed: int) -> None:
    report.text("### Other traffic", "", f"{runs} runs each: PASS and FAIL at the truth, and no upper bound.")
    rows = []
    for traffic in OTHERS:
        for n in (2_000, 20_000, 200_000):
            some = runs if n < 200_000 else max(20, runs // 2)
            rng = np.random.default_rng([seed, n, 2])
            seen = [Outcomes(traffic.quantile(p)) for p in (0.5, 0.95, 0.99)]
            for _ in range(some):
                latencies = Population.of(traffic.draw(rng, n))
                for p, outcome in zip((0.5, 0.95, 0.99), seen, strict=True):
                    outcome.add(quantile_estimate(latencies, p, target=outcome.truth))
            cells = (" / ".join((*outcome.wrong, outcome.share(outcome.high_open))) for outcome in seen)
            rows.append((traffic.name, f"{n}", *cells))
    report.table(("requests", "n", "p50", "p95", "p99"), rows)


def means(report: Report, runs: int, seed: int) -> None:
    report.text("### Mean", "", f"{runs} runs each: PASS and FAIL at the truth, width / truth.")
    rows = []
    for n in (20_000, 2_000, 500, 60):
        cells = []
        for traffic in QUEUES:
            rng = np.random.default_rng([seed, n, 3])
            seen = Outcomes(1.0 if traffic is INDEPENDENT else 1.0 / (1.0 - float(traffic.name.split()[-1])))
            for _ in range(runs):
                seen.add(mean_estimate(traffic.draw(rng, n)))
            cells.append(" / ".join((*seen.wrong, seen.width)))
        rows.append((f"{n}", *cells))
    report.table(("n", *(traffic.name for traffic in QUEUES)), rows)


def availability(report: Report, runs: int, seed: int) -> None:
    report.text(
        "### Availability",
        "",
        f"{runs} runs each. Independent failures, the target is the truth: statements of the system; and the exact"
        " chance that a statement of the run passes.",
    )
    rows = []
    for target in (0.999, 0.99):
        for n in (2_000, 5_000, 20_000):
            rng = np.random.default_rng([seed, n, 4])
            counts = {Verdict.PASS: 0, Verdict.FAIL: 0}
            for _ in range(runs):
                said = verdict(proportion_estimate(rng.random(n) < 1.0 - target, slo=target), target, ">=")
                if said in counts:
                    counts[said] += 1
            shares = {str(said): count / runs for said, count in counts.items()}
            most = largest_passing(n, 1.0 - target)
            shares["PASS of the run"] = 0.0 if most is None else 1.0 - binomial_sf(most, n, 1.0 - target)
            for what, share in shares.items():
                report.require(share <= WRONG_AT_MOST, f"availability {what} at {target}, n {n}")
            rows.append((f"{target:.1%}", f"{n}", *(f"{share:.3f}" for share in shares.values())))
    report.table(("target and truth", "n", "PASS", "FAIL", "PASS of the run"), rows)
    _bursts(report, runs, seed)


def _bursts(report: Report, runs: int, seed: int) -> None:
    """Outages of 2 s at random, 0.1 % of the time: what a run cannot see it cannot judge."""
    report.text(
        f"Failures in outages of 2 s, 99.9 % available in the long run, {RATE_PER_S} requests a second, target"
        " 99.9 %. No method can hold 5 %: most short runs hold no outage at all. A statement of the run does not"
        " try.",
    )
    rows = []
    for lasted_s in (60, 600, 3600, 36_000):
        rng, passed, of_run, clean = np.random.default_rng([seed, lasted_s, 5]), 0, 0, 0
        some = runs if lasted_s < 36_000 else max(20, runs // 10)
        for _ in range(some):
            bad = outage_failures(rng, lasted_s)
            clean += not bad.any()
            passed += verdict(proportion_estimate(bad, slo=0.999), 0.999, ">=") is Verdict.PASS
            of_run += verdict(proportion_estimate(bad, slo=0.999, of_run=True), 0.999, ">=") is Verdict.PASS
        rows.append((f"{lasted_s}", *(f"{count / some:.3f}" for count in (clean, passed, of_run))))
    report.table(("seconds", "without an outage", "PASS", "PASS of the run"), rows)
    unseen = largest_unseen_outage(60 * RATE_PER_S, 60.0, 0.999)
    report.text(f'So the verdict on a clean minute says: "{unseen.sentence}".')


def outage_failures(rng: np.random.Generator, lasted_s: float) -> npt.NDArray[np.bool_]:
    bad = np.zeros(int(lasted_s * RATE_PER_S), dtype=np.bool_)
    for start_s in rng.uniform(-2.0, lasted_s, rng.poisson((lasted_s + 2.0) * 0.001 / 2.0)):
        bad[max(0, int(start_s * RATE_PER_S)) : max(0, int((start_s + 2.0) * RATE_PER_S))] = True
    return bad


def kinds(options: argparse.Namespace) -> int:
    """Play and print cells of the whole table, or write what is kept of it; 1 where one is above its promise."""
    names = list(KINDS) if options.kind in (None, "all") else [options.kind]
    wanted = list(parts(names, options.n, options.runs))
    kept = (
        Kept.read(options.keep)
        if options.kind is None
        else play(wanted, options.seed, options.keep, options.statistics)
    )
    lines, missed = list(text(kept, wanted)), broken(kept)
    print(*lines, *(f"{kind}, n {n}. {power_text(cell)}" for (kind, n), cell in kept.cells().items()), sep="\n")
    print(*(f"ABOVE: {what}" for what in missed), sep="\n")
    if options.write is not None:
        keep(options.write, "the kinds of traffic", lines)
    return 1 if missed else 0


def slopes(names: Iterable[str], lengths_s: Sequence[int], runs: int, seed: int) -> None:
    """Print a row for each kind of metric and length."""
    print(_row(SLOPES), "|" + "---|" * len(SLOPES), sep="\n")
    for name in names:
        for seconds in lengths_s:
            print(_row((name, f"{seconds}", *tally(SERIES[name], seconds, runs, seed).shares)), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000, help="runs for each required limit (the others: a fifth)")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="200 runs: a look, whose noise may miss a limit")
    parser.add_argument("--write", type=Path, help="keep the tables between the markers of this file")
    parser.add_argument("--kind", choices=[*KINDS, "all"], help="one kind of traffic instead of the tables")
    parser.add_argument("--metric", choices=[*SERIES, "all"], help="slopes of one kind of metric instead")
    parser.add_argument("--seconds", type=int, nargs="+", default=LENGTHS_S, help="lengths, with --metric")
    parser.add_argument("--n", type=int, nargs="+", default=LENGTHS, help="requests a run, with --kind")
    parser.add_argument("--statistics", nargs="+", choices=STATISTICS, default=STATISTICS, help="with --kind")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the parts of the whole table in this file")
    options = parser.parse_args(argv)
    if options.kind is not None or options.keep is not None:
        return kinds(options)
    runs = 200 if options.quick else options.runs
    if options.metric is not None:
        slopes(SERIES if options.metric == "all" else [options.metric], options.seconds, runs, options.seed)
        return 0
    begun, report = time.monotonic(), Report()
    report.text(
        f"{runs} runs for each limit, seed {options.seed}, numpy {np.__version__}, scipy {scipy.__version__},"
        f" Python {platform.python_version()}."
    )
    p99_at_the_truth(report, runs, options.seed)
    availability(report, runs, options.seed)
    fewer = max(20, runs // 5)
    other_quantiles(report, fewer, options.seed)
    other_traffic(report, fewer, options.seed)
    means(report, fewer, options.seed)
    print(f"{time.monotonic() - begun:.0f} s", *(f"MISSED: {what}" for what in report.missed), sep="\n")
    if options.write is not None:
        keep(options.write, "the limits", report.lines[:-1])
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
