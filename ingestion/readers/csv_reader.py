"""CSV files → batches of text columns, by RFC 4180 (semantics section 1).

Records and fields of well-formed text are found by a kernel, before much was read with numpy over
whole pieces. A piece that holds a stray quote is gone through field by field, because there a quote
no longer pairs with the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.readers.batch import (
    RAW_LIMIT,
    Batch,
    Layout,
    Offsets,
    RawOf,
    Seen,
    cut,
    fault_batch,
    positions_of,
    slices,
)
from ingestion.readers.text import TextReader

SEPARATORS = b",;\t|"
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
KERNEL_FROM = 8 * 2**20  # bytes in a process that are as soon read without the kernel


def read_csv(pieces: Iterator[bytes]) -> Iterator[Batch]:
    """Batches of text columns. Faults are records too; nothing raises but the pieces themselves."""
    return _CsvReader(pieces).batches()


@dataclass(frozen=True)
class _Records:
    """Whole records of a buffer. `fields` holds where each field starts and ends, quotes and all,
    record after record; `first` is the index of each record's first field, and one more."""

    starts: Offsets
    ends: Offsets
    fields: tuple[Offsets, Offsets]
    first: Offsets
    stray: Offsets  # indices of the records with a stray quote
    used: int
    open_quote: bool  # the record at `used` has a quote that is not closed in this buffer


class _CsvReader(TextReader):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__(pieces)
        self.separator = SEPARATORS[0]
        self.header: tuple[str, ...] = ()

    def batches(self) -> Iterator[Batch]:
        self.begin()
        fault = self.read_header()
        if fault is not None:
            yield self.rest(fault, position=0)
            return
        while True:
            if (batch := self.by_kernel()) is not None:
                if batch.table.num_rows:
                    yield batch
                if not self.more() and not self.buffer:
                    return
                continue
            records = _records(self.buffer, self.separator, ended=self.ended)
            if len(records.starts):
                yield self.examined(records)
            self.drop(records.used)
            if self.ended:
                if records.open_quote:
                    self.position += 1
                    yield self.rest("an open quote", position=self.position)
                return
            if records.open_quote and len(self.buffer) > RAW_LIMIT and not self.closes():
                self.position += 1
                yield self.rest("an open quote", position=self.position)
                return
            self.more()

    def closes(self) -> bool:
        """Look on for the quote that closes a field of many MiB."""
        while not self.ended:
            self.more()
        return not _records(self.buffer, self.separator, ended=True).open_quote

    def read_header(self) -> str | None:
        """Find the separator and the names of the columns; say why when there are none."""
        while True:
            while self.buffer[:1] == b"\n" or self.buffer[:2] == b"\r\n":
                self.drop(1 if self.buffer[:1] == b"\n" else 2)
            end = _record_end(self.buffer)
            if end is not None or self.ended:
                break
            if len(self.buffer) > RAW_LIMIT:
                return "no CSV header"
            self.more()
        raw = self.buffer if end is None else self.buffer[:end]
        found = _header(raw, ended=end is not None)
        if isinstance(found, str):
            return found
        self.separator, self.header = found
        self.drop(len(raw))
        return None

    def by_kernel(self) -> Batch | None:
        """The records that the buffer begins with; None where the kernel is sure of none."""
        kernel = _kernel() if _seen.bytes >= KERNEL_FROM else None
        if kernel is None or b"\0" in self.buffer:
            return None
        found = kernel.find_records(self.buffer, self.separator, len(self.header))
        if not found.used or not _is_utf8(self.buffer[: found.used]):
            return None
        batch = self.batch(
            pa.nulls(len(found.starts), pa.string()),
            found.columns,
            found.lines,
            slices(self.buffer, found.starts, found.ends),
        )
        self.line += found.used_lines
        self.buffer = self.buffer[found.used :]
        return batch

    def examined(self, found: _Records) -> Batch:
        """Records with their faults; the columns of those are null."""
        _seen.bytes += found.used
        width = len(self.header)
        faults = _faults(self.buffer, found, width)
        starts, ends = found.fields
        if faults is None:
            columns = _columns(self.buffer, (starts, ends), width, len(found.starts))
            faults = pa.nulls(len(found.starts), pa.string())
        else:
            good = faults.is_null().to_numpy(zero_copy_only=False)
            of_good = np.repeat(good, np.diff(found.first))
            fields = starts[of_good], ends[of_good]
            columns = _columns(self.buffer, fields, width, int(good.sum()))
            where = pa.array(np.cumsum(good) - 1, mask=~good)
            columns = [column.take(where) for column in columns]
        newlines = positions_of(self.buffer[: found.used], _NEWLINE)
        lines = np.searchsorted(newlines, found.starts).astype(np.int64)
        raw = slices(self.buffer, found.starts, found.ends)
        return self.batch(faults, columns, lines, raw)

    def batch(self, faults: pa.Array, columns: list[pa.Array], lines: Offsets, raw: RawOf) -> Batch:
        """Records with their positions; `lines` are from that of the buffer's first byte."""
        count = len(lines)
        positions = np.arange(count, dtype=np.int64) + self.position + 1
        self.position += count
        table = {"position": pa.array(positions), "line": pa.array(lines + self.line)}
        table |= {"fault": faults} | {f"c{index}": column for index, column in enumerate(columns)}
        return Batch(pa.table(table), Layout(self.header, separator=chr(self.separator)), raw)

    def rest(self, fault: str, *, position: int) -> Batch:
        """Everything that is left as one record."""
        total, kept = len(self.buffer), self.buffer[:RAW_LIMIT]
        for piece in self.pieces:
            total += len(piece)
            kept += piece[: max(0, RAW_LIMIT - len(kept))]
        return fault_batch(kept, fault, position=position, line=self.line, total=total)


