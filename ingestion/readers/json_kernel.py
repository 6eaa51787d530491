"""JSON objects → where their members' values lie, compiled by numba (RFC 8259).

Each byte is looked at once. What is found is sure: an object of known names, each at most once,
whose strings, numbers and literals are as the grammar wants them. Two things are left to the
caller, who is told of them: whether escapes in a string and what is inside an array or an object
are right. Everything else is no finding at all, and for a whole parser to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import boolean, int32, int64, types, uint8, void

from ingestion.readers.compiled import (
    READ_BYTES,
    Integer,
    compiled,
    first_byte,
    gathered,
    inlined,
    specials,
    typed,
    word_at,
)

ABSENT, NULL, STRING, ESCAPED, NUMBER, LITERAL, NESTED = range(7)

_LONGEST_NUMBER = 40  # characters, the exponent two of them at most: no double is too small for it
_SPACE, _TAB, _NEWLINE, _RETURN = b" \t\n\r"
_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPEN, _CLOSE, _OPEN_ARRAY, _CLOSE_ARRAY = b"{}[]"
_MINUS, _PLUS, _DOT, _ZERO, _NINE, _E, _U = b"-+.09eu"
_WORDS = np.frombuffer(b"nulltruefalse", np.uint8)
_TEXT = np.ones(256, np.bool_)  # the bytes that a string goes on after
_TEXT[:_SPACE] = False
_TEXT[[_QUOTE, _BACKSLASH]] = False


@dataclass(frozen=True)
class Wanted:
    """A name's number, the kinds of values that are wanted of it, and strings with their quotes."""

    name: int
    kinds: Sequence[int]
    quoted: bool = True


@dataclass(frozen=True)
class Members:
    """Of each name and document: what the value is and where it lies.

    `kinds` (uint8), `begins` and `ends` (int64, places in the document's own chunk; a string's are
    inside its quotes) have a row a name and a column a document; they only count where `sure`.
    """

    chunks: list[npt.NDArray[np.uint8]]
    rows: list[int]  # where each chunk's documents begin, and the end
    kinds: npt.NDArray[np.uint8]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    sure: npt.NDArray[np.bool_]

    def texts(self, wanted: Sequence[Wanted]) -> list[pa.Array]:
        """Names' values as text, null for those of other kinds."""
        shape = len(wanted), len(self.sure)
        names = np.array([want.name for want in wanted], np.int64)
        kinds = np.zeros((len(wanted), NESTED + 1), np.bool_)
        for index, want in enumerate(wanted):
            kinds[index, list(want.kinds)] = True
        quoted = np.array([want.quoted for want in wanted], np.bool_)
        begins, there = np.empty(shape, np.int64), np.empty(shape, np.bool_)
        offsets = np.zeros((shape[0], shape[1] + 1), np.int32)
        found = self.kinds, self.begins, self.ends
        _spans(*found, names, kinds, quoted, begins, offsets, there)
        return gathered(self.chunks, self.rows, begins, offsets, there)


def find_members(documents: pa.ChunkedArray, names: Sequence[str]) -> Members:
    """Look for the members of some names (which need no escapes) in large_string documents.

    Raises ValueError where there is more text than offsets of 32 bits can count.
    """
    if documents.nbytes >= 2**31:
        raise ValueError("too many bytes at once")
    count = len(documents)
    ended = [name.encode() + b'"' for name in names]
    keys = np.frombuffer(b"".join(ended), np.uint8)
    places = np.cumsum([0, *map(len, ended)])
    shape = (len(names), count)
    kinds, sure = np.zeros(shape, np.uint8), np.zeros(count, np.bool_)
    begins, ends = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    chunks, rows = [], [0]
    for chunk in documents.chunks:
        _, offsets_buffer, text = chunk.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[chunk.offset :][: len(chunk) + 1]
        data = np.frombuffer(text or b"", np.uint8)
        _members(data, offsets, keys, places, rows[-1], kinds, begins, ends, sure)
        chunks.append(data)
        rows.append(rows[-1] + len(chunk))
    return Members(chunks, rows, kinds, begins, ends, sure)


_READ_PLACES = types.Array(int64, 1, "C", readonly=True)


@typed(
    void, uint8[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], boolean[:, ::1], boolean[::1],
    int64[:, ::1], int32[:, ::1], boolean[:, ::1],
)  # fmt: skip
def _spans(
    kinds: Any, begins: Any, ends: Any, names: Any, wanted: Any, quoted: Any, out_begins: Any,
    offsets: Any, there: Any,
) -> None:  # fmt: skip
    for index in range(len(names)):
        name = names[index]
        for row in range(kinds.shape[1]):
            kind = kinds[name, row]
            begin, end = begins[name, row], ends[name, row]
            if quoted[index] and kind in (STRING, ESCAPED):
                begin, end = begin - 1, end + 1
            there[index, row] = wanted[index, kind]
            size = np.int32(end - begin) if wanted[index, kind] else np.int32(0)
            out_begins[index, row] = begin
            offsets[index, row + 1] = offsets[index, row] + size


@inlined
def _blank(data: Any, at: Integer, end: Integer) -> Integer:
    while at < end and (
        data[at] == _SPACE or data[at] == _NEWLINE or data[at] == _RETURN or data[at] == _TAB
    ):
        at += 1
    return at


