"""HTTP errors on a local link, answered by its link proxy in place of the server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from faultload.agents.probes import Statuses, close_all, speaks_tls, statuses, together
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.network.local import NEEDS_PROXY, OnLink
from faultload.platforms.base import Instance
from faultload.platforms.local.links import Pair

_WITHIN_S = 5.0
_UNLIKELY = 1e-4
"""How improbable it may be that a share strikes none of the witness's requests."""


_BAD_REQUEST = 400
"""What many servers with TLS say to a request without it."""


@makes("http_error", "local")
class HttpError(OnLink):
    """A share of the requests, drawn by seed, gets an error from the proxy; the rest passes."""

    kind = "http_error"
    made_by = "the link proxy answers a seeded random share of the requests itself and passes on the rest"
    needs = f"{NEEDS_PROXY} that speak unencrypted HTTP/1"
    witnessed_by = (
        "of enough HEAD requests to each server, over older and new connections, `share` get the status, within "
        "four standard deviations, and none got it before"
    )
    _before: Sequence[Statuses] = ()

    @property
    def share(self) -> float:
        return float(self.request.argument("share", 1.0))

    @property
    def status(self) -> int:
        return int(self.request.argument("status", 503))

    @property
    def _enough(self) -> int:
        if self.share >= 1:
            return 20
        return min(2000, max(20, math.ceil(math.log(_UNLIKELY) / math.log(1 - self.share))))

    def resolve(self) -> list[Instance]:
        if not 400 <= self.status <= 599:
            raise Refused(f"status {self.status} is no HTTP error: 400 to 599")
        pairs = self._pairs()
        deaf = [pair.name for pair in pairs if pair.protocol != "http"]
        if deaf:
            raise Refused(f"link '{self.link}' does not speak HTTP ({', '.join(deaf)})")
        spoken = _foreign(pairs)
        if spoken:
            raise Refused(f"link '{self.link}' {spoken}: the link proxy can answer none of its requests")
        return super().resolve()

    def _parameters(self) -> dict[str, Any]:
        return {"share": self.share, "status": self.status, "seed": self.request.seed}

    def prepare(self, instances: Sequence[Instance]) -> None:
        super().prepare(instances)
        pairs = self._pairs()
        self._before = together(lambda pair: statuses(pair, self.status, 5, _WITHIN_S), pairs)
        for pair, before in zip(pairs, self._before, strict=True):
            if not before.asked:
                raise Refused(f"{pair.name} answers no HTTP request even without a fault")
            if statuses(pair, _BAD_REQUEST, 1, _WITHIN_S).with_status and speaks_tls(*pair.upstream):
                raise Refused(f"{pair.name} speaks TLS: the link proxy can answer none of its requests")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        pairs = self._pairs()
        older = {probe.place.name: probe for probe in self._probes}

        def ask(pair: Pair) -> Statuses:
            return statuses(pair, self.status, self._enough, _WITHIN_S, older.get(pair.name))

        seen = together(ask, pairs)
        close_all(self._probes)
        if any(one.with_status for one in self._before):
            return WitnessReport(False, f"{self.link} answered {self.status} before the fault too")
        spoken = _foreign(pairs)
        if spoken:
            return WitnessReport(False, f"{self.link} {spoken}: those requests pass the link proxy unanswered")
        for pair, one in zip(pairs, seen, strict=True):
            wanted = self.share * one.asked
            spread = 4 * math.sqrt(wanted * (1 - self.share)) + (1 if self.share < 1 else 0)
            if one.asked < min(20, self._enough) or not one.with_status or abs(one.with_status - wanted) > spread:
                what = f"{one.with_status} of {one.asked} requests to {pair.name} were answered {self.status}"
                return WitnessReport(False, f"{what}, {wanted:.0f} would be its share")
        struck, asked = sum(one.with_status for one in seen), sum(one.asked for one in seen)
        return WitnessReport(
            True, f"{struck} of {asked} requests over {len(pairs)} pairs were answered {self.status}"
        )

    def _gone(self, pairs: list[Pair]) -> WitnessReport:
        seen = together(lambda pair: statuses(pair, self.status, min(200, self._enough), _WITHIN_S / 2), pairs)
        ours, asked = sum(one.by_proxy for one in seen), sum(one.asked for one in seen)
        if not asked:
            return super()._gone(pairs)
        return WitnessReport(ours == 0, f"{ours} of {asked} requests were answered by the link proxy")


def _foreign(pairs: Sequence[Pair]) -> str:
    """What else than HTTP/1 was spoken on pairs, in words; empty where nothing was seen."""
    seen = [f"{' and '.join(pair.foreign)} on {pair.name}" for pair in pairs if pair.foreign]
    return f"carries {', '.join(seen)}" if seen else ""
