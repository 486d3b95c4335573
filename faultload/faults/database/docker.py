"""Failover and switchover of a PostgreSQL cluster under Patroni that runs in containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faultload.agents.when_told import PREPARED
from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.containers import HELPER_S, need_removable
from faultload.faults.database.cluster_fault import FailoverFault, SwitchoverFault
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import Member, cluster
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.local.processes import wait_until
from faultload.spec.target import TargetFile

if TYPE_CHECKING:
    from docker.models.containers import Container

_KILL_S = 30.0
_DEAD_WITHIN_S = 5.0
_POSTMASTERS = """
for d in /proc/[0-9]*; do {
  read -r name < $d/comm || continue
  case $name in postgres|postmaster) ;; *) continue;; esac
  stat=$(cat $d/stat) || continue
  set -- ${stat##*) }
  read -r parent < /proc/$2/comm
  case $parent in postgres|postmaster) continue;; esac
  echo "${d#/proc/} ${20}"
} 2> /dev/null; done
"""
"""Prints pid and start time (proc_pid_stat(5)) of each postmaster: a PostgreSQL that is no child of one."""
_ALL = "these are all"
_KILL = f"""
wanted="$1 $2"
for line in $(found=$({_POSTMASTERS}); echo "$found" | tr ' ' :); do
  [ "$line" = "$1:$2" ] && kill -9 "$1" && exit 0
done
echo "postmaster $wanted is gone already"; exit 1
"""


def members(target: TargetFile, service: str) -> dict[str, Instance]:
    """The running containers of a declared cluster by the names that Patroni knows its members by."""
    found = docker_client.containers_of(target, service)
    port = target.services[service].port
    known = {}
    for member in cluster(target.services[service].patroni or []).members:
        container = _container_of(member, found)
        if container is not None:
            known[member.name] = docker_client.instance_of(service, container, port)
    return known


def _container_of(member: Member, found: Sequence[Container]) -> Container | None:
    """The one container whose host name, compose service, name or address is the member's, or None."""
    ways: tuple[Callable[[Container], bool], ...] = (
        lambda one: one.attrs["Config"]["Hostname"] == member.name,
        lambda one: one.labels.get(docker_client.SERVICE) == member.name,
        lambda one: one.name == member.name,
        lambda one: member.host in _places(one),
    )
    for way in ways:
        fit = [one for one in found if way(one)]
        if len(fit) == 1:
            return fit[0]
    return None


def _places(found: Container) -> set[str]:
    """What a container is called on its networks, and its addresses there."""
    places = {str(found.attrs["Config"]["Hostname"])}
    for network in (found.attrs["NetworkSettings"].get("Networks") or {}).values():
        places |= {str(network.get("IPAddress")), str(network.get("GlobalIPv6Address"))}
        places |= set(network.get("Aliases") or ())
    return places - {"", "None"}


def _instance_of(target: TargetFile, service: str, leader: Member) -> Instance:
    found = members(target, service).get(leader.name)
    if found is None:
        raise Refused(f"no container of service '{service}' is its leader {leader.name} ({leader.host})")
    return found


def _run_in(instance: Instance, script: str, *arguments: str) -> tuple[int, str] | None:
    """Run a shell script in a container, as the user that it runs as; None when it does not run since then.

    Its exit code is sure; what it says may be lost (see docker_client.printed_in).
    """
    found = docker_client.container_of(instance)
    if found is None:
        return None
    with docker_client.asking(f"run a command in {found.name}"):
        code, output = found.exec_run(["sh", "-c", script, "faultload", *arguments])
    assert isinstance(output, bytes)
    return int(code or 0), output.decode(errors="replace").strip()