@compiled
def _escape(data: Any, at: Integer, end: Integer) -> Integer:
    """Behind a backslash and what it escapes; -1 for a NUL, or at the end."""
    if at + 1 >= end:
        return -1
    if data[at + 1] == _U:
        if at + 6 > end:
            return -1
        for digit in range(at + 2, at + 6):
            if data[digit] != _ZERO:
                return at + 2
        return -1
    return at + 2


@compiled
def _nested(data: Any, at: Integer, end: Integer) -> Integer:
    """Behind an array or an object; -1 when it has no end or a NUL."""
    depth = 0
    inside = False
    while at < end:
        byte = data[at]
        if byte == _BACKSLASH:
            at = _escape(data, at, end)
            if at < 0:
                return -1
            continue
        at += 1
        if byte == _QUOTE:
            inside = not inside
        elif not inside:
            if byte in (_OPEN, _OPEN_ARRAY):
                depth += 1
            elif byte in (_CLOSE, _CLOSE_ARRAY):
                depth -= 1
                if depth == 0:
                    return at
    return -1


@compiled
def _digits(data: Any, at: Integer, end: Integer) -> Integer:
    while at < end and _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@compiled
def _number(data: Any, begin: Integer, end: Integer) -> Integer:
    """Behind a number; -1 for what is none, or is very long."""
    at = begin + (data[begin] == _MINUS)
    behind = _digits(data, at, end)
    if behind == at or (data[at] == _ZERO and behind > at + 1):
        return -1
    at = behind
    if at < end and data[at] == _DOT:
        behind = _digits(data, at + 1, end)
        if behind == at + 1:
            return -1
        at = behind
    if at < end and data[at] | 0x20 == _E:
        at += 1
        if at < end and (data[at] == _PLUS or data[at] == _MINUS):
            at += 1
        behind = _digits(data, at, end)
        if not 1 <= behind - at <= 2:
            return -1
        at = behind
    return at if at - begin <= _LONGEST_NUMBER else -1


@inlined
def _is_word(
    data: Any, at: Integer, end: Integer, words: Any, begin: Integer, behind: Integer
) -> bool:
    size = behind - begin
    if at + size > end:
        return False
    index = 0
    if size >= 8:
        here, there = np.int64(data.ctypes.data) + at, np.int64(words.ctypes.data) + begin
        while index + 8 <= size:
            if word_at(here + index) != word_at(there + index):
                return False
            index += 8
        # The last eight, some of them once more.
        return bool(word_at(here + size - 8) == word_at(there + size - 8))
    while index < size and data[at + index] == words[begin + index]:
        index += 1
    return bool(index == size)


@typed(
    void, READ_BYTES, _READ_PLACES, READ_BYTES, int64[::1], int64, uint8[:, ::1], int64[:, ::1],
    int64[:, ::1], boolean[::1],
)  # fmt: skip
def _members(
    data: Any, offsets: Any, keys: Any, places: Any, first_row: Integer, kinds: Any, begins: Any,
    ends: Any, sure: Any,
) -> None:  # fmt: skip
    source = np.int64(data.ctypes.data)
    names = len(places) - 1
    for index in range(len(offsets) - 1):
        row = first_row + index
        end = offsets[index + 1]
        at = _blank(data, offsets[index], end)
        if at >= end or data[at] != _OPEN:
            continue
        at = _blank(data, at + 1, end)
        expected = 0
        more = not (at < end and data[at] == _CLOSE)
        while more:
            more = False
            if at >= end or data[at] != _QUOTE:
                at = -1
                break
            at += 1
            name = -1
            for step in range(names):
                other = expected + step
                if other >= names:
                    other -= names
                if _is_word(data, at, end, keys, places[other], places[other + 1]):
                    name = other
                    break
            if name < 0 or kinds[name, row] != ABSENT:
                at = -1
                break
            expected = name + 1
            at = _blank(data, at + places[name + 1] - places[name], end)
            if at >= end or data[at] != _COLON:
                at = -1
                break
            at = _blank(data, at + 1, end)
            if at >= end:
                at = -1
                break
            byte, begin = data[at], at
            if byte == _QUOTE:
                at += 1
                begin, kind = at, STRING
                while at + 8 <= end:
                    special = specials(word_at(source + at))
                    if special:
                        at += first_byte(special)
                        break
                    at += 8
                while at < end:
                    if _TEXT[data[at]]:
                        at += 1
                    elif data[at] == _BACKSLASH:
                        kind = ESCAPED
                        at = _escape(data, at, end)
                        if at < 0:
                            break
                    else:
                        break
                if at < 0 or at >= end or data[at] != _QUOTE:
                    at = -1
                    break
                behind = at
                at += 1
            else:
                if byte in (_OPEN, _OPEN_ARRAY):
                    kind = NESTED
                    at = _nested(data, at, end)
                elif byte == _MINUS or _ZERO <= byte <= _NINE:
                    kind = NUMBER
                    at = _number(data, at, end)
                elif _is_word(data, at, end, _WORDS, 0, 4):
                    kind = NULL
                    at += 4
                elif _is_word(data, at, end, _WORDS, 4, 8):
                    kind = LITERAL
                    at += 4
                elif _is_word(data, at, end, _WORDS, 8, 13):
                    kind = LITERAL
                    at += 5
                else:
                    at = -1
                if at < 0:
                    break
                behind = at
            kinds[name, row] = kind
            begins[name, row] = begin
            ends[name, row] = behind
            at = _blank(data, at, end)
            if at < end and data[at] == _COMMA:
                at = _blank(data, at + 1, end)
                more = True
        if at >= 0 and at < end and data[at] == _CLOSE:
            sure[row] = _blank(data, at + 1, end) == end
