"""Prints what happens during a run, and tracks which of its processes are ready or have failed."""

from __future__ import annotations

from faultload.record.events import Event, Gate, Note, ProcessEvent, Witness
from faultload.report.live import Screen
from faultload.run.watch import Watch

_NOTES_SAID = ("not_injected", "inject_failed", "warden_lost", "overdue", "ended_early", "late", "server_lost")


class Narration:
    """Follows the events that the watch hands on."""

    def __init__(self, screen: Screen, watch: Watch) -> None:
        self._screen = screen
        self._watch = watch
        self.ready: set[str] = set()
        self.failed: dict[str, str] = {}
        """Why each process that failed did."""

    def say(self, text: str) -> None:
        """A line with the time since the load's start."""
        self._screen.say(f"{self._watch.load_s:6.1f} s  {text}")

    def follow(self) -> None:
        """Say what is new, and draw the state of now."""
        for event in self._watch.look():
            self._tell(event)
        self._screen.update(self._watch.state())

    def _tell(self, event: Event) -> None:
        if isinstance(event, ProcessEvent):
            self._note_process(event)
        elif isinstance(event, Gate):
            self.say(f"{event.label} gate {'passed' if event.passed else f'holds: {event.why}'}")
        elif isinstance(event, Witness) and event.of == "there":
            self._watch.fault_opened(event.label)
            self.say(f"{event.label} {'witnessed' if event.seen else 'NOT WITNESSED'}: {event.what}")
        elif isinstance(event, Witness):
            self._watch.fault_closed(event.label)
            self.say(f"{event.label} {'undone' if event.seen else 'NOT UNDONE'}: {event.what}")
        elif isinstance(event, Note) and event.what in _NOTES_SAID:
            self.say(event.text)

    def _note_process(self, event: ProcessEvent) -> None:
        if event.state == "ready":
            self.ready.add(event.process)
        elif event.state == "failed" and event.process != "target":
            self.failed[event.process] = f"{event.process} failed: {event.why}"
