"""A text file's bytes as they come, with the line that the first of them stands on."""

from __future__ import annotations

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


class TextReader:
    """What the readers of text share: a buffer that grows as far as a record needs it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.buffer = b""
        self.ended = False
        self.position = 0
        self.line = 1  # of the buffer's first byte

    def begin(self) -> None:
        """Get the first bytes, without a byte-order mark."""
        self.more()
        while len(self.buffer) < len(_BOM) and self.more():
            pass
        if self.buffer.startswith(_BOM):
            self.drop(len(_BOM))

    def more(self) -> bool:
        """Add to the buffer, more of it the larger the buffer has grown."""
        wanted, gathered = max(1, len(self.buffer)), [self.buffer]
        grown = 0
        while grown < wanted:
            piece = next(self.pieces, b"")
            if not piece:
                self.ended = True
                break
            gathered.append(piece)
            grown += len(piece)
        self.buffer = b"".join(gathered)
        return grown > 0

    def drop(self, count: int) -> None:
        """Be done with the buffer's first bytes."""
        self.line += self.buffer.count(b"\n", 0, count)
        self.buffer = self.buffer[count:]