_seen = Seen()  # without the kernel


@lru_cache(maxsize=1)
def _kernel() -> ModuleType | None:
    try:
        from ingestion.readers import csv_kernel
    except RuntimeError:  # numba finds no folder for what it has compiled
        return None
    return csv_kernel


def _faults(buffer: bytes, found: _Records, width: int) -> pa.Array | None:
    """Why records are malformed, null for those that are not; None when none is."""
    widths = np.diff(found.first)
    wrong = np.flatnonzero(widths != width)
    text = buffer[: found.used]
    nul, undecodable = b"\0" in text, not _is_utf8(text)
    if not (len(wrong) or len(found.stray) or nul or undecodable):
        return None
    faults: list[str | None] = [None] * len(widths)
    for record in wrong.tolist():
        faults[record] = f"{widths[record]} fields, the header has {width}"
    for record in found.stray.tolist():
        faults[record] = "a stray quote"
    if nul or undecodable:
        spans = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
        for record, (start, end) in enumerate(spans):
            raw = text[start:end]
            if b"\0" in raw:
                faults[record] = "a NUL character"
            if not _is_utf8(raw):
                faults[record] = "not UTF-8"
    return pa.array(faults, pa.string())


def _records(buffer: bytes, separator: int, *, ended: bool) -> _Records:
    """The whole records of a buffer that begins with one."""
    found = _at_once(buffer, separator, ended=ended)
    return found or _one_by_one(buffer, separator, ended=ended)


@lru_cache(maxsize=256)
def _header(raw: bytes, *, ended: bool) -> tuple[int, tuple[str, ...]] | str:
    """The separator and the names of the columns in a first record, or why there are none."""
    if not raw.strip():
        return "no CSV header"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "not text"
    if "\0" in text:
        return "not text"
    if not ended and raw.count(b'"') % 2:
        return "an open quote in the header"
    outside = re.sub(r'"[^"]*"', "", text)
    counts = [outside.count(chr(separator)) for separator in SEPARATORS]
    separator = SEPARATORS[counts.index(max(counts))]
    line = raw.removesuffix(b"\n").removesuffix(b"\r") + b"\n"
    found = _one_by_one(line, separator, ended=True)
    if len(found.stray) or found.open_quote:
        return "a stray quote in the header"
    names = _columns(line, found.fields, len(found.fields[0]), 1)
    return separator, tuple(column[0].as_py() for column in names)


def _columns(
    buffer: bytes, fields: tuple[Offsets, Offsets], width: int, count: int
) -> list[pa.Array]:
    """Fields, record after record, as one text array a column, without their quotes."""
    starts, ends = fields
    codes = np.frombuffer(buffer, np.uint8)
    quoted = (ends > starts) & (codes[np.minimum(starts, len(codes) - 1)] == _QUOTE)
    starts, ends = starts + quoted, ends - quoted
    columns = []
    for index in range(width):
        mine = slice(index, None, width)
        column = cut(buffer, starts[mine], ends[mine]).cast(pa.string())
        if quoted[mine].any():
            column = pc.if_else(
                pa.array(quoted[mine]), pc.replace_substring(column, '""', '"'), column
            )
        columns.append(column)
    return columns


def _is_utf8(text: bytes) -> bool:
    ends = pa.py_buffer(np.array([0, len(text)], np.int64))
    try:
        # As text.decode(), without making the text.
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(
            full=True
        )
    except pa.ArrowInvalid:
        return False
    return True


def _record_end(buffer: bytes) -> int | None:
    """Where the first line that does not end inside quotes ends, its newline included."""
    newline = buffer.find(b"\n")
    while newline >= 0:
        if buffer.count(b'"', 0, newline) % 2 == 0:
            return newline + 1
        newline = buffer.find(b"\n", newline + 1)
    return None


