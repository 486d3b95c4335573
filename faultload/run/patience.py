"""Waiting with an end: every wait of a conductor ticks meanwhile, and names who took too long over what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from faultload.errors import TargetError

T = TypeVar("T")
_LOOK_S = 0.05


class Late(TargetError):
    """A phase of a process took longer than it may."""

    def __init__(self, who: str, phase: str, seconds: float) -> None:
        super().__init__(f"{who}: {phase} took longer than {seconds:g} s")
        self.who = who


class Patience:
    """Waits; `tick` is called meanwhile, and sleeps a little. What it raises ends the wait."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def until(
        self, condition: Callable[[], bool], seconds: float, give_up: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait until a condition holds; False at the end of the time, or as soon as `give_up` says so."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline or give_up():
                return False
            self._tick()
        return True

    def wait(self, condition: Callable[[], bool], seconds: float, who: str, phase: str) -> None:
        """Wait until a condition holds. Raises Late at the end of the time."""
        if not self.until(condition, seconds):
            raise Late(who, phase, seconds)

    def in_thread(self, work: Callable[[], T], seconds: float, who: str, phase: str) -> T:
        """Do something that blocks; its exception is raised here.

        Raises Late at the end of the time: the thread is left to itself and ends with this process.
        """
        result: list[T] = []
        error: list[BaseException] = []

        def call() -> None:
            try:
                result.append(work())
            except BaseException as problem:  # noqa: BLE001 - handed to the caller
                error.append(problem)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()

        def over() -> bool:
            thread.join(_LOOK_S)
            return not thread.is_alive()

        self.wait(over, seconds, who, phase)
        if error:
            raise error[0]
        return result[0]
