"""What is shown during a run: a panel that redraws in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from faultload.report.live_state import LiveState
from faultload.report.streams import is_terminal, printable, takes_more

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_EVERY_S = 5.0


class Screen:
    """Shows a run as plain lines: one status line each 5 s or when the status changes, and every `say`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: LiveState | None = None

    def update(self, state: LiveState) -> None:
        """Show the state of now."""
        last = self._shown
        if last is None or state.status != last.status or not 0 <= state.elapsed_s - last.elapsed_s < PLAIN_EVERY_S:
            self._shown = state
            self.say(state.line())

    def say(self, text: str) -> None:
        """Print a line that stays; one that nobody reads, on a terminal that was stopped, is left out."""
        if not takes_more(self._stream):
            return
        print(printable(text, getattr(self._stream, "encoding", None)), file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was; lines that were said stay."""


class LiveScreen(Screen):
    """One rich panel that redraws in place; should rich fail, plain lines go on from there."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        from rich.console import Console
        from rich.live import Live

        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live: Live | None = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def update(self, state: LiveState) -> None:
        if self._live is None:
            return super().update(state)
        if not takes_more(self._stream):
            return None
        try:
            self._live.update(_panel(state, self._live.console.encoding), refresh=True)
        except Exception as error:  # noqa: BLE001 - a screen must never end a run
            self._give_up(error)
            super().update(state)
        return None

    def say(self, text: str) -> None:
        if self._live is None:
            return super().say(text)
        if not takes_more(self._stream):
            return None
        try:
            from rich.text import Text

            console = self._live.console
            console.print(Text(printable(text, console.encoding)), soft_wrap=True)
        except Exception as error:  # noqa: BLE001 - a screen must never end a run
            self._give_up(error)
            super().say(text)
        return None

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except Exception as error:  # noqa: BLE001 - a screen must never end a run
                super().say(f"the live screen did not close: {type(error).__name__}: {error}")

    def _give_up(self, error: Exception) -> None:
        self.close()
        super().say(f"no live screen from here on: {type(error).__name__}: {error}")


def open_screen(stream: TextIO | None = None) -> Screen:
    """A live screen when `stream` (standard error by default) is a terminal, else plain lines."""
    stream = sys.stderr if stream is None else stream
    if not is_terminal(stream):
        return Screen(stream)
    try:
        return LiveScreen(stream)
    except Exception as error:  # noqa: BLE001 - a screen must never end a run
        screen = Screen(stream)
        screen.say(f"no live screen: {type(error).__name__}: {error}")
        return screen


def _panel(state: LiveState, encoding: str) -> RenderableType:
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def text(content: str, style: str = "") -> Text:
        return Text(printable(content, encoding), style=style)

    where = text(f"{state.clock}  {state.status}", "bold")
    if state.phase and state.phase != state.status:
        where.append(printable(f"  {state.phase}", encoding))
    parts: list[RenderableType] = [where]
    if state.total_s:
        bar = Table.grid(expand=True)
        bar.add_row(ProgressBar(total=state.total_s, completed=min(state.elapsed_s, state.total_s)))
        parts.append(bar)
    measures = []
    for name, value in state.measures():
        bad = (name == "errors" and (state.error_share or 0) > 0) or (
            name == "budget left" and state.budget_left is not None and state.budget_left < 0
        )
        measures.append(text(f"{name} ", "dim").append(printable(value, encoding), style="bold red" if bad else ""))
    parts.append(Columns(measures, padding=(0, 3), equal=True))
    if state.open_faults:
        parts.append(text(f"open faults {', '.join(state.open_faults)}", "bold yellow"))
    else:
        parts.append(text("open faults none", "dim"))
    return Panel(Group(*parts), title=text(f"{state.scenario} ({state.profile})"), title_align="left")
