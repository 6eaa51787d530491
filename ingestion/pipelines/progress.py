"""How far a load is: counted while it reads, said at a bounded rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_INTERVAL = 0.2  # seconds between two words about one file


@dataclass(frozen=True)
class Step:
    """Where a load is.

    `status` is `reading` while a file is under way, else what became of the file: `read`,
    `skipped` or `failed`. Of the file: `bytes` as stored, `records`, `seconds`. Of the load:
    `files_done` of `files`, `all_bytes` and `all_records` read so far, `all_seconds` since its
    start.
    """

    file: str
    stream: str | None
    status: str
    bytes: int
    records: int
    seconds: float
    files_done: int
    files: int
    all_bytes: int
    all_records: int
    all_seconds: float


Progress = Callable[[Step], None]


class Meter:
    """Counts files, bytes and records for a listener; without one it only counts."""

    def __init__(self, listener: Progress | None, files: int) -> None:
        self.listener = listener
        self.files = files
        self.files_done = 0
        self.bytes = 0
        self.records = 0
        self.began = self.file_began = self.said = time.perf_counter()

    def start(self) -> None:
        """A file begins."""
        self.file_began = time.perf_counter()

    def reading(self, file: object, stream: str | None, size: int, records: int) -> None:
        """So many stored bytes and records of the file were read."""
        if self.listener is None:
            return
        now = time.perf_counter()
        if now - self.said >= _INTERVAL:
            self._say(now, file, stream, "reading", size, records)

    def done(
        self, file: object, stream: str | None, status: str, size: int = 0, records: int = 0
    ) -> None:
        """The file is done with."""
        self.files_done += 1
        if self.listener is not None:
            self._say(time.perf_counter(), file, stream, status, size, records)
        self.bytes += size
        self.records += records
        self.start()

    def _say(
        self, now: float, file: object, stream: str | None, status: str, size: int, records: int
    ) -> None:
        self.said = now
        assert self.listener is not None
        self.listener(
            Step(
                str(file),
                stream,
                status,
                size,
                records,
                now - self.file_began,
                self.files_done,
                self.files,
                self.bytes + size,
                self.records + records,
                now - self.began,
            )
        )
