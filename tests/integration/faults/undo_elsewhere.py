"""Undo of one fault in a process of its own, which knows of it what stands on its standard input: JSON."""

from __future__ import annotations

import json
import sys
import time

from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.platforms.base import Instance
from faultload.spec.target import target_from_json


def main() -> None:
    known = json.load(sys.stdin)
    fault = fault_for(target_from_json(known["target"]), FaultRequest.from_json(known["request"]))
    instances = [Instance.from_json(value) for value in known["instances"]]
    fault.undo(instances, known["plan"])
    deadline = time.monotonic() + fault.gone_within_s
    while not (sight := fault.gone(instances, known["plan"])).seen and time.monotonic() < deadline:
        time.sleep(0.1)
    print(json.dumps({"seen": sight.seen, "what": sight.what}))


if __name__ == "__main__":
    main()
