"""The link proxy's old name, kept working: `python -m faultload.platforms.linkproxy --config FILE`."""

from __future__ import annotations

from faultload.agents.link.proxy import main

if __name__ == "__main__":
    main()
