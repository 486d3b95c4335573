"""Resumes a paused replay, wherever the process that paused it is by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faultload.errors import TargetError
from faultload.faults.database.sql_fault import member_name
from faultload.platforms.databases.patroni import configuration, configure
from faultload.platforms.databases.postgres import resume_replay, servers, session

MARK = "faultload"
"""Key in the cluster's configuration that carries the id of the fault that changed it."""


def restore(dsn: str, fault_id: str, plan: Mapping[str, Any]) -> list[str]:
    """Take the fault away where it is still there; returns what could not be, in words.

    The mark in the cluster's configuration says whether there is anything to take away: it is set before the
    first standby is paused, and goes last. A standby that was started again since is not paused any more.
    """
    import psycopg

    urls = plan["patroni"]
    if urls:
        settings = configuration(urls)
        if settings and settings.get(MARK) != fault_id:
            return []
        if not settings:
            return ["no Patroni answers"]
    left = []
    for standby in plan["standbys"]:
        try:
            here = next((one for one in servers(dsn) if one.started == standby["started"]), None)
            if here is not None:
                with session(dsn, here.address) as sql:
                    resume_replay(sql)
            elif member_name(urls, standby["started"]) is not None:
                left.append(f"the standby at {standby['host']}:{standby['port']} runs, but lets nobody in")
        except (psycopg.Error, TargetError) as error:
            left.append(f"the standby at {standby['host']}:{standby['port']}: {error}")
    if urls and not left:
        try:
            configure(urls, {MARK: None} | ({"pause": None} if plan["maintenance"] else {}))
        except TargetError as error:
            left.append(str(error))
    return left
