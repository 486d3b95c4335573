"""Imports Locust into the test process without letting gevent take over its standard library."""

import os

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
import locust  # noqa: F401

# child processes of other tests must not inherit it
del os.environ["LOCUST_SKIP_MONKEY_PATCH"]
