"""Who may bring a process back, from recorded parents, names and control groups; and what differs between two."""

from __future__ import annotations

import os
import subprocess

import pytest

from faultload.agents.restart.circumstances import circumstances_of, differences
from faultload.errors import TargetError
from faultload.host.processes import ProcessId, identify, myself
from faultload.host.trees import Family
from faultload.platforms.local import parents, restart
from faultload.platforms.local.facts import Facts
from faultload.platforms.local.parents import brought_back_by, names_of, typed_into, units

APP = 4711


def recorded(pid: int, *argv: str, program: str | None = None) -> Facts:
    return Facts(ProcessId(pid, 1.0), argv, program or argv[0], False, "/srv", 1000, False)


@pytest.fixture
def above(monkeypatch: pytest.MonkeyPatch) -> dict[int, Facts]:
    """What is known of the processes above the application, by pid."""
    known: dict[int, Facts] = {}
    monkeypatch.setattr(parents, "facts_of", lambda process: known.get(process.pid))
    return known


def by(above: dict[int, Facts], parent: Facts, *, of_us: bool = False) -> str | None:
    above[parent.process.pid] = parent
    pid = parent.process.pid
    family = {APP: pid, pid: 1 if pid != 1 else 0, myself().pid: pid if of_us else 1}
    return brought_back_by(recorded(APP, "/srv/app"), Family(family, dict.fromkeys(family, 1.0)))


def test_any_parent_that_lives_may_bring_it_back(above: dict[int, Facts]) -> None:
    assert by(above, recorded(70, "sh", "/srv/loop.sh")) == "its parent, pid 70 (sh /srv/loop.sh)"
    assert by(above, recorded(71, "/srv/parent", program="/srv/parent")) == "its parent, pid 71 (/srv/parent)"


def test_process_1_and_what_started_faultload_too_do_not(above: dict[int, Facts]) -> None:
    assert by(above, recorded(1, "/sbin/tini", "--", "bash")) is None
    assert by(above, recorded(70, "bash", "ci.sh"), of_us=True) is None
    assert by(above, recorded(71, "/usr/bin/python3", "harness.py"), of_us=True) is None


@pytest.mark.parametrize(
    "argv",
    [
        ("/usr/bin/python3", "/usr/bin/supervisord", "-n"),
        ("runsv", "shop"),
        ("/usr/bin/s6-supervise", "shop"),
        ("PM2 v5.3.0: God Daemon (/home/shop/.pm2)",),
    ],
)
def test_a_known_supervisor_does_wherever_it_stands(above: dict[int, Facts], argv: tuple[str, ...]) -> None:
    for pid, of_us in ((1, False), (70, True)):
        said = by(above, recorded(pid, *argv, program="/usr/bin/python3"), of_us=of_us)
        assert said is not None and said.startswith(f"its parent, pid {pid} (")


