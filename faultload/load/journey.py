"""`Journey`: the base class for your HTTP journeys."""

from __future__ import annotations

from locust import FastHttpUser


class Journey(FastHttpUser):
    """Base class for HTTP users. In a run, each request is sent once and ends within the scenario's timeout.

    Outside a run (plain `locust -f`) it is Locust's FastHttpUser.
    """

    abstract = True
    variant: str | None = None
    """Label for the samples of this journey, to compare groups such as `v2` and `v3` with `ratio`."""
