"""`Journey`: the base class for your HTTP journeys."""

from __future__ import annotations

from locust import FastHttpUser


class Journey(FastHttpUser):
    """An HTTP user. In a run a request is sent once and ends within the scenario's time-out.

    Outside a run (plain `locust -f`) it is Locust's FastHttpUser.
    """

    abstract = True
    variant: str | None = None
    """Names what this journey exercises when journeys are compared, such as `v2` against `v3`."""
