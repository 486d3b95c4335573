"""Files and folders that faultload makes: their user's alone. The one place that decides how they are made.

Files are 0600 and folders 0700, or less where the umask takes more away. What a user made is left as it is.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from faultload.errors import Refused

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077


def make_folder(path: Path) -> Path:
    """Make a folder, and those above it that are missing. Raises OSError."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return missing[0] if missing else path


def opener(path: str, flags: int) -> int:
    """For `open(..., opener=opener)`: what is made is private."""
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def open_file(path: Path, mode: str, **options: Any) -> IO[Any]:
    """`open` for writing: a file that is made is private, also where its writer cannot be told so."""
    return open(path, mode, opener=opener, **options)


def write_text(path: Path, text: str, **options: Any) -> Path:
    """Write a whole file."""
    with open_file(path, "w", **options) as file:
        file.write(text)
    return path


def replace_text(path: Path, text: str) -> Path:
    """Write a whole file in UTF-8 or leave what was there: nobody finds half of it. Raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        write_text(temporary, text, encoding="utf-8", errors="backslashreplace")  # names may be any bytes
        return temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with open_file(path, "wb") as file:
        file.write(content)


def close_to_others(path: Path) -> None:
    """Take the rights of everybody else away from what another program made; nothing where it is not ours."""
    found = path.stat(follow_symlinks=False)
    if found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) & _OTHERS:
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def not_ours(path: Path) -> str | None:
    """Why nothing may be done because a file says so: others can have written it; None for our own or root's.

    Raises FileNotFoundError.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid not in (0, os.geteuid()):
        return f"it is a file of user {found.st_uid}"
    return "everybody can write to it" if found.st_mode & stat.S_IWOTH else None


def neither_file_nor_folder(folder: Path) -> Path | None:
    """A symbolic link, FIFO, socket or device anywhere in a folder.

    What is written to it would go elsewhere, and who reads it may wait for ever.
    """
    for found in folder.rglob("*"):  # follows no link
        with suppress(FileNotFoundError):  # a run under way writes files anew
            mode = found.stat(follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return found
    return None


def lock_file(path: Path) -> int:
    """A descriptor of a file to lock, made where it is missing, to be closed by the caller.

    In a folder that everybody writes to, such as /tmp, anything may have that name already. Raises Refused for
    what is no regular file of this very user: a symbolic link is not followed, a FIFO is not waited for. Raises
    OSError for what has nothing to do with the file, such as a full disk.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(path, flags, FILE_MODE)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            descriptor = os.open(
                path, flags & ~(os.O_RDWR | os.O_CREAT)
            )  # what is there can be locked nevertheless
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM):
            raise
        raise Refused(f"{path} cannot be locked ({error.strerror}): {_remedy(path)}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        os.close(descriptor)
        raise Refused(f"{path} is no file of this user alone: {_remedy(path)}")
    return descriptor


def _remedy(path: Path) -> str:
    """Whose it is, for whoever has to remove it."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return f"look at the folder {path.parent}"
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a folder"}
    return f"it is {kinds.get(stat.S_IFMT(found.st_mode), 'a file')} of user {found.st_uid}; remove it"
