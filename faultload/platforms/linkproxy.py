"""The old name of the link proxy: `python -m faultload.platforms.linkproxy --config FILE` goes on working."""

from __future__ import annotations

from faultload.agents.link.proxy import main

if __name__ == "__main__":
    main()
