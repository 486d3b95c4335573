"""The image of helper containers: nftables, iproute2, and the faultload modules that run inside a target.

The tag carries a hash of what is inside, so an image of another version is never used.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import faultload
from faultload.errors import TargetError
from faultload.host.private import lock_file, make_folder
from faultload.host.state import state_home

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "faultload-helper"
LABEL = "faultload.image=helper"
BASE_ENV = "FAULTLOAD_BASE_IMAGE"
LOCAL_BASE = "faultload-base:bookworm"
DEFAULT_BASE = "python:3.11-slim-bookworm"
PROGRAMS = (
    "network.agent",
    "network.shaped",
    "link.proxy",
    "stress.stressor",
    "stress.container_stress",
    "stress.cgroup_meter",
    "container.process",
    "container.files",
    "container.engine_timer",
)
"""Modules of faultload.agents that are needed in a helper; what they import comes with them."""
_BUILD_TIMEOUT_S = 600
_PACKAGE = Path(faultload.__file__).parent

_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
RUN if ! { command -v nft && command -v tc; } > /dev/null; then \\
      apt-get update && apt-get install --yes --no-install-recommends nftables iproute2 \\
      && rm -rf /var/lib/apt/lists/*; fi
LABEL faultload.image=helper
ENV PYTHONPATH=/opt/faultload PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY faultload /opt/faultload/faultload
WORKDIR /opt/faultload
CMD ["python3", "-c", "import faultload; print(faultload.__version__)"]
"""


def _imports(source: str, *, later: bool) -> Iterator[str]:
    """The modules of faultload that a module imports with itself, and `later`: in its functions."""
    module = ast.parse(source)
    for node in ast.walk(module) if later else module.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "faultload":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "faultload")


def _file_of(module: str) -> Path | None:
    place = _PACKAGE.joinpath(*module.split(".")[1:])
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None)


@cache
def contents() -> dict[str, bytes]:
    """What is copied into the image: the programs and all that they import, by path."""
    found: dict[str, bytes] = {}
    waiting = [f"faultload.agents.{name}" for name in PROGRAMS]
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        if file is None:
            continue
        waiting += [module.rpartition(".")[0]] if "." in module else []
        path = str(Path("faultload") / file.relative_to(_PACKAGE))
        if path not in found:
            found[path] = file.read_bytes()
            waiting += _imports(found[path].decode(), later=file.name != "__init__.py")
    return dict(sorted(found.items()))


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256(f"{_DOCKERFILE}\n{os.environ.get(BASE_ENV, '')}\n".encode())
    for path, text in files.items():
        digest.update(f"{path} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:12]


@cache
def name() -> str:
    """The image that this version of faultload runs, as it was when the process first asked."""
    return f"{REPOSITORY}:{_digest(contents())}"


def _context() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in {"Dockerfile": _DOCKERFILE.encode(), **contents()}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
    return buffer.getvalue()


def base(client: DockerClient) -> str:
    """The image to build from: the one named by FAULTLOAD_BASE_IMAGE, a local base, or Python's own."""
    named = os.environ.get(BASE_ENV)
    if named:
        return named
    return LOCAL_BASE if _there(client, LOCAL_BASE) else DEFAULT_BASE


def _there(client: DockerClient, image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def ensure(client: DockerClient) -> str:
    """The name of the helper image, built when it is missing. Raises TargetError in words with what to do."""
    from docker.errors import DockerException

    try:
        if not _there(client, name()):
            with _one_builder():
                if not _there(client, name()):
                    _build(client)
    except (DockerException, OSError) as error:
        raise TargetError(f"the Docker engine does not answer: {error}") from error
    return name()


def is_there(client: DockerClient) -> bool:
    """Whether the image has been built already."""
    return _there(client, name())


def others(client: DockerClient) -> list[str]:
    """Helper images of other versions of faultload, by tag, or by id where another build took the tag."""
    found = client.images.list(filters={"label": LABEL})
    return sorted(tag for image in found for tag in (image.tags or [image.short_id]) if tag != name())


def problem(client: DockerClient) -> str | None:
    """Why the helper image cannot be had, with what to do; None when it is there, or was built just now."""
    try:
        ensure(client)
    except TargetError as error:
        return str(error)
    return None


def _build(client: DockerClient) -> None:
    from docker.errors import APIError, BuildError

    origin = base(client)
    try:
        client.images.build(
            fileobj=io.BytesIO(_context()),
            custom_context=True,
            buildargs={"BASE": origin},
            tag=name(),
            network_mode="host",
            rm=True,
            forcerm=True,
            timeout=_BUILD_TIMEOUT_S,
        )
    except (BuildError, APIError) as error:
        raise TargetError(
            f"the helper image cannot be built from {origin}: {str(error).strip()} "
            f"({BASE_ENV} names another image with Python 3.11 or newer and either nft and tc, or apt-get)"
        ) from error


@contextmanager
def _one_builder() -> Iterator[None]:
    """One process of this user builds at a time; the others then find what it made."""
    file = state_home() / "helper-image.lock"
    make_folder(file.parent)
    with os.fdopen(lock_file(file), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