def test_systemd_does_when_it_is_in_a_unit(above: dict[int, Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = recorded(1, "/sbin/init", program="/usr/lib/systemd/systemd")
    monkeypatch.setattr(parents, "unit_of", lambda pid: "shop.service" if pid == APP else None)
    assert by(above, systemd) == "systemd, of whose unit shop.service it is"
    monkeypatch.setattr(parents, "unit_of", lambda pid: None)
    assert by(above, systemd) is None


def test_a_shell_that_somebody_types_into_does_not(
    above: dict[int, Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parents, "session_of", lambda pid: (True, True, False))
    assert by(above, recorded(70, "-bash", program="/usr/bin/bash")) is None
    assert typed_into(recorded(70, "/usr/bin/zsh", "-l")) and typed_into(recorded(70, "bash", "--norc"))
    for argv in (("bash", "run.sh"), ("bash", "-c", "while :; do app; done"), ("bash", "-ec", "app"), ("python3",)):
        assert not typed_into(recorded(70, *argv)), argv
    monkeypatch.setattr(parents, "session_of", lambda pid: (True, False, False))
    assert not typed_into(recorded(70, "bash")), "without a terminal nobody types"


@pytest.mark.parametrize(
    ("groups", "services"),
    [
        (["0::/system.slice/shop.service"], ["shop.service"]),
        (["0::/system.slice/system-shop.slice/shop@8081.service"], ["shop@8081.service"]),
        (["4:memory:/", "1:name=systemd:/system.slice/shop.service/inner"], ["shop.service"]),
        (["0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service"], ["shop.service"]),
        (["0::/user.slice/user-1000.slice/user@1000.service/app.slice/tab-1.scope"], []),
        (["0::/user.slice/user-1000.slice/session-3.scope"], []),
        (["0::/", "1:cpu:/"], []),
    ],
)
def test_the_services_that_a_control_group_names(groups: list[str], services: list[str]) -> None:
    assert units(groups) == services


def test_names_are_without_folders_and_colons() -> None:
    assert {"python3.11", "supervisord", "python3"} <= names_of(
        recorded(1, "python3", "/opt/bin/supervisord", program="/usr/bin/python3.11")
    )
    assert "nginx" in names_of(recorded(1, "nginx: master process /usr/sbin/nginx", program="/usr/sbin/nginx"))


def test_differences_name_the_fact_and_what_it_would_be() -> None:
    mine = circumstances_of(os.getpid())
    assert list(differences(mine, circumstances_of(os.getpid()))) == []
    wanted = {
        "umask": "0077",
        "limits": {**mine["limits"], "Max open files": ["7", "9"]},
        "control groups": [*mine["control groups"], "99:shop:/web"],
    }
    have = " ".join(mine["limits"]["Max open files"])
    assert list(differences(wanted, {**mine, "umask": "0022"})) == [
        "umask: 0077, would be 0022",
        f"limits: Max open files 7 9, would be {have}",
        "control groups: 99:shop:/web, would be ",
    ]


def test_an_address_that_was_not_open_is_told_from_a_port_that_the_kernel_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low, high = map(int, restart.EPHEMERAL.read_text().split())

    def wrong(before: list[tuple[str, int]], now: list[tuple[str, int]]) -> list[str]:
        monkeypatch.setattr(restart, "tree", lambda roots: [])
        monkeypatch.setattr(restart, "held_by", lambda pids: [restart.Listener(*place, 1, 0) for place in now])
        return restart.opened_wrongly({"listens": before}, [])

    assert wrong([("127.0.0.1", 80)], [("127.0.0.1", 80)]) == []
    assert wrong([("127.0.0.1", 80)], []) == []
    assert wrong([("127.0.0.1", 80)], [("127.0.0.1", 80), ("127.0.0.1", 81)]) == ["127.0.0.1:81"]
    assert wrong([("127.0.0.1", 80)], [("0.0.0.0", 80)]) == ["0.0.0.0:80"]
    assert wrong([("127.0.0.1", low)], [("127.0.0.1", high)]) == []
    assert wrong([("127.0.0.1", low)], [("0.0.0.0", high)]) == [f"0.0.0.0:{high}"]
    assert wrong([("127.0.0.1", 80)], [("127.0.0.1", 80), ("127.0.0.1", high)]) == [f"127.0.0.1:{high}"]


def test_what_opens_elsewhere_while_it_is_looked_at_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is one: what it counts is what it compares."""
    process = subprocess.Popen(["/bin/sleep", "60"])
    started = identify(process.pid)
    assert started is not None
    looks = iter([[], [restart.Listener("0.0.0.0", 80, 1, 0)]])
    monkeypatch.setattr(restart, "held_by", lambda pids: next(looks))
    try:
        with pytest.raises(TargetError, match=r"it opened 0\.0\.0\.0:80, which was not open: ended it"):
            restart._see_it_open({"listens": [["127.0.0.1", 80]]}, [started])
        assert process.wait() == -9
    finally:
        process.kill()
        process.wait()
