"""A file's bytes: hashed as stored, unpacked by their magic bytes, read once and in pieces."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Protocol

from backports import zstd

from ingestion.readers.batch import RAW_LIMIT
from ingestion.storage import Location

PIECE = 2**20
_STEP = 8 * 2**10  # packed bytes at a time, so that a little packed data cannot fill the memory
_GATHER = 64
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes) -> bytes: ...


class Source:
    """One pass over a file.

    Iterate `pieces()` to the end; then `size` and `content_hash` (SHA-256 of the stored bytes)
    are known, and `damage` is what could not be unpacked (None when all could): its bytes, which
    may be none when the file was cut short, and of many MiB are the first. `damaged` is their
    number.

    Raises OSError as the file system does.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.size = 0
        self.damage: bytes | None = None
        self.damaged = 0
        self._digest = hashlib.sha256()
        self._held: bytes | None = None

    @property
    def content_hash(self) -> str:
        return self._digest.hexdigest()

    def hash_ahead(self) -> str:
        """The content's hash before `pieces()`, for which a file of one piece stays in memory."""
        stored = self.stored()
        first = next(stored, b"")
        is_small = next(stored, None) is None
        for _ in stored:
            pass
        found = self.content_hash
        if is_small:
            self._held = first
        else:
            self.size, self._digest = 0, hashlib.sha256()
        return found

    def pieces(self) -> Iterator[bytes]:
        """The unpacked bytes, in pieces of a few MiB, none empty."""
        stored = self.stored()
        first = next(stored, b"")
        packed = first.startswith((GZIP, ZSTD))
        if not packed:
            if first:
                yield first
            yield from stored
            return
        gathered: list[bytes] = []
        for piece in self._unpacked(first, stored, is_zstd=first.startswith(ZSTD)):
            gathered.append(piece)
            if len(gathered) >= _GATHER or len(piece) >= PIECE:
                yield b"".join(gathered)
                gathered.clear()
        if gathered:
            yield b"".join(gathered)
        for piece in stored:  # what follows damage belongs to it, and to the hash
            self._damaged(piece)

    def _damaged(self, content: bytes) -> None:
        self.damaged += len(content)
        self.damage = (self.damage or b"") + content[: max(0, RAW_LIMIT - len(self.damage or b""))]

    def stored(self) -> Iterator[bytes]:
        """The bytes as they are in the file."""
        if self._held is not None:  # counted and hashed when it was read
            if self._held:
                yield self._held
            return
        with self.path.open() as file:
            while piece := file.read(PIECE):
                self.size += len(piece)
                self._digest.update(piece)
                yield piece

    def _unpacked(
        self, pending: bytes, stored: Iterator[bytes], *, is_zstd: bool
    ) -> Iterator[bytes]:
        magic = ZSTD if is_zstd else GZIP
        unpacker = _unpacker(is_zstd)
        read, member = 0, 0  # stored bytes taken so far, and before the current member
        fresh = True  # nothing of the current member was taken yet
        barren = True  # nothing came out of it yet
        while pending or (pending := next(stored, b"")):
            if fresh and not pending.startswith(magic):
                pending += next(stored, b"")  # the magic bytes may lie across two pieces
            if fresh and not is_zstd and not pending.strip(b"\0"):
                read, pending = read + len(pending), b""  # gzip files may be padded with zeros
                continue
            if fresh and not pending.startswith(magic):
                self._damaged(pending)
                return
            step, pending = pending[:_STEP], pending[_STEP:]
            fresh = False
            try:
                unpacked = unpacker.decompress(step)
            except (zlib.error, zstd.ZstdError):
                whole, good = self._until_damage(member, read, step, is_zstd=is_zstd)
                if whole:
                    yield whole
                if barren and not whole:
                    self._damaged(self._stored_between(member, read) + step + pending)
                else:
                    self._damaged(step[good:] + pending)
                return
            read += len(step)
            if unpacked:
                barren = False
                yield unpacked
            if unpacker.eof:
                rest = unpacker.unused_data
                pending, read = rest + pending, read - len(rest)
                unpacker, fresh, member = _unpacker(is_zstd), True, read
                barren = True
        if not fresh:
            self._damaged(self._stored_between(member, read) if barren else b"")

    def _stored_between(self, start: int, end: int) -> bytes:
        with self.path.open(start) as file:
            return file.read(end - start)

    def _until_damage(
        self, member: int, read: int, step: bytes, *, is_zstd: bool
    ) -> tuple[bytes, int]:
        """What still unpacks of a failing step, byte by byte, and how many of its bytes did.

        An unpacker that failed has lost its state, so another one goes over the member again.
        """
        unpacker = _unpacker(is_zstd)
        with self.path.open(member) as file:
            for start in range(member, read, _STEP):
                unpacker.decompress(file.read(min(_STEP, read - start)))
        whole = bytearray()
        for index in range(len(step)):
            try:
                whole += unpacker.decompress(step[index : index + 1])
            except (zlib.error, zstd.ZstdError):
                return bytes(whole), index
        return bytes(whole), len(step)


def _unpacker(is_zstd: bool) -> _Decompressor:
    if is_zstd:
        return zstd.ZstdDecompressor()
    return zlib.decompressobj(wbits=31)
