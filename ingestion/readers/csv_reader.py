"""CSV files → batches of text columns, by RFC 4180 (semantics section 1).

Records and fields of well-formed text are found with numpy over whole pieces. A piece that holds
a stray quote is gone through field by field, because there a quote no longer pairs with the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ingestion.readers.batch import (
    RAW_LIMIT,
    Batch,
    Layout,
    Offsets,
    cut,
    fault_batch,
    positions_of,
    slices,
    whole,
)
from ingestion.readers.text import TextReader

SEPARATORS = b",;\t|"
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_LARGE = 128 * 2**10  # bytes that are as soon parsed by themselves


def read_csv(pieces: Iterator[bytes]) -> Iterator[Batch]:
    """Batches of text columns; `parsed` has to find those of the batches that are `unparsed`.

    Faults are records too; nothing raises but the pieces themselves.
    """
    return _CsvReader(pieces).batches()


def parsed(batch: Batch) -> Batch:
    """The same records, numbered by `file`, with their columns and the faults that these show.

    To begin costs Arrow's parser as much as hundreds of records do: so many small files are
    parsed together.
    """
    layout = replace(batch.layout, unparsed=False)
    assert layout.columns is not None and layout.separator is not None
    width, separator = len(layout.columns), ord(layout.separator)
    texts = batch.table["text"]
    pieces = texts.chunks if texts.nbytes >= _LARGE * texts.num_chunks else [whole(texts)]
    table = pa.concat_tables([_parsed(piece, width, separator) for piece in pieces])
    for name in ("line", "position"):
        table = table.add_column(0, name, batch.table[name])
    return Batch(table.append_column("file", batch.table["file"]), layout, batch.raw)


def _parsed(texts: pa.Array, width: int, separator: int) -> pa.Table:
    """The columns `fault`, `c0`, `c1`, … of texts, a record each."""
    _, offsets, content = texts.buffers()
    begin, end = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
    text = content[int(begin) : int(end)]
    table = _parse(text, width, separator)
    if table is None or table.num_rows != len(texts):
        examined = text.to_pybytes()
        table = _examined(examined, _records(examined, separator, ended=True), width)
        assert table.num_rows == len(texts)
    return table


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
            if (batch := self.plain_batch()) is not None:
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

    def plain_batch(self) -> Batch | None:
        """The buffer's whole lines, still unparsed; None where Arrow could read them otherwise."""
        end = self.buffer.rfind(b"\n") + 1
        text = self.buffer[:end]
        if not text or b"\0" in text:
            return None
        if b"\r" in text and text.count(b"\r") > text.count(b"\r\n"):
            return None  # a carriage return that ends no line
        codes = np.frombuffer(text, np.uint8)
        newlines = positions_of(text, _NEWLINE)
        if b'"' in text:
            quotes = positions_of(text, _QUOTE)
            if len(quotes) % 2 or not _quotes_pair(codes, quotes, self.separator, ended=True):
                return None
            lasts = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        else:
            lasts = newlines
        starts, ends = np.concatenate([[0], lasts[:-1] + 1]).astype(np.int64), lasts
        ends = ends - (codes[np.maximum(ends - 1, 0)] == _RETURN)
        filled = ends > starts
        if not filled.all():
            starts, ends = starts[filled], ends[filled]
        # Empty lines may follow a record: its text can reach to the next one's start.
        bounds = np.append(starts, len(text))
        texts = pa.Array.from_buffers(
            pa.large_binary(), len(starts), [None, pa.py_buffer(bounds), pa.py_buffer(text)]
        )
        table = pa.table({"fault": pa.nulls(len(starts), pa.string()), "text": texts})
        batch = self.numbered(table, text, starts, ends, newlines, unparsed=True)
        self.line += len(newlines)
        self.buffer = self.buffer[end:]
        return batch

    def numbered(
        self,
        table: pa.Table,
        text: bytes,
        starts: Offsets,
        ends: Offsets,
        newlines: Offsets,
        *,
        unparsed: bool = False,
    ) -> Batch:
        """The records of a table with their positions, and their lines in a text."""
        count = len(starts)
        if len(newlines) == count and not starts[:1].any():
            lines = np.arange(count, dtype=np.int64) + self.line
        else:
            lines = np.searchsorted(newlines, starts).astype(np.int64) + self.line
        positions = np.arange(count, dtype=np.int64) + self.position + 1
        self.position += count
        layout = Layout(self.header, separator=chr(self.separator), unparsed=unparsed)
        return Batch(
            table.add_column(0, "line", pa.array(lines)).add_column(
                0, "position", pa.array(positions)
            ),
            layout,
            slices(text, starts, ends),
        )

    def examined(self, found: _Records) -> Batch:
        table = _examined(self.buffer, found, len(self.header))
        newlines = positions_of(self.buffer[: found.used], _NEWLINE)
        return self.numbered(table, self.buffer, found.starts, found.ends, newlines)

    def rest(self, fault: str, *, position: int) -> Batch:
        """Everything that is left as one record."""
        total, kept = len(self.buffer), self.buffer[:RAW_LIMIT]
        for piece in self.pieces:
            total += len(piece)
            kept += piece[: max(0, RAW_LIMIT - len(kept))]
        return fault_batch(kept, fault, position=position, line=self.line, total=total)


def _parse(text: pa.Buffer, width: int, separator: int) -> pa.Table | None:
    """The columns `fault`, `c0`, `c1`, … of whole lines; None where Arrow finds a fault."""
    names, parsing, types = _options(width, separator)
    reading = csv.ReadOptions(column_names=names, block_size=text.size + 1, use_threads=False)
    try:
        # The reader of streams, because the other one waits for a thread of its own.
        table = csv.open_csv(pa.BufferReader(text), reading, parsing, types).read_all()
    except pa.ArrowInvalid:  # another number of fields, or not UTF-8
        return None
    return table.add_column(0, "fault", pa.nulls(table.num_rows, pa.string()))


def _examined(buffer: bytes, found: _Records, width: int) -> pa.Table:
    """The columns `fault`, `c0`, `c1`, … of records, with nulls where there is a fault."""
    faults = _faults(buffer, found, width)
    starts, ends = found.fields
    if faults is None:
        columns = _columns(buffer, (starts, ends), width, len(found.starts))
        faults = pa.nulls(len(found.starts), pa.string())
    else:
        good = faults.is_null().to_numpy(zero_copy_only=False)
        of_good = np.repeat(good, np.diff(found.first))
        columns = _columns(buffer, (starts[of_good], ends[of_good]), width, int(good.sum()))
        where = pa.array(np.cumsum(good) - 1, mask=~good)
        columns = [column.take(where) for column in columns]
    names = [f"c{index}" for index in range(width)]
    return pa.Table.from_arrays([faults, *columns], ["fault", *names])


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
def _options(width: int, separator: int) -> tuple[list[str], csv.ParseOptions, csv.ConvertOptions]:
    """Columns' names, and Arrow's options to read them as they are, empty ones as nulls."""
    names = [f"c{index}" for index in range(width)]
    types = dict.fromkeys(names, pa.string())
    return (
        names,
        csv.ParseOptions(delimiter=chr(separator), newlines_in_values=True),
        csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
    )


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
    try:
        text.decode()
    except UnicodeDecodeError:
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
