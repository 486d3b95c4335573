"""How long each phase of each process of a run may take, and why; whoever takes longer is ended."""

from __future__ import annotations

TARGET_READY_S = {"local": 60.0, "docker": 120.0, "kubernetes": 180.0}
"""A target gets ready, by platform: containers may have to be made, images pulled onto a node."""
TARGET_START_S = 1800.0
"""The same with all that comes before: images may have to be built. Its own steps end earlier, each by itself."""
TARGET_STOP_S = 180.0
"""A reference system stops: pods and containers get their own grace of half a minute, one after another."""
LOOK_S = 120.0
"""A platform is asked how its target is: its client gives up on an engine that hangs after a minute."""
SERVER_READY_S = 60.0
"""A fork server has imported everything, which takes seconds; one that takes longer is done without."""
LOAD_READY_S = 60.0
"""Load processes are ready: imports, then the `on_start` of the first users, which gets the load's time-out."""
FIRST_FAULTS_READY_S = 30.0
"""The load waits for the processes of the first faults; one that is later makes its fault late, and says so."""
LOAD_SILENT_S = 15.0
"""A load process says every second how it is. As long as the silence that makes a conductor count as hung."""
LOAD_END_S = 25.0
"""Beyond the drain of its requests: users' `on_stop` (5 s), listeners of its end, and the last rows."""
LOAD_STOP_S = 5.0
"""Beyond the time-out of its requests, which counts for 10 s at most, a load that was told to stop ends."""
LOAD_STOP_TIMEOUT_S = 10.0
CHAOS_STOP_S = 60.0
"""Beyond the longest fault, a chaos process that was interrupted ends: its rollbacks, and their witnesses."""
UNDO_S = 120.0
"""Beyond the longest fault, the conductor undoes what was left open; what is open then, in whatever state, the
warden undoes once the conductor has said goodbye to it, for an hour at most."""
VERIFY_S = 120.0
"""Written keys are read back; a target that has just recovered may be slow."""
WARDEN_STOPPED_S = 15.0
"""A stopped warden has read no beat for so long: it is ended and replaced."""
WARDEN_SILENT_S = 150.0
"""The same for one that runs: it reads none while it undoes a fault, which may take two minutes."""
WARDEN_END_S = 5.0
"""A warden that was told goodbye ends: it has nothing left to do."""
KILLED_S = 5.0
"""A killed process is gone, unless the kernel itself keeps it."""
