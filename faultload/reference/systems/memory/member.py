"""A member of the memory service's database in a container; see `faultload/reference/kit/member.py`."""

from __future__ import annotations

from faultload.reference.kit.member import main
from faultload.reference.systems.memory.model import SCHEMA

if __name__ == "__main__":
    main(SCHEMA)