def _postmasters(instance: Instance) -> list[str]:
    """Pid and start time of each postmaster in a container; none when the container is gone."""
    found = docker_client.container_of(instance)
    if found is None:
        return []
    lines = docker_client.printed_in(found, ["sh", "-c", f"{_POSTMASTERS}\necho {_ALL}"]).splitlines()
    if lines[-1] != _ALL:
        raise TargetError(f"the processes in {found.name} could not be listed: {lines[-1]}")
    return lines[:-1]


@makes("failover_database", "docker")
class Failover(FailoverFault):
    """SIGKILL for the postmaster within the leader's container, or for the container."""

    needs_helper = True
    made_by = (
        "SIGKILL to the postmaster, from inside the leader's container; with mode `member`, to the container's "
        "main process, from a helper container, because then the engine's restart policy applies"
    )
    needs = "`patroni` URLs in the target file; `sh` in the container"
    witnessed_by = "that process is gone; with mode `member`, that run of the container has ended"
    undone_by = "starts the same container if it did not come back; if there is no leader, the old one leads again"

    @classmethod
    def prepares_within_s(cls, arguments: Mapping[str, Any]) -> float:
        return HELPER_S if arguments.get("mode") == "member" else 0.0

    def resolve(self) -> list[Instance]:
        instance = _instance_of(self.target, self.service, self._leader())
        found = docker_client.container_of(instance)
        if found is None or docker_client.state_of(found)["Paused"]:
            raise Refused(f"{instance.label} is not running, or is paused")
        if self.mode == "member":
            need_removable(found, self.request.kind)
        elif (count := len(_postmasters(instance))) != 1:
            raise Refused(f"{instance.name} runs {count} PostgreSQL servers; it is unclear which one is meant")
        return [instance]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        plan = super().undo_plan(instances)
        if self.mode == "postmaster":
            plan["postmaster"] = _postmasters(instances[0])[0]
        return plan

    def prepare(self, instances: Sequence[Instance]) -> None:
        """With mode `member`, start the helper, which waits: starting it takes longer than the kill."""
        super().prepare(instances)
        if self.mode == "member":
            argv = ["python3", "-m", "faultload.agents.container.process", "when-told", "kill", instances[0].id]
            options: dict[str, Any] = {"sees_machine": True, "cap_add": ["KILL"]}
            self._helper = docker_helper.start(argv, self.request.fault_id, says=PREPARED, **options)

    def release(self) -> None:
        docker_helper.remove(self.request.fault_id)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._postmaster = plan.get("postmaster")
        if self._helper is not None:
            docker_helper.tell(self._helper, "done", _KILL_S)
            return
        said = _run_in(instances[0], _KILL, *str(self._postmaster).split())
        if said is None or said[0] != 0:
            why = "the container does not run any more" if said is None else said[1]
            raise TargetError(f"the postmaster in {instances[0].name} could not be killed: {why}")

    _postmaster: str | None = None
    _helper: Container | None = None

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        instance = instances[0]
        if self.mode == "member":
            dead = wait_until(lambda: docker_client.container_of(instance) is None, _DEAD_WITHIN_S)
            what = "does not run any more, or since another start" if dead else "still runs"
            return WitnessReport(dead, f"{instance.label} {what}")
        dead = wait_until(lambda: self._postmaster not in _postmasters(instance), _DEAD_WITHIN_S)
        pid = str(self._postmaster).partition(" ")[0]
        return WitnessReport(dead, f"postmaster {pid} in {instance.label} is {'gone' if dead else 'still there'}")

    def _bring_back(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        found = docker_client.container(instances[0].id)
        if found is None:
            raise TargetError(f"{instances[0].label} has been removed, so it cannot be started again")
        if not docker_client.state_of(found)["Running"]:
            with docker_client.asking(f"start {found.name}"):
                found.start()

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        docker_helper.remove(self.request.fault_id)
        super().undo(instances, plan)


@makes("switchover_database", "docker")
class Switchover(SwitchoverFault):
    """The leader hands over through Patroni's own API."""

    def _instance(self, leader: Member) -> Instance:
        return _instance_of(self.target, self.service, leader)
