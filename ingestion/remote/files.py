"""A file behind a URL, streamed through the memory of three blocks; nothing is copied to disk."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, BinaryIO, Protocol

from ingestion.remote.errors import StorageError
from ingestion.storage import SMALL, Location

BLOCK = SMALL
_BLOCKS_AHEAD = 2


class Origin(Protocol):
    """The store that a file lies in. What goes wrong in it is a StorageError."""

    def path(self, key: str) -> PurePath: ...
    def size(self, key: str) -> int | None: ...
    def blocks(
        self, file: Remote, start: int, at_most: int | None = None
    ) -> Generator[bytes, None, None]:
        """The file's bytes from `start` on. Raises TooLarge beyond `at_most`."""
        ...


@dataclass(frozen=True)
class Remote(Location):
    """A file behind a URL. `uri` is the URL without secrets.

    `key` is its name in its store, `listed` its size in bytes and `version` what tells its content
    from an earlier one, as far as a listing said them. `ahead` is what reading ahead came to.
    """

    store: Origin = field(repr=False, compare=False)
    key: str = field(repr=False)
    listed: int | None = field(default=None, compare=False)
    version: str | None = field(default=None, repr=False, compare=False)
    ahead: bytes | StorageError | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> PurePath:
        return self.store.path(self.key)

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def small(self) -> int:
        if self.ahead is not None or (self.listed is not None and self.listed >= SMALL):
            return 0
        return SMALL if self.listed is None else self.listed + 1

    def size(self) -> int | None:
        if isinstance(self.ahead, bytes):
            return len(self.ahead)
        return self.listed if self.listed is not None else self.store.size(self.key)

    def open(self, start: int = 0) -> BinaryIO:
        if isinstance(self.ahead, StorageError):
            raise self.ahead
        if self.ahead is not None:
            return io.BytesIO(self.ahead[start:])
        return io.BufferedReader(Stream(self.store.blocks(self, start)))

    def fetched(self) -> Location:
        blocks = self.store.blocks(self, 0, at_most=SMALL)
        try:
            return replace(self, ahead=b"".join(blocks))
        except TooLarge as error:
            return replace(self, listed=error.size)
        except StorageError as error:
            return replace(self, ahead=error)
        finally:
            blocks.close()


class TooLarge(Exception):
    """A file is not small; `size` in bytes, None when that is not known."""

    def __init__(self, size: int | None) -> None:
        self.size = size


class Stream(io.RawIOBase):
    """Blocks as a file, of which a thread reads the next while the last are used."""

    def __init__(self, blocks: Generator[bytes, None, None]) -> None:
        self._blocks = blocks
        self._pool = ThreadPoolExecutor(1, "block")  # one: a generator runs in one thread a time
        self._left = memoryview(b"")
        self._coming: deque[Future[bytes]] = deque()
        for _ in range(_BLOCKS_AHEAD):
            self._ask()

    def _ask(self) -> None:
        self._coming.append(self._pool.submit(next, self._blocks, b""))

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._left:
            self._left = memoryview(self._coming.popleft().result())
            self._ask()
        size = min(len(target), len(self._left))
        target[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._blocks.close()
        super().close()
