"""Every mistake in a file is told with file, line and key, with exit code 2, before anything is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_workspace import SmallWorkspace, line_of

from faultload.cli import main
from faultload.errors import ExitCode
from faultload.run.prepare import RunOptions, prepare


@dataclass(frozen=True)
class Bad:
    """One mistake: `old` becomes `new` in a file; the message names `named` at the line of `at`, `key`, `says`."""

    old: str
    new: str
    at: str
    key: str
    says: str
    file: str = "scenario"
    named: str = ""


BAD = {
    "unknown key": Bad("  timeout: 2s", "  timout: 2s", "timout", "load.timout", "did you mean 'timeout'?"),
    "unknown key at the top": Bad("abort:", "aborts:", "aborts:", "aborts", "did you mean 'abort'?"),
    "a name that is a path": Bad("name: shop\n", "name: ../../shop\n", "name:", "name", "is not allowed here"),
    "missing key": Bad("name: shop\n", "", "target:", "name", "missing"),
    "wrong unit": Bad("timeout: 2s", "timeout: 2/s", "timeout", "load.timeout", "'2/s' is not a duration"),
    "unknown unit": Bad("timeout: 2s", "timeout: 2sec", "timeout", "load.timeout", "unknown unit 'sec'"),
    "bare number for a duration": Bad(
        "timeout: 2s", "timeout: 2", "timeout", "load.timeout", "duration with a unit"
    ),
    "negative duration": Bad("timeout: 2s", "timeout: -2s", "timeout", "load.timeout", "'-2s' is negative"),
    "number of users for a rate": Bad("ramp: 20/s", "ramp: 20", "ramp", "load.rate[0].ramp", "20 is not a rate"),
    "negative rate": Bad("ramp: 20/s", "ramp: -20/s", "ramp", "load.rate[0].ramp", "'-20/s' is negative"),
    "zero rate": Bad("ramp: 20/s", "ramp: 0/s", "load:", "load", "never sends anything"),
    "both rate and users": Bad(
        "  timeout: 2s", "  users: [{step: 5, for: 9s}]", "load:", "load", "`rate` (open model) or `users`"
    ),
    "neither rate nor users": Bad(
        "  rate:\n    - {ramp: 20/s, over: 10s}\n    - {hold: 60s}\n", "", "load:", "load", "`rate` (open model)"
    ),
    "two kinds in one stage": Bad(
        "{hold: 60s}", "{hold: 60s, step: 3/s}", "hold: 60s", "load.rate[1]", "exactly one of ramp, hold"
    ),
    "ramp without its time": Bad(
        "{ramp: 20/s, over: 10s}", "{ramp: 20/s, for: 10s}", "ramp", "load.rate[0]", "ramp takes `over`"
    ),
    "typo in a measure": Bad(
        "mean(cache_hit) >= 0.9", "avalability >= 99%", "avalab", "objectives[1]", "did you mean 'availability'?"
    ),
    "typo in an operator": Bad(
        "ttr(freeze) <= 10s", "ttr(freeze) =< 10s", "=<", "objectives[2]", "wanted one of <= >= == < >"
    ),
    "unknown observation": Bad(
        "p99(latency)",
        "p99(latenzy)",
        "latenzy",
        "objectives[0]",
        "no journey observes 'latenzy' (did you mean 'latency'?)",
    ),
    "objective unit mismatch": Bad(
        "<= 500ms during",
        "<= 99% during",
        "99%",
        "objectives[0]",
        "compared with a time such as 500ms, not with '99%'",
    ),
    "share without a percent sign": Bad(
        "mean(cache_hit) >= 0.9", "availability >= 99.9", "99.9", "objectives[1]", "did you mean 99.9%?"
    ),
    "filter that would do nothing": Bad(
        "p99(latency)", "p99(latency, service=web)", "service=web", "objectives[0]", "takes no filter 'service'"
    ),
    "mtbf without a failure rate": Bad(
        "mean(cache_hit) >= 0.9", "mtbf >= 720h", "mtbf", "objectives[1]", "no fault has a failure_rate"
    ),
    "failure rate of nothing": Bad(
        "    experiment: experiments/pause_store.yaml",
        "    experiment: experiments/pause_store.yaml\n    failure_rate: 0/h",
        "failure_rate",
        "faults[0].failure_rate",
        "above 0",
    ),
    "slo where there is no capacity": Bad(
        "  - mean(cache_hit) >= 0.9",
        "  - {objective: mean(cache_hit) >= 0.9, slo: [error_rate <= 1%]}",
        "slo:",
        "objectives[1].slo",
        "only capacity does",
    ),
    "slo that is no objective": Bad(
        "  - mean(cache_hit) >= 0.9",
        "  - {objective: capacity >= 9/s, slo: [p99(latency) <= 9/s]}",
        "slo:",
        "objectives[1].slo[0]",
        "is compared with a time",
    ),
    "slo of something else": Bad(
        "  - mean(cache_hit) >= 0.9",
        "  - {objective: capacity >= 9/s, slo: [lost_writes == 0]}",
        "slo:",
        "objectives[1].slo[0]",
        "wanted latency, availability or error rate",
    ),
    "unknown journey in a filter": Bad(
        "p99(latency)",
        "p99(latency, journey=Bay)",
        "Bay",
        "objectives[0]",
        "no journey 'Bay' (did you mean 'Buy'?)",
    ),
    "unknown service in a filter": Bad(
        "mean(cache_hit) >= 0.9",
        "max(rss, service=db) <= 1GB",
        "=db",
        "objectives[1]",
        "the target has no service 'db'",
    ),
    "unknown phase": Bad(
        "during baseline", "during basline", "basline", "objectives[0]", "no such phase (did you mean 'baseline'?)"
    ),
    "during an unknown fault": Bad(
        "during baseline",
        "during fault:freze",
        "freze",
        "objectives[0]",
        "no fault 'freze' (did you mean 'freeze'?)",
    ),
    "recovery of an unknown fault": Bad(
        "ttr(freeze)", "ttr(freze)", "freze", "objectives[2]", "no fault 'freze' (did you mean 'freeze'?)"
    ),
    "lost writes without a ledger": Bad(
        "mean(cache_hit) >= 0.9", "lost_writes == 0", "lost_w", "objectives[1]", "no journey calls acknowledge()"
    ),
    "unknown profile of an objective": Bad(
        "- ttr(freeze) <= 10s",
        "- {objective: ttr(freeze) <= 10s, profiles: [gentel]}",
        "gentel",
        "objectives[2].profiles",
        "no profile 'gentel'",
    ),
    "no objective": Bad(
        "objectives:\n  - p99(latency) <= 500ms during baseline\n  - mean(cache_hit) >= 0.9\n"
        "  - ttr(freeze) <= 10s\n",
        "objectives: []\n",
        "objectives",
        "objectives",
        "at least 1 item",
    ),
    "abort without for": Bad(" for 20s]", "]", "abort", "abort[0]", "ends with `for` and a duration"),
    "abort on what is not live": Bad(
        "error_rate > 90%", "lost_writes > 0", "abort", "abort[0]", "an abort condition can use error_rate"
    ),
    "missing journey file": Bad(
        "journeys: journeys.py", "journeys: journey.py", "journeys:", "load.journeys", "no such file: journey.py"
    ),
    "mix names an unknown class": Bad(
        "Buy: 1", "Bay: 1", "Bay", "load.mix.Bay", "has no journey 'Bay' (did you mean 'Buy'?)"
    ),
    "mix with a weight of zero": Bad("Buy: 1", "Buy: 0", "Buy: 0", "load.mix.Buy", "greater than 0"),
    "journey file with a syntax error": Bad(
        "class Buy(Journey):", "class Buy(Journey)", "class Buy", "", "syntax error", file="journeys"
    ),
    "two faults of one name": Bad("name: slow", "name: freeze", "- name: freeze", "faults[1].name", "two faults"),
    "fault name with a slash": Bad("name: slow", "name: a/b", "a/b", "faults[1].name", "'a/b' is not allowed here"),
    "fault beyond the end": Bad(
        "at: 45s", "at: 90s", "at: 90s", "faults[1].at", "starts at 90 s, the load ends at 70 s"
    ),
    "fault in the warm-up": Bad("at: 20s", "at: 12s", "at: 12s", "faults[0].at", "needs 5 s of baseline"),
    "no room for the ttr bound": Bad(
        "ttr(freeze) <= 10s", "ttr(freeze) <= 21s", "at: 20s", "faults[0].at", "but the next fault comes after 25 s"
    ),
    "no room for the hold": Bad(
        "at: 45s", "at: 61s", "at: 61s", "faults[1].at", "but the end of the load comes after 9 s"
    ),
    "missing experiment": Bad(
        "pause_store.yaml",
        "stop_store.yaml",
        "stop_store",
        "faults[0].experiment",
        "no such file: experiments/stop_store",
    ),
    "with a key that the experiment lacks": Bad(
        "with: {duration_s: 5}", "with: {duration: 5}", "with:", "faults[0].with.duration", "has no 'duration'"
    ),
    "with a duration that is none": Bad(
        "with: {duration_s: 5}", "with: {duration_s: 5s}", "with:", "faults[0].with.duration_s", "number of seconds"
    ),
    "unknown service": Bad(
        "service: store",
        "service: stor",
        "pause_store.yaml",
        "faults[0].experiment",
        "names the service 'stor', which the target does not have (did you mean 'store'?)",
        file="pause",
        named="scenario",
    ),
    "unknown link": Bad(
        'link: "web -> store"',
        'link: "store -> web"',
        "slow_link.yaml",
        "faults[1].experiment",
        "names the link 'store -> web', which the target does not have",
        file="slow",
        named="scenario",
    ),
    "experiment without always": Bad(
        "strategy: always", "strategy: default", "runtime", "runtime", "rollbacks must always run", file="pause"
    ),
    "experiment with an unknown fault": Bad(
        "func: pause", "func: pauze", "pauze", "method[0].provider.func", "unknown fault 'pauze'", file="pause"
    ),
    "experiment with an unknown argument": Bad(
        "{service: store}",
        "{service: store, cuont: 1}",
        "cuont",
        "method[0].provider.arguments",
        "pause takes no 'cuont'",
        file="pause",
    ),
    "experiment with a wrong value": Bad(
        "delay_ms: 80",
        "delay_ms: fast",
        "fast",
        "method[0].provider.arguments",
        "delay_ms must be a number",
        file="slow",
    ),
    "experiment that lacks an argument": Bad(
        "{service: store}",
        "{}",
        "arguments: {}",
        "method[0].provider.arguments",
        "pause needs 'service'",
        file="pause",
    ),
    "experiment that does not hold": Bad(
        "func: hold", "func: holt", "holt", "method[1].provider.func", "unknown fault 'holt'", file="pause"
    ),
    "experiment that undoes something else": Bad(
        "{fault: pause}", "{fault: freeze}", "rollbacks:", "rollbacks", "nothing undoes 'pause'", file="pause"
    ),
    "experiment without a duration": Bad(
        "  duration_s: 5\n",
        "",
        "configuration:",
        "configuration.duration_s",
        "number of seconds above 0",
        file="slow",
    ),
    "experiment that is a list": Bad(
        "title: pause", "- title: pause", "description", "", "not valid YAML", file="pause"
    ),
    "unknown key in the target": Bad(
        "store: {port: 9000}",
        "store: {prot: 9000}",
        "prot",
        "services.store.prot",
        "did you mean 'port'?",
        file="target",
    ),
    "local link without a proxy": Bad(
        '{proxy: "http://127.0.0.1:9100"}', "{}", "->", "links.web -> store", "needs a link proxy", file="target"
    ),
    "link of an unknown service": Bad(
        '"web -> store"', '"web -> db"', "web -> db", "links.web -> db", "no service 'db'", file="target"
    ),
    "missing target file": Bad(
        "target: target.yaml", "target: goal.yaml", "goal", "target", "no such file: goal.yaml"
    ),
    "platform that cannot do it": Bad(
        "target: target.yaml",
        "target: http://127.0.0.1:1",
        "pause_store",
        "faults[0].experiment",
        "platform 'external' cannot do 'pause'",
    ),
    "unknown reference system": Bad(
        "target: target.yaml",
        "target: {reference: memroy}",
        "memroy",
        "target.reference",
        "no reference system 'memroy'",
    ),
    "two targets": Bad(
        "target: target.yaml", "target: {url: 'http://a', file: b}", "target", "target", "exactly one of reference"
    ),
    "unset environment variable": Bad(
        "timeout: 2s",
        "timeout: ${NOT_SET_ANYWHERE}",
        "timeout",
        "load.timeout",
        "the environment has no NOT_SET_ANYWHERE",
    ),
    "secret with a default": Bad(
        "name: shop", "name: '${secret:TOKEN:-shop}'", "TOKEN", "name", "a secret cannot have a default"
    ),
    "duplicate key": Bad(
        "  timeout: 2s", "  timeout: 2s\n  timeout: 3s", "3s", "load.timeout", "this key appears twice"
    ),
    "YAML syntax error": Bad("mix: {Visit: 3,", "mix: {Visit: 3", "Visit", "", "not valid YAML"),
    "a tab": Bad("  timeout: 2s", "\ttimeout: 2s", "timeout", "", "not valid YAML"),
    "an alias that contains itself": Bad(
        "mix: {Visit: 3, Buy: 1}", "mix: &mix {Visit: *mix}", "&mix", "load.mix.Visit", "contains itself"
    ),
    "wrong type": Bad("mix: {Visit: 3, Buy: 1}", "mix: [Visit, Buy]", "mix", "load.mix", "valid dictionary"),
    "profile with a factor of zero": Bad(
        "gentle: {rate: 0.5}", "gentle: {rate: 0}", "gentle", "profiles.gentle.rate", "greater than 0"
    ),
}


def alert(key: str, says: str, **changed: str) -> Bad:
    """A mistake in an alert rule."""
    rule = {"name": "Hot", "objective": "availability >= 99.9%", "long": "1m", "short": "5s", "burn_rate": "14.4"}
    rule |= {name.strip("_"): text for name, text in changed.items()}
    text = ", ".join(f"{name}: {value}" for name, value in rule.items() if value)
    return Bad("abort:", f"alerts:\n  - {{{text}}}\nabort:", "Hot", f"alerts[0]{key}", says)


BAD |= {
    "alert without a window": alert(".long", "this key is missing", long=""),
    "alert with a typo in a key": alert(".sort", "did you mean 'short'?", sort="5s"),
    "alert with two thresholds": alert("", "give `burn_rate`, such as 14.4, or `threshold`", threshold="5%"),
    "alert without a threshold": alert("", "give `burn_rate`, such as 14.4, or `threshold`", burn_rate=""),
    "alert that can never fire": alert(".burn_rate", "wanted a burn rate above 0 and below 1000", burn_rate="1000"),
    "alert that would always fire": alert(
        ".threshold", "wanted a threshold above 0 and below 100%", burn_rate="", threshold="0%"
    ),
    "alert with windows in the wrong order": alert(
        ".short", "the short window must not be longer than the long one (60s)", short="2m"
    ),
    "alert with a window of no second": alert(".short", "must be at least 1s long", short="10ms"),
    "alert on no objective": alert(".objective", "did you mean 'availability'?", objective="avalability >= 9%"),
    "alert on what is no share of requests": alert(".objective", "an alert watches", objective="mttr <= 9s"),
    "alert on a phase": alert(
        ".objective", "leave out `during` and `of`", objective="availability >= 99.9% during baseline"
    ),
    "alert without a budget": alert(".objective", "leaves no budget", objective="availability >= 100%"),
    "alert on an unknown journey": alert(
        ".objective", "no journey 'Bay' (did you mean 'Buy'?)", objective='"availability(journey=Bay) >= 99.9%"'
    ),
    "two alerts of one name": Bad(
        "abort:",
        "alerts:\n"
        "  - {name: Hot, objective: availability >= 99%, long: 1m, burn_rate: 9}\n"
        "  - {name: Hot, objective: availability >= 99.9%, long: 1m, burn_rate: 9}\nabort:",
        "99.9%",
        "alerts[1].name",
        "two alerts have the name 'Hot'",
    ),
    "ttd of an unknown alert": Bad(
        "mean(cache_hit) >= 0.9",
        "ttd(freeze, alert=Hot) <= 9s",
        "alert=Hot",
        "objectives[1]",
        "there is no alert 'Hot' (declare it in `alerts:`)",
    ),
    "ttr of an alert": Bad(
        "ttr(freeze) <= 10s",
        "ttr(freeze, alert=Hot) <= 10s",
        "alert=Hot",
        "objectives[2]",
        "takes no filter 'alert'",
    ),
    "a warm-up that is not automatic": Bad("abort:", "warmup: 30s\nabort:", "warmup", "warmup", "should be 'auto'"),
}


def spoil(workspace: SmallWorkspace, bad: Bad) -> str:
    """Make the mistake; returns where the message must place it: FILE:LINE: KEY."""
    workspace.replace(getattr(workspace, bad.file), bad.old, bad.new)
    named: Path = getattr(workspace, bad.named or bad.file)
    text = named.read_text().splitlines()
    lines = [number for number, line in enumerate(text, start=1) if bad.at in line]
    where = f"{named}:{lines[-1] if bad.key == 'faults[1].name' else lines[0]}: "
    return f"{where}{bad.key}: " if bad.key else where


@pytest.fixture
def command(workspace: SmallWorkspace, state: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorkspace:
    """`faultload run shop.yaml` in this process, in which nothing can be started."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"started {args}")

    monkeypatch.chdir(workspace.folder)
    monkeypatch.setattr(sys, "argv", ["faultload", "run", str(workspace.scenario)])
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(os, "fork", refuse)
    return workspace


