"""JSON files → batches: an array, one object a line, or concatenated objects (semantics section 1).

Structure is found with numpy over whole pieces (quotes, brackets, depth); DuckDB says what is
valid JSON. Only the one place where a file goes wrong is looked at character by character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import duckdb
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ingestion.readers.batch import (
    DOCUMENTS,
    LINES,
    RAW_LIMIT,
    Batch,
    Offsets,
    RawOf,
    as_text,
    cut,
    fault_batch,
    positions_of,
    slices,
)
from ingestion.readers.text import TextReader

_SAMPLE_LINES = 1000
_SAMPLE_BYTES = 64 * 2**20
VALUE_LIMIT = 64 * 2**20
_SPACE = b" \t\n\r"
_QUOTE, _BACKSLASH, _NEWLINE, _RETURN, _COMMA = b'"\\\n\r,'
_OPEN, _CLOSE = b"[{", b"]}"

_FAULTS = """
select
    case
        when document is null then 'not UTF-8'
        when not json_valid(document) then 'not valid JSON'
        when not starts_with(ltrim(document, chr(32) || chr(9) || chr(10) || chr(13)), '{')
            then 'not a JSON object'
        -- An escaped NUL, unless the backslash is itself escaped.
        when contains(document, '\\u0000')
            and regexp_matches(document, '(^|[^\\\\])(\\\\\\\\)*\\\\u0000')
            then 'a NUL character'
    end as fault
