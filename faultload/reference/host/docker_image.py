"""The image of a reference system: built from the installed package, tagged by what went into it."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faultload
from faultload.errors import InvalidInput, Mistake, TargetError
from faultload.spec.workspace import packs_root

if TYPE_CHECKING:
    from docker import DockerClient

PACKAGE = Path(faultload.__file__).parent
_COPY = re.compile(r"^COPY\s+(.*?)\s+\S+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Dockerfile of `deploy/`, and the base to build it from.

    The build context is laid out like a checkout: `faultload/` and `deploy/`, also where faultload is installed.
    """

    name: str
    base: str

    @property
    def dockerfile(self) -> str:
        return f"deploy/{self.name}/Dockerfile"

    def files(self) -> list[str]:
        """The files of the build context: the Dockerfile and what it copies, as paths of a checkout."""
        text = _place(self.dockerfile).read_text().replace("\\\n", " ")
        found = {self.dockerfile}
        for sources in _COPY.findall(text):
            for pattern in sources.split():
                top = Path(pattern).parts[0]
                root = _place(top).parent
                matches = [path for path in root.glob(pattern) if path.is_file()]
                if not matches:
                    raise TargetError(f"{self.dockerfile} copies {pattern}, which is not in {root}")
                found |= {path.relative_to(root).as_posix() for path in matches}
        return sorted(found)

    @property
    def tag(self) -> str:
        """Name and a hash of everything that goes in, so that an image of other contents is never used."""
        digest = hashlib.sha256(self.base.encode())
        for file in self.files():
            content = _place(file).read_bytes()
            digest.update(f"\0{file}\0{len(content)}\0".encode() + content)
        return f"faultload-{self.name}:{digest.hexdigest()[:12]}"

    def context(self) -> bytes:
        """The build context as a tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for file in self.files():
                entry = archive.gettarinfo(str(_place(file)), arcname=file)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                entry.mtime = 0
                with _place(file).open("rb") as content:
                    archive.addfile(entry, content)
        return buffer.getvalue()


def _place(file: str) -> Path:
    """Where a file of the build context is: the package, or what is shipped beside it."""
    root = PACKAGE.parent if file.partition("/")[0] == "faultload" else packs_root()
    return root / file


def recipe(client: DockerClient, name: str) -> Recipe:
    """How the image is made here; the base is the one that helper containers are made from, too."""
    from faultload.platforms.docker import image as helper_image

    return Recipe(name, helper_image.base(client))


def is_here(client: DockerClient, image: str) -> bool:
    """Whether the engine has an image."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def check(client: DockerClient, name: str) -> None:
    """Raise InvalidInput when the image is not here and its base can neither be found nor pulled."""
    from docker.errors import APIError

    wanted = recipe(client, name)
    if is_here(client, wanted.tag) or is_here(client, wanted.base):
        return
    try:
        client.images.get_registry_data(wanted.base)
    except (APIError, OSError) as error:
        hint = "`docker/base-image` makes one without a registry, and FAULTLOAD_BASE_IMAGE names any other"
        reason = getattr(error, "explanation", None) or error
        why = f"the base image {wanted.base} is not here and cannot be pulled: {reason}"
        raise InvalidInput(Mistake(why, hint=hint)) from None


def ensure(client: DockerClient, name: str, say: Callable[[str], None]) -> str:
    """The tag of the image, built when there is none. Raises TargetError with the build's own words."""
    wanted = recipe(client, name)
    tag = wanted.tag
    if is_here(client, tag):
        return tag
    say(f"building {tag} from {wanted.base}")
    for line in _build(client, wanted):
        say(line)
    return tag


def _build(client: DockerClient, wanted: Recipe) -> Iterator[str]:
    from docker.errors import APIError

    try:
        steps: Iterator[dict[str, Any]] = client.api.build(
            fileobj=io.BytesIO(wanted.context()),
            custom_context=True,
            dockerfile=wanted.dockerfile,
            tag=wanted.tag,
            buildargs={"BASE": wanted.base},
            network_mode="host",
            labels={"faultload.image": wanted.name},
            rm=True,
            forcerm=True,
            decode=True,
        )
        for step in steps:
            if "error" in step:
                raise TargetError(f"the image {wanted.tag} cannot be built: {step['error'].strip()}")
            if line := step.get("stream", "").strip():
                yield line
    except APIError as error:
        raise TargetError(f"the image {wanted.tag} cannot be built: {error.explanation or error}") from None