def nothing_was_started(workspace: SmallWorkspace, state: Path) -> bool:
    """No run directory, nothing in the state folder."""
    return not workspace.runs.exists() and not state.exists()


def test_the_workspace_is_in_order(workspace: SmallWorkspace) -> None:
    prepared = prepare(workspace.scenario, RunOptions())
    assert prepared.journeys == workspace.journeys
    assert [experiment.word.name for experiment in prepared.experiments.values()] == ["pause", "latency"]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_mistake_is_told_with_file_line_and_key(
    command: SmallWorkspace, state: Path, bad: Bad, capsys: pytest.CaptureFixture[str]
) -> None:
    where = spoil(command, bad)
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr().err
    assert left.value.code == ExitCode.USAGE, told
    assert any(line.startswith(where) and bad.says in line for line in told.splitlines()), (
        f"{where} not in:\n{told}"
    )
    assert "Traceback" not in told
    assert nothing_was_started(command, state)


@pytest.mark.parametrize("kind", ["unknown key", "journey file with a syntax error", "no room for the ttr bound"])
def test_the_command_itself_tells_it(workspace: SmallWorkspace, state: Path, kind: str) -> None:
    where = spoil(workspace, BAD[kind])
    done = subprocess.run(
        [sys.executable, "-m", "faultload", "run", str(workspace.scenario)],
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(where)
    assert done.stdout == ""
    assert nothing_was_started(workspace, state)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ":1: must be a mapping of keys to values, but is empty"),
        ("- name: shop\n", ":1: must be a mapping of keys to values, but is a sequence"),
        ("\n\nshop\n", ":3: must be a mapping of keys to values, but is a scalar"),
        ("name: shop\n  target: x\n", ":2: not valid YAML"),
        ("name: 'shop\n", ":2: not valid YAML"),
        ("a: " + "[" * 1200, ": nested too deeply"),
        ("a: b\n---\nc: d\n", ":2: not valid YAML"),
    ],
    ids=["empty", "list", "word", "indent", "quote", "deep", "two documents"],
)
def test_a_file_that_is_no_mapping(
    command: SmallWorkspace, state: Path, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command.scenario.write_text(content)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"{command.scenario}{says}")
    assert nothing_was_started(command, state)


