"""Files that are whole or not there, on the disk before anybody relies on them, and for their owner only.

Each is written beside, brought to the disk, and then named; then the name is brought to the disk, too, or a loss of power takes it. All
of it blocks: on a loop, in a thread.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def write_new(path: Path, content: bytes) -> bool:
    """A file that was not there; what another process made meanwhile stays, and the answer is False. Raises OSError."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    made = False
    with _written(path, content) as temporary, contextlib.suppress(FileExistsError):
        path.hardlink_to(temporary)  # unlike a rename it replaces nothing
        made = True
    sync_directory(path.parent)
    return made


def replace(path: Path, content: bytes) -> None:
    """A file in the place of what was there. Raises OSError."""
    with _written(path, content) as temporary:
        temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """The names in a directory survive a loss of power."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """The content on the disk, under a name beside that is gone at the end."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