def _at_once(buffer: bytes, separator: int, *, ended: bool) -> _Records | None:
    """All records of a well-formed buffer; None when a quote stands where none may."""
    codes = np.frombuffer(buffer, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    marks = np.flatnonzero((codes == separator) | (codes == _NEWLINE))
    if len(quotes):
        if not _quotes_pair(codes, quotes, separator, ended=ended):
            return None
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    open_quote = len(quotes) % 2 == 1
    newlines = np.flatnonzero(codes[marks] == _NEWLINE)
    if ended and not open_quote and buffer and buffer[-1] != _NEWLINE:
        marks = np.append(marks, len(buffer))
        newlines = np.append(newlines, len(marks) - 1)
    if not len(newlines):
        return _no_records(open_quote)
    marks = marks[: newlines[-1] + 1]
    used = min(int(marks[-1]) + 1, len(buffer))
    starts = np.concatenate([[0], marks[:-1] + 1])
    ends = marks.copy()
    last = marks[newlines]
    returned = (last > 0) & (codes[np.maximum(last - 1, 0)] == _RETURN) & (last < len(buffer))
    ends[newlines] -= returned & (last > starts[newlines])
    first = np.concatenate([[0], newlines + 1])
    record_starts, record_ends = starts[first[:-1]], ends[newlines]
    empty = record_ends <= record_starts
    if empty.any():
        keep = np.repeat(~empty, np.diff(first))
        starts, ends = starts[keep], ends[keep]
        widths = np.diff(first)[~empty]
        first = np.concatenate([[0], np.cumsum(widths)])
        record_starts, record_ends = record_starts[~empty], record_ends[~empty]
    return _Records(
        record_starts,
        record_ends,
        (starts, ends),
        first,
        np.empty(0, np.int64),
        used,
        open_quote,
    )


def _no_records(open_quote: bool) -> _Records:
    none = np.empty(0, np.int64)
    return _Records(none, none, (none, none), np.zeros(1, np.int64), none, 0, open_quote)


def _quotes_pair(
    codes: npt.NDArray[np.uint8], quotes: Offsets, separator: int, *, ended: bool
) -> bool:
    """Whether each opening quote begins a field or follows a quote, and each closing one ends it.

    A closing quote at the very end of the buffer counts as well placed: what follows is not known.
    """
    opening, closing = quotes[0::2], quotes[1::2]
    before = codes[np.maximum(opening - 1, 0)]
    begins = (opening == 0) | (before == separator) | (before == _NEWLINE)
    begins[1:] |= opening[1:] == closing[: len(opening) - 1] + 1
    if not begins.all():
        return False
    padded = np.concatenate([codes, np.full(2, _NEWLINE, np.uint8)])
    after, second = padded[closing + 1], padded[closing + 2]
    finishes = (after == separator) | (after == _NEWLINE) | (after == _QUOTE)
    finishes |= (after == _RETURN) & (second == _NEWLINE) & (closing + 2 < len(codes) + (not ended))
    return bool(finishes.all())


def _one_by_one(buffer: bytes, separator: int, *, ended: bool) -> _Records:
    """The same records, field by field, with those that hold a stray quote marked."""
    mark = re.escape(bytes([separator]))
    field = re.compile(
        rb'(?:"((?:[^"]|"")*+)"(?!")([^' + mark + rb"\n]*)|()([^" + mark + rb"\n]*))"
        rb"(" + mark + rb"|\n|\Z)"
    )
    starts, ends, record_starts, record_ends, first, stray = [], [], [], [], [0], []
    at = used = 0
    odd = open_quote = False
    while at < len(buffer) or (used < at and ended):
        if buffer[at : at + 1] == b'"' and not _closed(buffer, at):
            open_quote = True
            break
        found = field.match(buffer, at)
        assert found is not None  # the second branch matches any field
        end, mark_text = found.start(5), found.group(5)
        if not mark_text and not ended:
            break
        quoted = found.group(1) is not None
        tail = found.group(2) if quoted else found.group(4)
        last = mark_text != bytes([separator])
        if mark_text == b"\n" and tail.endswith(b"\r"):
            tail, end = tail[:-1], end - 1
        odd |= bool(tail) if quoted else b'"' in tail
        starts.append(at)
        ends.append(end)
        at = found.end()
        if not last:
            continue
        if end == used and len(starts) == first[-1] + 1:
            del starts[-1], ends[-1]  # an empty line
        else:
            record_starts.append(used)
            record_ends.append(end)
            if odd:
                stray.append(len(record_starts) - 1)
            first.append(len(starts))
        used, odd = at, False
    del starts[first[-1] :], ends[first[-1] :]

    def array(values: list[int]) -> Offsets:
        return np.array(values, np.int64)

    return _Records(
        array(record_starts),
        array(record_ends),
        (array(starts), array(ends)),
        array(first),
        array(stray),
        used,
        open_quote,
    )


def _closed(buffer: bytes, at: int) -> bool:
    """Whether the quote at `at` has its closing one in the buffer."""
    close = buffer.find(b'"', at + 1)
    while close >= 0 and buffer[close + 1 : close + 2] == b'"':
        close = buffer.find(b'"', close + 2)
    return close >= 0