def test_all_mistakes_are_told_at_once(command: SmallWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (
        "unknown observation",
        "missing journey file",
        "experiment without always",
        "fault beyond the end",
    ):
        if kind != "missing journey file":
            spoil(command, BAD[kind])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(re.match(r"/.*\.yaml:\d+: ", line) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "smoke"], "there is no profile 'smoke'; there are: gentle, full"),
        (["--set", "load.timeout=soon"], "load.timeout: 'soon' is not a number with a unit"),
        (["--set", "load.timeout"], "--set load.timeout: wanted KEY=VALUE"),
        (["--set", "faults.7.at=1s"], "--set faults.7.at=1s: the scenario has no such key"),
        (["--set", "load.mix={"], "the value is not valid YAML"),
        (["--defect", "slow"], "--defect is for reference systems"),
        (["--url", "http://x", "--target", "target.yaml"], "give --url or --target, not both"),
        (["--platform", "kubernetes"], "--platform is for reference systems"),
        (["--target", "none.yaml"], "none.yaml: there is no such file"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--workers", "0"], "0 is not in the range"),
        (["--what"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
    command: SmallWorkspace,
    state: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr().err
    assert left.value.code == ExitCode.USAGE
    assert says in told
    assert nothing_was_started(command, state)


def test_a_scenario_that_is_not_there(
    command: SmallWorkspace, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["faultload", "run", "shopp"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == ExitCode.USAGE
    assert "no scenario file, folder or pack 'shopp'" in capsys.readouterr().err
    assert nothing_was_started(command, state)


def test_a_second_scenario_is_checked_before_the_first_starts(
    command: SmallWorkspace, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = command.scenario.read_text()
    other = command.write("scenarios/zoo.yaml", text.replace("timeout: 2s", "timeout: 2"))
    monkeypatch.setattr(sys, "argv", ["faultload", "run", str(command.scenario), str(other)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"{other}:{line_of(other, 'timeout')}: load.timeout: ")
    assert nothing_was_started(command, state)


@pytest.mark.parametrize("profiles", ["[gentle]", "[full]", "[standard]", "[gentle, full]"])
def test_an_objective_may_be_of_any_profile_that_there_is(workspace: SmallWorkspace, profiles: str) -> None:
    workspace.replace(
        workspace.scenario, "- ttr(freeze) <= 10s", f"- {{objective: ttr(freeze) <= 10s, profiles: {profiles}}}"
    )
    (spec,) = prepare(workspace.scenario, RunOptions()).scenario.objectives[2:]
    assert spec.profiles == profiles.strip("[]").split(", ")