from texts
"""


def read_json(pieces: Iterator[bytes], connection: duckdb.DuckDBPyConnection) -> Iterator[Batch]:
    """Batches of documents. Faults are records too; nothing raises but the pieces themselves."""
    return _JsonReader(pieces, connection).batches()


class _JsonReader(TextReader):
    def __init__(self, pieces: Iterator[bytes], connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(pieces)
        self.connection = connection
        self.begins_as_json = False

    def batches(self) -> Iterator[Batch]:
        self.begin()
        while not self.buffer.strip(_SPACE):
            self.drop(len(self.buffer))
            if not self.more():
                return
        blank = len(self.buffer) - len(self.buffer.lstrip(_SPACE))
        first = self.buffer[blank : blank + 1]
        self.begins_as_json = first in (b"[", b"{")
        if first == b"[":
            self.drop(blank + 1)
            yield from self.values(array=True)
        elif self.looks_like_lines():
            yield from self.lines()
        else:
            yield from self.values(array=False)

    # One object a line -----------------------------------------------------------------------

    def looks_like_lines(self) -> bool:
        """Whether half of the first 1,000 non-blank lines are whole JSON values."""
        while True:
            ends = positions_of(self.buffer, _NEWLINE)
            if self.ended or len(self.buffer) > _SAMPLE_BYTES:
                break
            if len(ends) >= _SAMPLE_LINES and self.filled_lines(ends) >= _SAMPLE_LINES:
                break
            self.more()
        whole = self.buffer if self.ended else self.buffer[: self.buffer.rfind(b"\n") + 1]
        lines = [line for line in whole.split(b"\n") if line.strip(_SPACE)][:_SAMPLE_LINES]
        if not lines:
            return False
        if _mostly_json(lines):
            return True
        faults = self.faults(pa.array(lines, pa.large_binary()))
        bad = sum(fault in ("not UTF-8", "not valid JSON") for fault in faults.to_pylist())
        return 2 * (len(lines) - bad) >= len(lines)

    def filled_lines(self, ends: Offsets) -> int:
        lengths = np.diff(ends, prepend=-1)
        if (lengths > 2).sum() >= 4 * _SAMPLE_LINES:
            return _SAMPLE_LINES
        return sum(1 for line in self.buffer.split(b"\n") if line.strip(_SPACE))

    def lines(self) -> Iterator[Batch]:
        while True:
            end = len(self.buffer) if self.ended else self.buffer.rfind(b"\n") + 1
            if end:
                yield from self.line_batch(self.buffer, end)
                self.buffer = self.buffer[end:]
            if self.ended:
                return
            self.more()

    def line_batch(self, text: bytes, end: int) -> Iterator[Batch]:
        """The lines of a text's first `end` bytes, behind which there is no line's end."""
        codes = np.frombuffer(text, np.uint8)
        newlines = positions_of(text, _NEWLINE)
        starts = np.concatenate([[0], newlines + 1]).astype(np.int64)
        ends = np.concatenate([newlines, [end]]).astype(np.int64)
        if starts[-1] == end:
            starts, ends = starts[:-1], ends[:-1]
        lines = np.arange(len(starts), dtype=np.int64) + self.line
        self.line += len(newlines)
        ends = ends - (codes[np.maximum(ends - 1, 0)] == _RETURN)
        if _IS_SPACE[codes[starts]].any():  # a line may be blank
            solid_starts, solid_ends = _trimmed(text, starts, ends)
            filled = solid_ends > solid_starts
            yield from self.batch(text, starts[filled], ends[filled], lines[filled])
            return
        # White space may follow a document: its text can reach to the next line's start.
        offsets = np.append(starts, end)
        documents = _texts(text, offsets)
        if documents is None:
            yield from self.batch(text, starts, ends, lines)
            return
        yield self.numbered(
            documents,
            pa.nulls(len(starts), pa.string()),
            lines,
            slices(text, starts, ends),
            unchecked=True,
        )

    # An array, or concatenated objects -------------------------------------------------------

    def values(self, *, array: bool) -> Iterator[Batch]:
        """Values until the first fault, which takes the rest of the file with it."""
        while True:
            found = _Values(self.buffer, array=array, ended=self.ended)
            if len(found.starts):
                lines = self.lines_of(found.starts)
                raws = cut(self.buffer, found.starts, found.ends)
                good = self.first_fault(raws)
                yield from self.batch(
                    self.buffer, found.starts[:good], found.ends[:good], lines[:good]
                )
                if good < len(found.starts):
                    start, end = int(found.starts[good]), int(found.ends[good])
                    whole = self.value_prefix(start, end)
                    if whole > start:
                        one = np.array([start], np.int64), np.array([whole], np.int64)
                        yield from self.batch(self.buffer, *one, lines[good : good + 1])
                        start = whole
                    yield self.rest(start, "not valid JSON")
                    return
            if found.fault is not None:
                yield self.rest(found.fault_at, found.fault)
                return
            if found.closed:
                yield from self.after_array(found.used)
                return
            self.drop(found.used)
            if self.ended:
                return
            if len(self.buffer) > VALUE_LIMIT:
                yield self.rest(0, "a value of more than 64 MiB, or one without an end")
                return
            self.more()

    def after_array(self, used: int) -> Iterator[Batch]:
        self.drop(used)
        while not self.buffer.strip(_SPACE):
            self.drop(len(self.buffer))
            if not self.more():
                return
        yield self.rest(0, "text after the array")

    def first_fault(self, raws: pa.Array) -> int:
        """How many of the values come before the first that takes the rest with it."""
        faults = self.faults(raws).to_pylist()
        for index, fault in enumerate(faults):
            if fault in ("not UTF-8", "not valid JSON"):
                mended = _mended(raws[index].as_py())
                if not self.valid(mended):
                    return index
        return len(faults)

    def value_prefix(self, start: int, end: int) -> int:
        """Where a whole JSON value that begins a faulty stretch ends; `start` when none does."""
        text = self.buffer[start:end]
        if text[:1] in (b"{", b"["):
            stop = _Values(text, array=False, ended=False)
            if len(stop.ends) and self.valid(_mended(text[: int(stop.ends[0])])):
                return start + int(stop.ends[0])
            return start
        return start + _scalar(text)

    def rest(self, start: int, fault: str) -> Batch:
        """Everything from the first non-blank byte at or after `start`, as one record."""
        while not self.buffer[start:].lstrip(_SPACE) and not self.ended:
            self.more()
        rest = self.buffer[start:].lstrip(_SPACE)
        line = self.line + self.buffer.count(b"\n", 0, len(self.buffer) - len(rest))
        total = len(rest)
        kept = rest[:RAW_LIMIT]
        for piece in self.pieces:
            total += len(piece)
            kept += piece[: max(0, RAW_LIMIT - len(kept))]
        if self.position == 0 and not self.begins_as_json and not _is_text(kept):
            return fault_batch(kept, "not JSON text", position=0, line=line, total=total)
        self.position += 1
        return fault_batch(kept, fault, position=self.position, line=line, total=total)

    # Both ------------------------------------------------------------------------------------

    def lines_of(self, starts: Offsets) -> Offsets:
        newlines = positions_of(self.buffer, _NEWLINE)
        return np.searchsorted(newlines, starts).astype(np.int64) + self.line

    def valid(self, text: str) -> bool:
        found = self.connection.execute("select json_valid(?)", [text]).fetchone()
        return bool(found and found[0])

    def faults(self, raws: pa.Array) -> pa.Array:
        return document_faults(as_text(raws)[0], self.connection)

    def batch(self, text: bytes, starts: Offsets, ends: Offsets, lines: Offsets) -> Iterator[Batch]:
        if not len(starts):
            return
        documents, _ = as_text(cut(text, starts, ends))
        faults = document_faults(documents, self.connection)
        yield self.numbered(documents, faults, lines, slices(text, starts, ends))

    def numbered(
        self,
        documents: pa.Array,
        faults: pa.Array,
        lines: Offsets,
        raw: RawOf,
        *,
        unchecked: bool = False,
    ) -> Batch:
        count = len(documents)
        table = pa.table(
            {
                "position": pa.array(np.arange(count, dtype=np.int64) + self.position + 1),
                "line": pa.array(lines),
                "fault": faults,
                "document": documents,
            }
        )
        self.position += count
        return Batch(table, LINES if unchecked else DOCUMENTS, raw)


def _mostly_json(lines: list[bytes]) -> bool:
    """Whether half of the lines are JSON beyond doubt; the rest of the rules is DuckDB's."""
    whole = 0
    for line in lines:
        try:
            orjson.loads(line)
        except ValueError:
            continue
        whole += b"\\" not in line and b"\0" not in line
        if 2 * whole >= len(lines):
            return True
    return False


