"""Well-formed CSV → where its records and their fields lie, compiled by numba (RFC 4180).

Each byte is looked at once. What is found is sure: whole records of as many fields as are wanted,
each without a quote or in quotes that close at its end. The first record that is otherwise, or has
no end yet, ends the finding; what it is, is for others to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import boolean, int32, int64

from ingestion.readers.compiled import (
    READ_BYTES,
    Integer,
    compiled,
    first_byte,
    gathered,
    inlined,
    matches,
    typed,
    word_at,
)

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_LONGEST = 2**31 - 1  # bytes that offsets of 32 bits can count
_USED, _LINES = range(2)


@dataclass(frozen=True)
class Found:
    """The records at the beginning of a text, in order, without empty lines.

    `columns` are their fields as text, null where they are empty. `starts` and `ends` (int64) say
    where records lie, without the line's end; `lines` (int64) on which line of the text, from 0.
    `used` bytes and `used_lines` line ends belong to them.
    """

    columns: list[pa.Array]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    used: int
    used_lines: int


def find_records(text: bytes, separator: int, width: int) -> Found:
    """Look for records of `width` fields, which the byte `separator` is between."""
    data = np.frombuffer(text, np.uint8)
    # A record has a line's end, and `width` bytes at least.
    most = min(_lines(data), len(text) // width) if len(text) <= _LONGEST else 0
    begins, offsets = np.empty((width, most), np.int64), np.zeros((width, most + 1), np.int32)
    starts, ends, lines = (np.empty(most, np.int64) for _ in range(3))
    escaped, state = np.zeros(width, np.bool_), np.zeros(2, np.int64)
    count = _find(data, separator, begins, offsets, starts, ends, lines, escaped, state)
    if count < most:
        begins = np.ascontiguousarray(begins[:, :count])
        offsets = np.ascontiguousarray(offsets[:, : count + 1])
    there = np.diff(offsets) > 0
    columns = gathered([data], [0, count], begins, offsets, there)
    for index in np.flatnonzero(escaped).tolist():
        columns[index] = pc.replace_substring(columns[index], '""', '"')
    return Found(
        columns,
        starts[:count],
        ends[:count],
        lines[:count],
        int(state[_USED]),
        int(state[_LINES]),
    )


@typed(int64, READ_BYTES)
def _lines(data: Any) -> Integer:
    count = 0
    for at in range(len(data)):
        count += data[at] == _NEWLINE
    return count


@inlined
def _next(data: Any, at: Integer, first: Integer, second: Integer, third: Integer) -> Integer:
    """Where the next of three bytes is, or the end."""
    source, size = np.int64(data.ctypes.data), len(data)
    while at + 8 <= size:
        word = word_at(source + at)
        hits = matches(word, first) | matches(word, second) | matches(word, third)
        if hits:
            return at + first_byte(hits)
        at += 8
    while at < size and data[at] != first and data[at] != second and data[at] != third:
        at += 1
    return at


@compiled
def _empty(data: Any, at: Integer) -> Integer:
    """How many bytes an empty line has here; 0 when there is none."""
    if data[at] == _NEWLINE:
        return 1
    return 2 * (at + 1 < len(data) and data[at] == _RETURN and data[at + 1] == _NEWLINE)


@typed(
    int64, READ_BYTES, int64, int64[:, ::1], int32[:, ::1], int64[::1], int64[::1], int64[::1],
    boolean[::1], int64[::1],
)  # fmt: skip
def _find(
    data: Any, separator: Integer, begins: Any, offsets: Any, starts: Any, ends: Any, lines: Any,
    escaped: Any, state: Any,
) -> Integer:  # fmt: skip
    size, width = len(data), len(begins)
    at = row = line = 0
    while at < size:
        blank = _empty(data, at)
        if blank:
            at += blank
            line += 1
            state[_USED], state[_LINES] = at, line
            continue
        if row == len(starts):
            break
        start, first_line = at, line
        field = 0
        while field < width and at < size:
            if data[at] == _QUOTE:
                begin, behind = at + 1, np.int64(-1)
                at += 1
                while behind < 0:
                    at = _next(data, at, _QUOTE, _NEWLINE, _QUOTE)
                    if at >= size:
                        break
                    if data[at] == _NEWLINE:
                        line += 1
                        at += 1
                    elif at + 1 < size and data[at + 1] == _QUOTE:
                        escaped[field] = True
                        at += 2
                    else:
                        behind = at
                        at += 1
                if at + 1 < size and data[at] == _RETURN and data[at + 1] == _NEWLINE:
                    at += 1
            else:
                begin = at
                at = _next(data, at, separator, _NEWLINE, _QUOTE)
                behind = at
                if at < size and data[at] == _NEWLINE and at > begin and data[at - 1] == _RETURN:
                    behind -= 1
            if at >= size or data[at] != (separator if field < width - 1 else _NEWLINE):
                break
            begins[field, row] = begin
            offsets[field, row + 1] = offsets[field, row] + np.int32(behind - begin)
            at += 1
            field += 1
        if field < width:
            break
        line += 1
        starts[row], lines[row] = start, first_line
        ends[row] = at - 1 - (data[at - 2] == _RETURN)
        row += 1
        state[_USED], state[_LINES] = at, line
    return row
