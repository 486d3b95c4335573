"""The rights each fault needs, as RBAC manifests: `python -m faultload.faults.rbac kill`.

Without a fault's name all are written to `deploy/rbac/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from faultload.faults import faults_of
from faultload.faults.pods import KubernetesFault
from faultload.platforms.kubernetes.rights import HELPER, LOOK, Demands, Right
from faultload.spec.target import TargetFile

FOLDER = Path(__file__).parents[2] / "deploy" / "rbac"
_HOW = """\
# What `{name}` needs, made by `python -m faultload.faults.rbac {name}`.
#   kubectl -n NAMESPACE apply -f {name}.yaml
{bindings}
"""


def demands() -> dict[str, Demands]:
    """What each fault needs by name; `look` is what every run needs, `partition-policy` the other partition."""
    found = {"look": Demands(LOOK)}
    for word, made_by in faults_of("kubernetes").items():
        if not issubclass(made_by, KubernetesFault):
            continue
        for network in ("helper", "policy"):
            target = TargetFile(id="any", name="any", platform="kubernetes", network=network)
            demand = made_by.demands(target)
            if network == "helper" or demand != found[word]:
                found[word if network == "helper" else f"{word}-policy"] = demand
    return found


def objects(name: str, demand: Demands) -> Iterator[dict[str, Any]]:
    """A Role for the services' namespace, one for that of helpers, and a ClusterRole, each where needed.

    What every run needs is in it, so that one manifest is enough for one fault.
    """
    every = dict.fromkeys((*LOOK, *demand.rights))
    local = [right for right in every if not right.cluster]
    wide = [right for right in every if right.cluster]
    yield _role("Role", role_name(name), local)
    if demand.helper:
        yield _role("Role", f"{role_name(name)}-helpers", HELPER)
    yield _role("ClusterRole", role_name(name), wide)


def role_name(name: str) -> str:
    return f"faultload-{name.replace('_', '-')}"


def _role(kind: str, name: str, rights: Sequence[Right]) -> dict[str, Any]:
    rules: dict[tuple[str, str, str], list[str]] = {}
    for right in rights:
        rules.setdefault((right.group, right.resource, right.name), []).append(right.verb)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "faultload"}},
        "rules": [
            {
                "apiGroups": [group],
                "resources": [resource],
                **({"resourceNames": [only]} if only else {}),
                "verbs": list(dict.fromkeys(verbs)),
            }
            for (group, resource, only), verbs in rules.items()
        ],
    }


def manifest(name: str, demand: Demands) -> str:
    """The manifest as text, with how to use it."""
    made = list(objects(name, demand))
    bindings = "\n".join(
        f"#   kubectl create clusterrolebinding {one['metadata']['name']} "
        f"--clusterrole={one['metadata']['name']} --user=USER"
        if one["kind"] == "ClusterRole"
        else f"#   kubectl -n NAMESPACE create rolebinding {one['metadata']['name']} "
        f"--role={one['metadata']['name']} --user=USER"
        for one in made
    )
    if demand.helper:
        bindings += (
            "\n# The Role of the helpers belongs into the target file's `helper_namespace`, where it names one."
        )
    return _HOW.format(name=name, bindings=bindings) + "---\n".join(
        yaml.safe_dump(one, sort_keys=False) for one in made
    )


def main(argv: Sequence[str]) -> int:
    known = demands()
    for name in argv:
        if name not in known:
            print(f"there is no fault '{name}' on kubernetes (there are: {', '.join(known)})", file=sys.stderr)
            return 2
        print(manifest(name, known[name]), end="")
    if not argv:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, demand in known.items():
            (FOLDER / f"{name}.yaml").write_text(manifest(name, demand))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