def document_faults(documents: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """Why texts are no records: null where one is a JSON object that can be stored."""
    texts = pa.table({"document": documents})
    faults = connection.from_arrow(texts).query("texts", _FAULTS).to_arrow_table()["fault"]
    return faults.combine_chunks()


def _texts(buffer: bytes, offsets: Offsets) -> pa.Array | None:
    """The stretches between offsets as text, without a copy; None when they are not UTF-8."""
    texts = pa.Array.from_buffers(
        pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(buffer)]
    )
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return texts


class _Values:
    """The values in a buffer that begins between two of them, as far as they are whole.

    `starts` and `ends` enclose candidates: stretches that are one JSON value each unless there is
    a fault inside. `used` bytes are done with. `fault` says what is wrong with the structure
    itself, at `fault_at`; `closed` that the array's bracket was met, just before `used`.
    """

    def __init__(self, buffer: bytes, *, array: bool, ended: bool) -> None:
        self.starts = self.ends = np.empty(0, np.int64)
        self.used = 0
        self.fault: str | None = None
        self.fault_at = 0
        self.closed = False
        marks, depths = _structure(buffer)
        if array:
            self._array(buffer, marks, depths, ended)
        else:
            self._concatenated(buffer, marks, depths, ended)

    def _array(self, buffer: bytes, marks: Offsets, depths: Offsets, ended: bool) -> None:
        bytes_ = np.frombuffer(buffer, np.uint8)[marks]
        outside = np.flatnonzero(depths < 0)
        stop = int(outside[0]) if len(outside) else len(marks)
        commas = marks[:stop][(bytes_[:stop] == _COMMA) & (depths[:stop] == 0)]
        self.closed = stop < len(marks) and bytes_[stop] == _CLOSE[0]
        ends = commas
        last = int(marks[stop]) if stop < len(marks) else len(buffer)
        if stop < len(marks) or ended:
            ends = np.append(commas, last).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
        starts, ends = _trimmed(buffer, starts, ends)
        empty = np.flatnonzero(ends <= starts)
        final = len(ends) - 1
        complete = stop < len(marks) or ended
        # Nothing between two commas is a fault; nothing before the end is a trailing comma,
        # unless it is all there is of an array that has no values but a comma.
        faulty = [int(index) for index in empty if not (complete and index == final)]
        if faulty:
            first = faulty[0]
            self.starts, self.ends = starts[:first], ends[:first]
            self.fault, self.fault_at = "a comma without a value", int(ends[first])
            return
        self.used = int(commas[-1]) + 1 if len(commas) else 0
        if complete and len(empty):
            starts, ends = starts[:final], ends[:final]
        self.starts, self.ends = starts, ends
        if self.closed:
            self.used = last + 1
        elif stop < len(marks):
            self.fault, self.fault_at = "a bracket too many", last
        elif ended:
            self.fault, self.fault_at = "the array's ] is missing", len(buffer)

    def _concatenated(self, buffer: bytes, marks: Offsets, depths: Offsets, ended: bool) -> None:
        outside = np.flatnonzero(depths < 0)
        stop = int(outside[0]) if len(outside) else len(marks)
        steps = _STEP[np.frombuffer(buffer, np.uint8)[marks[:stop]]]
        starts = marks[:stop][(steps == 1) & (depths[:stop] == 1)]
        ends = marks[:stop][(steps == -1) & (depths[:stop] == 0)] + 1
        whole = len(ends)
        broken_off = whole < len(starts)
        if broken_off:
            limit = int(starts[whole])
        else:
            limit = int(marks[stop]) if stop < len(marks) else len(buffer)
        gap_starts, gap_ends = _trimmed(
            buffer,
            np.concatenate([[0], ends]).astype(np.int64),
            np.append(starts[:whole], limit).astype(np.int64),
        )
        self.starts, self.ends = starts[:whole], ends
        self.used = int(ends[-1]) if whole else 0
        filled = np.flatnonzero(gap_ends > gap_starts)
        may_go_on = limit == len(buffer) and not ended and len(buffer) < RAW_LIMIT
        if len(filled) and may_go_on and filled[-1] == whole:
            filled = filled[:-1]
        elif limit > self.used:
            self.used = limit
        if len(filled) and not self._between(buffer, gap_starts[filled], gap_ends[filled]):
            return
        if stop < len(marks):
            self.fault, self.fault_at = "a bracket too many", int(marks[stop])
        elif ended and broken_off:
            self.fault, self.fault_at = "the file ends inside a value", int(starts[whole])

    def _between(self, buffer: bytes, gap_starts: Offsets, gap_ends: Offsets) -> bool:
        """Add the words, numbers and strings that stand between the objects, up to a fault."""
        found: list[tuple[int, int]] = []
        for gap_start, gap_end in zip(gap_starts.tolist(), gap_ends.tolist(), strict=True):
            start = gap_start
            while start < gap_end:
                size = _scalar(buffer[start:gap_end])
                if not size:
                    self.fault, self.fault_at = "not valid JSON", start
                    break
                found.append((start, start + size))
                rest = buffer[start + size : gap_end]
                start += size + len(rest) - len(rest.lstrip(_SPACE))
            if self.fault is not None:
                before = self.starts < self.fault_at
                self.starts, self.ends = self.starts[before], self.ends[before]
                break
        starts = np.concatenate([self.starts, [start for start, _ in found]]).astype(np.int64)
        ends = np.concatenate([self.ends, [end for _, end in found]]).astype(np.int64)
        order = np.argsort(starts)
        self.starts, self.ends = starts[order], ends[order]
        return self.fault is None


