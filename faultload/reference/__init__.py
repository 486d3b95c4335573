"""Reference systems: small real implementations of the packs' interfaces, to run the packs on."""

from faultload.reference.catalogue import REFERENCES, Reference, target_id
from faultload.reference.lifecycle import Started, Status, start, status, stop

__all__ = ["REFERENCES", "Reference", "Started", "Status", "start", "status", "stop", "target_id"]
