"""Where a log file lies, and how its bytes are had: here a local file, in `remote` all else.

Discovery and readers know only locations. A load of local files must not pay for the libraries of
object stores, so `ingestion.remote` is imported when the first URL is met, and not before.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

SMALL = 8 * 2**20  # bytes up to which a remote file is read ahead as a whole
_AHEAD_FILES = 32
_AHEAD_BYTES = 64 * 2**20
_THREADS = 8
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")


@dataclass(frozen=True)
class Location:
    """A local file. `uri` is its absolute path, and as text its name in the warehouse.

    Its methods raise OSError, whose text says what is wrong.
    """

    uri: str

    def __str__(self) -> str:
        """The same, with `\\udc..` for each byte of a name that is not UTF-8."""
        return self.uri.encode(errors="backslashreplace").decode()

    @property
    def path(self) -> PurePath:
        """The folders it lies in and its name, which tell its stream and its format."""
        return PurePath(self.uri)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def small(self) -> int:
        """The bytes that `fetched` may take into memory, 0 when it takes none."""
        return 0

    def size(self) -> int | None:
        """Bytes; None when the server does not say."""
        return Path(self.uri).stat().st_size

    def open(self, start: int = 0) -> BinaryIO:
        """Its bytes from `start` on."""
        file = Path(self.uri).open("rb")  # noqa: SIM115 - whoever asks closes it
        file.seek(start)
        return file

    def fetched(self) -> Location:
        """The same, with the bytes of a small remote file in memory. Raises nothing."""
        return self


def local(name: str) -> Location:
    """The local file that has this name in the warehouse, whether or not it is there."""
    if os.path.lexists(name):
        return Location(name)
    return Location(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), name))


def is_url(text: str) -> bool:
    """Whether a path as the user gave it, or a file's name in the warehouse, is a URL."""
    return _URL.match(text) is not None


Item = TypeVar("Item")


def read_ahead(
    items: Iterable[Item],
    location: Callable[[Item], Location],
    replaced: Callable[[Item, Location], Item],
) -> Iterator[Item]:
    """The same items in the same order; small remote files come with their bytes in memory.

    A few threads fetch what comes next, at most 32 files and about 64 MiB of it, because a request
    for a small object costs more waiting than work. Local files pass as they are.
    """
    coming: deque[tuple[Item, Future[Location] | None, int]] = deque()
    source, taken, pool = iter(items), 0, None
    try:
        while True:
            while len(coming) < _AHEAD_FILES and taken < _AHEAD_BYTES:
                try:
                    item = next(source)
                except StopIteration:
                    break
                size, future = location(item).small, None
                if size:
                    pool = pool or ThreadPoolExecutor(_THREADS, "read-ahead")
                    future = pool.submit(location(item).fetched)
                coming.append((item, future, size))
                taken += size
            if not coming:
                return
            item, future, size = coming.popleft()
            yield replaced(item, future.result()) if future else item
            taken -= size
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
