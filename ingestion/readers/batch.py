"""What every reader hands on: records with their place in the file and their bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Offsets = npt.NDArray[np.int64]

RAW_LIMIT = 16 * 2**20  # bytes of a faulty record that are kept; what is cut off is said


@dataclass(frozen=True)
class Layout:
    """Where a batch keeps the values of its records.

    Either `columns` are the names of the text columns `c0`, `c1`, …, or the column `document`
    holds each record as a JSON object. `kinds` says what each column's text was, as DuckDB's
    `json_type` would (`JSON`: the text is a document, to be asked); without it all are strings.
    `exact_fractions` says that fractions are to be taken as written, and not to 15 significant
    digits. With `unchecked` the documents may be no JSON objects. `separator` is what stood
    between the columns.
    """

    columns: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    exact_fractions: bool = False
    unchecked: bool = False
    separator: str | None = None


@dataclass
class Seen:
    """The bytes that a reader has read in this process: its kernel, which takes a second or two to
    load, is for much."""

    bytes: int = 0


DOCUMENTS = Layout()
LINES = Layout(unchecked=True)

RawOf = Callable[[Sequence[int]], list[bytes]]


@dataclass(frozen=True)
class Batch:
    """Records in file order.

    `table` has `position` (int64, from 1; 0 for a whole file), `line` (int64, from 1, or null),
    `fault` (text: why it is malformed, null when it is not) and the values as `layout` says, null
    where there is a fault. `raw` gives the bytes of some records, by their number in the table,
    without the line's end.
    """

    table: pa.Table
    layout: Layout
    raw: RawOf


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def some(batch: Batch, which: pa.Array | pa.ChunkedArray) -> Batch:
    """Some of a batch's records, by a mask or by their numbers."""
    if pa.types.is_boolean(which.type):
        which = pc.indices_nonzero(which)
    numbers = which.to_pylist()
    return Batch(
        batch.table.take(which),
        batch.layout,
        lambda chosen: batch.raw([numbers[index] for index in chosen]),
    )


def fault_batch(
    raw: bytes, fault: str, *, position: int, line: int | None, total: int | None = None
) -> Batch:
    """One malformed record. `total` is its full size in bytes when `raw` is only its beginning."""
    raw, fault = shortened(raw, fault, total)
    table = pa.table(
        {
            "position": pa.array([position], pa.int64()),
            "line": pa.array([line], pa.int64()),
            "fault": pa.array([fault], pa.string()),
            "document": pa.array([None], pa.large_string()),
        }
    )
    return Batch(table, DOCUMENTS, lambda numbers: [raw for _ in numbers])


def slices(buffer: bytes, starts: Offsets, ends: Offsets) -> RawOf:
    """The bytes of some of the stretches `buffer[start:end]`, by their numbers."""
    return lambda numbers: [buffer[starts[number] : ends[number]] for number in numbers]


def shortened(raw: bytes, fault: str, total: int | None = None) -> tuple[bytes, str]:
    """What is kept of a faulty record of `total` bytes, and its fault, which says so if less."""
    size = len(raw) if total is None else total
    if size <= RAW_LIMIT:
        return raw, fault
    return raw[:RAW_LIMIT], f"{fault}; {size} bytes, of which the first are kept"


def kept_text(value: bytes) -> str:
    """Bytes as text; `base64:…` when they are not UTF-8 or hold a NUL (semantics section 2)."""
    text = _decoded(value)
    if text is None or "\0" in text:
        return "base64:" + base64.b64encode(value).decode()
    return text


def cut(buffer: bytes, starts: Offsets, ends: Offsets) -> pa.Array:
    """The slices `buffer[start:end]`, which must not overlap and be in order, as binary."""
    offsets = np.empty(2 * len(starts) + 1, np.int64)
    offsets[0:-1:2] = starts
    offsets[1::2] = ends
    offsets[-1] = ends[-1] if len(ends) else 0
    slices = pa.Array.from_buffers(
        pa.large_binary(), 2 * len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(buffer)]
    )
    return slices.take(pa.array(np.arange(0, 2 * len(starts), 2)))


def as_text(raw: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Binary values as text, null where they are not UTF-8, and a mask of those."""
    try:
        return raw.cast(pa.large_string()), np.zeros(len(raw), np.bool_)
    except pa.ArrowInvalid:
        texts = [_decoded(value) for value in raw.to_pylist()]
        return (
            pa.array(texts, pa.large_string()),
            np.fromiter((text is None for text in texts), np.bool_, len(texts)),
        )


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def positions_of(buffer: bytes, byte: int) -> Offsets:
    """Where the byte stands in the buffer, in order."""
    return np.flatnonzero(np.frombuffer(buffer, np.uint8) == byte).astype(np.int64)
