"""A workspace whose files are in order: scenario, target, journeys, experiments; tests spoil one at a time."""

from __future__ import annotations

from pathlib import Path

SCENARIO = """\
name: shop
target: target.yaml
load:
  journeys: journeys.py
  mix: {Visit: 3, Buy: 1}
  rate:
    - {ramp: 20/s, over: 10s}
    - {hold: 60s}
  timeout: 2s
faults:
  - name: freeze
    experiment: experiments/pause_store.yaml
    at: 20s
    with: {duration_s: 5}
  - name: slow
    experiment: experiments/slow_link.yaml
    at: 45s
objectives:
  - p99(latency) <= 500ms during baseline
  - mean(cache_hit) >= 0.9
  - ttr(freeze) <= 10s
abort: [error_rate > 90% for 20s]
recovery: {slice: 1s, hold: 5s, tolerance: 50%}
profiles:
  gentle: {rate: 0.5}
"""
TARGET = """\
name: shop
platform: local
url: http://127.0.0.1:8080
services:
  web: {command: [web, "{port}"], port: 8080, count: 2}
  store: {port: 9000}
links:
  "web -> store": {proxy: "http://127.0.0.1:9100"}
"""
JOURNEYS = """\
from locust import task

from faultload.load import Journey, acknowledge, observe


class Visit(Journey):
    @task
    def visit(self):
        observe("cache_hit", 1)


class Buy(Journey):
    @task
    def buy(self):
        self.client.post("/orders")
"""


def experiment(func: str, arguments: str) -> str:
    """An experiment file that injects one fault."""
    return f"""\
title: {func}
description: One fault.
configuration:
  target: {{type: env, key: FAULTLOAD_TARGET, default: target.yaml}}
  duration_s: 5
  mode: deliver
method:
  - type: action
    name: inject
    provider:
      type: python
      module: faultload.chaos.actions
      func: {func}
      arguments: {arguments}
  - type: action
    name: hold
    provider:
      type: python
      module: faultload.chaos.actions
      func: hold
      arguments: {{duration_s: "${{duration_s}}"}}
rollbacks:
  - type: action
    name: undo
    provider:
      type: python
      module: faultload.chaos.actions
      func: undo
      arguments: {{fault: {func}}}
runtime:
  rollbacks: {{strategy: always}}
"""


class SmallWorkspace:
    """The files on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.scenario = self.write("scenarios/shop.yaml", SCENARIO)
        self.target = self.write("target.yaml", TARGET)
        self.journeys = self.write("journeys.py", JOURNEYS)
        self.pause = self.write("experiments/pause_store.yaml", experiment("pause", "{service: store}"))
        self.slow = self.write(
            "experiments/slow_link.yaml", experiment("latency", '{link: "web -> store", delay_ms: 80}')
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def replace(self, file: Path, old: str, new: str) -> None:
        """Replace the one place where a text stands."""
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        file.write_text(text.replace(old, new))


def line_of(file: Path, text: str) -> int:
    """The number of the first line that holds a text."""
    lines = file.read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)