def _structure(buffer: bytes) -> tuple[Offsets, Offsets]:
    """Positions of brackets and commas outside strings, and the depth after each of them."""
    codes = np.frombuffer(buffer, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if b"\\" in buffer:
        quotes = quotes[~_escaped(codes, quotes)]
    marks = np.flatnonzero(_IS_MARK[codes])
    outside = np.searchsorted(quotes, marks) % 2 == 0
    marks = marks[outside]
    return marks.astype(np.int64), np.cumsum(_STEP[codes[marks]], dtype=np.int64)


_IS_MARK = np.zeros(256, np.bool_)
_IS_MARK[list(_OPEN + _CLOSE + b",")] = True
_STEP = np.zeros(256, np.int8)
_STEP[list(_OPEN)] = 1
_STEP[list(_CLOSE)] = -1


def _escaped(codes: npt.NDArray[np.uint8], quotes: Offsets) -> npt.NDArray[np.bool_]:
    """Which quotes stand behind an odd number of backslashes."""
    slashes = np.flatnonzero(codes == _BACKSLASH)
    first = np.ones(len(slashes), np.bool_)
    first[1:] = np.diff(slashes) != 1
    run_start = slashes[np.maximum.accumulate(np.where(first, np.arange(len(slashes)), 0))]
    before = np.searchsorted(slashes, quotes) - 1
    behind = (before >= 0) & (slashes[np.maximum(before, 0)] == quotes - 1)
    length = quotes - run_start[np.maximum(before, 0)]
    odd: npt.NDArray[np.bool_] = behind & (length % 2 == 1)
    return odd


def _trimmed(buffer: bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets]:
    """The stretches without the JSON white space at their two ends."""
    if not buffer:
        return starts, np.maximum(starts, ends)
    codes = np.frombuffer(buffer, np.uint8)
    solid = np.flatnonzero(~_IS_SPACE[codes])
    if not len(solid):
        return starts, starts
    first = np.searchsorted(solid, starts)
    last = np.searchsorted(solid, ends) - 1
    filled = last >= first
    begin = np.where(filled, solid[np.minimum(first, len(solid) - 1)], starts)
    stop = np.where(filled, solid[np.maximum(last, 0)] + 1, begin)
    return begin.astype(np.int64), stop.astype(np.int64)


_IS_SPACE = np.zeros(256, np.bool_)
_IS_SPACE[list(_SPACE)] = True


def _mended(raw: bytes) -> str:
    """The text with what is only bad inside a string made good, to tell it from bad structure."""
    return _STRING.sub(
        lambda string: _BAD_IN_STRING.sub(
            lambda bad: bad.group() if bad.group(1) else "?", string.group()
        ),
        raw.decode(errors="replace"),
    )


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Control characters and surrogate escapes; other escapes are met, to be passed over whole.
_BAD_IN_STRING = re.compile(r"[\x00-\x1f]|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|(\\[^\x00-\x1f])")


def _is_text(raw: bytes) -> bool:
    head = raw[: 64 * 1024]
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and len(raw) > len(head)
    return True


def _scalar(text: bytes) -> int:
    """The length of the JSON string, number or word at the start of a text, 0 when none is."""
    try:
        decoded = text.decode("latin-1")
        return json.JSONDecoder(strict=False).raw_decode(decoded)[1]
    except (ValueError, RecursionError):
        return 0
