"""One load process: `python -m faultload.load.worker RUN_DIR WORKER`, run by the conductor over a pipe."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import gevent
import gevent.os
from gevent.event import Event
from locust.log import setup_logging

from faultload.errors import FaultloadError, InvalidInput, in_words, of_the_machine
from faultload.load.engine import Engine
from faultload.load.plan import Plan
from faultload.load.quiet import quiet_logs
from faultload.record.directory import RunDirectory

_NICE = -20
os.register_at_fork(after_in_child=gevent.reinit)  # a worker may be forked from a server that imported this


class Orders:
    """What the conductor says on standard input: `start T_NS`, `stop`; its end means the conductor is dead."""

    def __init__(self) -> None:
        self.start = Event()
        self.start_ns = 0
        self.stop = Event()
        self.orphaned = Event()

    def listen(self) -> None:
        descriptor = sys.stdin.fileno()
        gevent.os.make_nonblocking(descriptor)
        text = b""
        while data := gevent.os.nb_read(descriptor, 4096):
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                self._obey(line.split())
        self.orphaned.set()

    def _obey(self, words: list[bytes]) -> None:
        match words:
            case [b"start", moment]:
                self.start_ns = int(moment)
                self.start.set()
            case [b"stop"]:
                self.ask_to_stop()

    def ask_to_stop(self) -> None:
        self.stop.set()
        self.start.set()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faultload.load.worker")
    parser.add_argument("run", type=Path)
    parser.add_argument("worker", type=int)
    arguments = parser.parse_args(argv)
    setup_logging("INFO")  # type: ignore[no-untyped-call]
    quiet_logs()
    run = RunDirectory.existing(arguments.run)
    name = f"load-{arguments.worker}"
    _ask_for_more()
    orders = Orders()
    for signum in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(signum, orders.ask_to_stop)
    try:
        engine = Engine(run, Plan.of_run(run, arguments.worker), arguments.worker)
        gevent.spawn(orders.listen)
        gevent.spawn(_end_when_orphaned, orders, engine)
        engine.prepare()
        run.event("process", process=name, state="ready", pid=os.getpid())
        orders.start.wait()
        if not orders.stop.is_set():
            engine.run(orders.start_ns, orders.stop)
        engine.finish()
        run.event("process", process=name, state="ended", pid=os.getpid())
    except Exception as error:
        why = in_words(error)
        with suppress(OSError):
            run.event("process", process=name, state="failed", pid=os.getpid(), why=why)
        if isinstance(error, FaultloadError) or of_the_machine(error):
            print(f"{name}: {why}", file=sys.stderr)
            return 2 if isinstance(error, FaultloadError) else 70
        logging.exception("the load process failed")
        return 70
    return 0


def _ask_for_more() -> None:
    """A turn before others on the CPU, and as many open connections as may be had; quietly none of it."""
    _go_first()
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _go_first() -> None:
    """Ask for the highest priority: what the generator waits for a processor, it would measure as latency.

    Where the kernel groups processes by session (autogroup), niceness counts inside the group only, and the
    group has one of its own: asked for only where this process is the whole session. Not allowed to ordinary
    users, who go without.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(_NICE))


def _end_when_orphaned(orders: Orders, engine: Engine) -> None:
    orders.orphaned.wait()
    engine.flush()
    os._exit(3)


def run_to_exit() -> NoReturn:
    """Entry of a load process; whatever happens it ends here, also where its log takes nothing more.

    Greenlets of a journey may be left in a request; nobody waits for them.
    """
    code = 70
    try:
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except InvalidInput as error:
        code = 2
        print(error, file=sys.stderr, flush=True)
    except Exception:  # noqa: BLE001 - said in the log
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    run_to_exit()
