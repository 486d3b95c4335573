"""`faultload proxy`: a link proxy for a system without one."""

from __future__ import annotations

from pathlib import Path

from faultload.agents.lifeline import die_with_parent
from faultload.agents.link.proxy import BadConfigError, read_config, serve
from faultload.errors import InvalidInput, TargetError


def serve_links(file: Path) -> None:
    """Serve the links of a configuration file until the parent ends or SIGINT. Raises InvalidInput, TargetError."""
    die_with_parent()
    try:
        serve(read_config(file))
    except BadConfigError as error:
        raise InvalidInput(str(error)) from None
    except OSError as error:
        raise TargetError(f"link proxy: {error}") from None
