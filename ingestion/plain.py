"""The records that are beyond doubt, typed without the contract's SQL.

Most records of most logs are plain: their JSON has the fields that its neighbours have, their times
are written as `2024-06-09T12:34:56.123Z`, their amounts as `1.25`. Here numpy types such values a
column at a time. Values of the other types are few and repeat: each distinct one is judged once,
by the contract's SQL (`ingestion.checks`). Whatever is in doubt is left to that SQL whole, so no
rule is decided here: a value is plain only where its reading follows from section 1 of the
semantics page at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import checks
from ingestion.contract import Contract, Field, plain
from ingestion.readers.batch import Layout, whole

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

KERNEL_FROM = 50_000  # documents
_KNOWN = 50_000  # distinct values of a field that are remembered
_QUOTE, _COLON, _DOT, _SPACE, _ZERO, _NINE = b'":. 09'
_DAY_US = 86_400_000_000
_YEAR_2000_US = 946_684_800_000_000
_PLAIN = np.zeros(256, np.bool_)  # the bytes that plain amounts are made of
_PLAIN[list(b"0123456789.")] = True
_POWERS = np.array([10**exponent for exponent in range(19)], np.int64)


@dataclass(frozen=True)
class Typed:
    """A batch's records by column, as the raw table has them; only rows with `sure` count.

    `columns` holds the contract's fields and `extra`, as Arrow arrays of the batch's length.
    """

    columns: dict[str, pa.Array]
    sure: Mask


@dataclass(frozen=True)
class Texts:
    """A field's values as text, and the JSON type that they stand for; `JSON`: with its quotes."""

    array: pa.Array
    kind: str


@dataclass(frozen=True)
class _Spans:
    """Where each value of a text array lies in its bytes; `absent` are nulls and empty ones."""

    data: Bytes
    starts: Integers
    ends: Integers
    absent: Mask

    @property
    def lengths(self) -> Integers:
        return self.ends - self.starts

    def first(self) -> Bytes:
        return self.byte(self.starts)

    def last(self) -> Bytes:
        return self.byte(self.ends - 1)

    def byte(self, at: Integers) -> Bytes:
        if not len(self.data):
            return np.zeros(len(at), np.uint8)
        found: Bytes = self.data[np.clip(at, 0, len(self.data) - 1)]
        return found

    def inside_quotes(self) -> _Spans:
        """Without the quotes around what has them; an empty string is absent."""
        quoted = ~self.absent & (self.first() == _QUOTE) & (self.lengths >= 2)
        starts, ends = self.starts + quoted, self.ends - quoted
        return _Spans(self.data, starts, ends, self.absent | (starts == ends))


class Plain:
    """Types batches for loads at `load_time` (microseconds since 1970, UTC).

    The first `kernel_from` documents of all are left to the SQL, which judges them sooner than
    the kernel is loaded.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        load_time: int,
        kernel_from: int = KERNEL_FROM,
    ) -> None:
        self.connection = connection
        self.kernel_from = kernel_from
        self.latest = load_time + _DAY_US
        self.known: dict[tuple[Field, str, Layout], tuple[pa.Array, pa.Array, Mask]] = {}

    def typed(
        self, contract: Contract, layout: Layout, table: pa.Table, types: pa.Schema
    ) -> Typed | None:
        """The records of a batch without readers' faults, or None where none is plain.

        `types` are those of the raw table.
        """
        paths = [path for field in contract.fields for path in field.sources]
        if any(path.nested for path in paths):
            return None
        if layout.columns is None:
            found = self._of_documents(contract, table["document"])
        else:
            found = _of_columns(contract, layout, table)
        if found is None:
            return None
        texts, sure, more = found
        columns = {}
        for field in contract.fields:
            text = texts.get(field.name)
            if text is None:
                text = Texts(pa.nulls(table.num_rows, pa.string()), "VARCHAR")
            array, good = self._field(field, text, layout)
            columns[field.name] = array.cast(types.field(field.name).type)
            sure = sure & good
        columns["extra"] = self._extra(contract, layout, table, sure & more)
        return Typed(columns, sure)

    # Where the values are --------------------------------------------------------------------

    def _of_documents(
        self, contract: Contract, documents: pa.ChunkedArray
    ) -> tuple[dict[str, Texts], Mask, Mask] | None:
        self.kernel_from -= len(documents)
        if self.kernel_from > 0:
            return None
        try:
            from ingestion.documents import texts_of
        except RuntimeError:  # numba finds no folder for what it has compiled
            return None
        return texts_of(contract, documents, self.connection)

    # What they are ---------------------------------------------------------------------------

    def _field(self, field: Field, texts: Texts, layout: Layout) -> tuple[pa.Array, Mask]:
        """A field's values, and for which records they are sure."""
        spans = _spans(texts.array)
        if texts.kind == "JSON" and field.type != "json":
            spans = spans.inside_quotes()
        absent = spans.absent
        match field.type:
            case "string":
                good = (spans.first() > _SPACE) & (spans.last() > _SPACE)
                if texts.kind not in ("VARCHAR", "BIGINT"):
                    good[:] = False
                if field.name.endswith("_id"):
                    good &= spans.lengths <= checks.ID_LENGTH
                values = _without(texts.array, absent)
                sure = absent | good
            case "timestamp":
                found, good = _iso_utc(texts, spans) or _times(spans)
                good &= (found >= _YEAR_2000_US) & (found <= self.latest)
                values = pa.array(found, mask=~good).cast(pa.timestamp("us"))
                sure = good | absent
            case "amount":
                amounts = _short_amounts(texts, spans)
                if amounts is not None:
                    return amounts, ~(absent & field.required)
                found, good = _decimals(spans)
                values = _decimal_array(found, good)
                sure = good | absent
            case _:
                return self._distinct(field, texts, layout)
        if field.required:
            sure = sure & ~absent
        doubtful = np.flatnonzero(~sure & ~absent)
        if len(doubtful) and field.type != "string":
            # Other ways to write it: the value is what the contract's SQL makes of it.
            some = texts.array.take(pa.array(doubtful))
            other, fine = self._judged(field, Texts(some, texts.kind), layout)
            where = np.zeros(len(sure), np.bool_)
            where[doubtful] = True
            values = pc.replace_with_mask(values, pa.array(where), other.cast(values.type))
            sure[doubtful] = fine
        return values, sure

    def _distinct(self, field: Field, texts: Texts, layout: Layout) -> tuple[pa.Array, Mask]:
        """Values that repeat, each judged once."""
        encoded = texts.array.cast(pa.string()).dictionary_encode(null_encoding="encode")
        values = encoded.dictionary
        key = (
            field,
            texts.kind,
            replace(layout, columns=None if layout.columns is None else (), kinds=None),
        )
        if key in self.known:
            places = pc.index_in(values, value_set=self.known[key][0])
        else:
            places = pa.nulls(len(values), pa.int32())
        new = values.filter(places.is_null())
        if len(new):
            judged, fine = self._judged(field, Texts(new, texts.kind), layout)
            if key in self.known and len(self.known[key][0]) + len(new) <= _KNOWN:
                before = self.known[key]
                new = pa.concat_arrays([before[0], new])
                judged = pa.concat_arrays([before[1], judged])
                fine = np.concatenate([before[2], fine])
                self.known[key] = (new, judged, fine)
            elif len(new) == len(values):
                self.known[key] = (new, judged, fine)
            else:
                judged, fine = self._judged(field, Texts(values, texts.kind), layout)
                self.known[key] = (values, judged, fine)
            places = pc.index_in(values, value_set=self.known[key][0])
        _, judged, fine = self.known[key]
        rows = places.take(encoded.indices)
        return judged.take(rows), fine[rows.to_numpy()]

    def _judged(self, field: Field, texts: Texts, layout: Layout) -> tuple[pa.Array, Mask]:
        """What the contract's SQL makes of a field's values, and whether it accepts them."""
        alone = replace(field, sources=(plain(field.name),))
        contract = Contract("", "", (alone,), None, reference=True)
        column, exact = texts.array, layout.exact_fractions
        if layout.columns is None and texts.kind == "JSON":
            name = json.dumps({field.name: None}, ensure_ascii=False).removesuffix("null}")
            value = pc.coalesce(column.cast(pa.string()), "null")
            column = pc.binary_join_element_wise(pa.scalar(name), value, pa.scalar("}"), "")
            layout = Layout(exact_fractions=exact)
        else:
            layout = Layout((field.name,), (texts.kind,), exact_fractions=exact)
        batch = pa.table(
            {
                "record": pa.array(np.arange(len(column), dtype=np.int64)),
                "document" if layout.columns is None else "c0": column,
            }
        )
        (judgement,) = checks.judgements(contract, _none, layout)
        judged = self.connection.from_arrow(batch).query("batch", judgement.sql).to_arrow_table()
        fine = whole(judged["reason"]).is_null().to_numpy(zero_copy_only=False)
        assert judged.num_rows == len(column)
        return whole(judged[field.name]), fine

    def _extra(self, contract: Contract, layout: Layout, table: pa.Table, more: Mask) -> pa.Array:
        """The column `extra`, worked out where a record has something for it."""
        nothing = pa.nulls(table.num_rows, pa.string())
        if not more.any():
            return nothing
        sql = checks.extra_sql(contract, layout)
        some = table.filter(pa.array(more))
        found = self.connection.from_arrow(some).query("batch", sql).to_arrow_table()
        return pc.replace_with_mask(nothing, pa.array(more), whole(found["extra"]))


def _none(name: str) -> Contract:
    raise AssertionError(name)


def _of_columns(
    contract: Contract, layout: Layout, table: pa.Table
) -> tuple[dict[str, Texts], Mask, Mask]:
    """The texts by field, all sure, and which records have something in unknown columns."""
    as_compared = str if layout.kinds else checks.column_name
    places: dict[str, int] = {}
    for index, name in enumerate(layout.columns or ()):
        places.setdefault(as_compared(name), index)
    kinds = layout.kinds or ("VARCHAR",) * len(layout.columns or ())
    count = table.num_rows
    sure, more = np.ones(count, np.bool_), np.zeros(count, np.bool_)
    texts = {}
    for field in contract.fields:
        found = [
            places.pop(as_compared(path.text))
            for path in field.sources
            if as_compared(path.text) in places
        ]
        if found:
            texts[field.name] = Texts(whole(table[f"c{found[0]}"]), kinds[found[0]])
        for index in found[1:]:  # another name of the field: which counts is for the SQL to say
            sure &= _spans(whole(table[f"c{index}"])).absent
    for index in places.values():
        more |= ~_spans(whole(table[f"c{index}"])).absent
    return texts, sure, more


def _spans(array: pa.Array) -> _Spans:
    """The spans of a string, large_string or null array."""
    count = len(array)
    if pa.types.is_null(array.type) or not count or array.buffers()[2] is None:
        zeros = np.zeros(count, np.int64)
        return _Spans(np.empty(0, np.uint8), zeros, zeros, np.ones(count, np.bool_))
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets_buffer, data = array.buffers()
    stored = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
    offsets: Integers = stored[array.offset : array.offset + count + 1].astype(np.int64, copy=False)
    begin, end = int(offsets[0]), int(offsets[-1])
    if begin:
        offsets = offsets - begin
    starts, ends = offsets[:-1], offsets[1:]
    absent = starts == ends
    if array.null_count:
        absent = absent | array.is_null().to_numpy(zero_copy_only=False)
    return _Spans(np.frombuffer(data, np.uint8)[begin:end], starts, ends, absent)


def _without(array: pa.Array, absent: Mask) -> pa.Array:
    if array.null_count == int(absent.sum()):
        return array
    return pc.if_else(pa.array(absent), pa.scalar(None, array.type), array)


def _iso_utc(texts: Texts, spans: _Spans) -> tuple[Integers, Mask] | None:
    """Times that are all written `2024-06-09T12:34:56Z`, with 3, 6 or no fractional digits."""
    lengths = spans.lengths[~spans.absent]
    if texts.kind != "VARCHAR" or not len(lengths) or spans.absent.any():
        return None
    if not np.isin(lengths, (20, 24, 27)).all() or (spans.last() != ord("Z")).any():
        return None
    try:
        times = texts.array.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return None
    return times.view(pa.int64()).to_numpy(), np.ones(len(times), np.bool_)


def _short_amounts(texts: Texts, spans: _Spans) -> pa.Array | None:
    """Amounts that are all of digits and a point, and short enough to be exact everywhere."""
    if spans.lengths.max(initial=0) > 15 or not _PLAIN[spans.data].all():
        return None
    try:
        return _without(texts.array, spans.absent).cast(pa.decimal128(18, 6))
    except pa.ArrowInvalid:  # more than 6 decimals, two points, or none of digits
        return None


# Times ------------------------------------------------------------------------------------------

_ZONELESS, _UTC, _OFFSET = 0, 1, 6  # characters of the zone
_CLOCK = len("2024-06-09T12:34:56")


def _times(spans: _Spans) -> tuple[Integers, Mask]:
    """Microseconds since 1970, and where a value is plainly a time (section 1)."""
    lengths = spans.lengths
    found = np.zeros(len(lengths), np.int64)
    good = np.zeros(len(lengths), np.bool_)
    for length in np.unique(lengths[~spans.absent]).tolist():
        rows = np.flatnonzero((lengths == length) & ~spans.absent)
        if _CLOCK <= length <= _CLOCK + 10 + _OFFSET:
            text = _matrix(spans, rows, length)
            found[rows], good[rows] = _iso_times(text)
        elif length <= 16:
            numbers, whole = _unix_times(_matrix(spans, rows, length))
            found[rows], good[rows] = numbers, whole
    return found, good


def _matrix(spans: _Spans, rows: Integers, width: int) -> Bytes:
    """The first `width` bytes of some values, a row each."""
    windows = np.lib.stride_tricks.sliding_window_view(spans.data, width)
    found: Bytes = windows[spans.starts[rows]]
    return found


def _unix_times(text: Bytes) -> tuple[Integers, Mask]:
    digits = ((text >= _ZERO) & (text <= _NINE)).all(axis=1)
    number = _number(text)
    found = np.where(
        number < 10**11, number * 10**6, np.where(number < 10**14, number * 1000, number)
    )
    return found, digits & (number < 10**16)


def _iso_times(text: Bytes) -> tuple[Integers, Mask]:
    """Times of one length: date, `T` or a space, clock, fraction, zone."""
    length = text.shape[1]
    found = np.zeros(len(text), np.int64)
    good = np.zeros(len(text), np.bool_)
    last = text[:, -1]
    sign = text[:, -_OFFSET] if length > _CLOCK else last
    offset = ((sign == ord("+")) | (sign == ord("-"))) & (text[:, -3] == _COLON)
    for zone in (_ZONELESS, _UTC, _OFFSET):
        if zone == _UTC:
            mine = last == ord("Z")
        elif zone == _OFFSET:
            mine = offset
        else:
            mine = ~offset & (last >= _ZERO) & (last <= _NINE)
        digits = length - zone - _CLOCK - 1
        rows = np.flatnonzero(mine)
        if not len(rows) or digits == 0 or not -1 <= digits <= 9:
            continue
        some = text[rows]
        times, fine = _clock_times(some[:, :_CLOCK])
        if digits > 0:
            fraction = some[:, _CLOCK + 1 : _CLOCK + 1 + digits]
            fine &= (some[:, _CLOCK] == _DOT) & _digits(fraction)
            times += _number(fraction[:, :6]) * _POWERS[max(0, 6 - digits)]
        if zone == _OFFSET:
            hours, minutes = some[:, -5:-3], some[:, -2:]
            fine &= _digits(hours) & _digits(minutes)
            shift = _number(hours) * 60 + _number(minutes)
            fine &= (_number(hours) <= 23) & (_number(minutes) <= 59)
            times -= np.where(some[:, -_OFFSET] == ord("-"), -shift, shift) * 60_000_000
        found[rows], good[rows] = times, fine
    return found, good


def _clock_times(text: Bytes) -> tuple[Integers, Mask]:
    """`2024-06-09T12:34:56` as microseconds since 1970."""
    marks = {4: b"-", 7: b"-", 13: b":", 16: b":"}
    good = (text[:, 10] == ord("T")) | (text[:, 10] == _SPACE)
    for place, mark in marks.items():
        good &= text[:, place] == mark[0]
    parts = {}
    for name, (start, end) in {
        "year": (0, 4),
        "month": (5, 7),
        "day": (8, 10),
        "hour": (11, 13),
        "minute": (14, 16),
        "second": (17, 19),
    }.items():
        digits = text[:, start:end]
        good &= _digits(digits)
        parts[name] = _number(digits)
    good &= (parts["month"] >= 1) & (parts["month"] <= 12) & (parts["day"] >= 1)
    good &= (parts["hour"] <= 23) & (parts["minute"] <= 59) & (parts["second"] <= 59)
    months = (parts["year"] - 1970) * 12 + np.clip(parts["month"], 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]")
    good &= parts["day"] <= (following - first).astype(np.int64)
    days = first.astype(np.int64) + parts["day"] - 1
    seconds = days * 86_400 + parts["hour"] * 3600 + parts["minute"] * 60 + parts["second"]
    return seconds * 1_000_000, good


def _digits(text: Bytes) -> Mask:
    result: Mask = np.asarray(((text >= _ZERO) & (text <= _NINE)).all(axis=1))
    return result


def _number(digits: Bytes) -> Integers:
    """Rows of digits as numbers."""
    number = np.zeros(len(digits), np.int64)
    for place in range(digits.shape[1]):
        number *= 10
        number += digits[:, place]
        number -= _ZERO
    return number


# Amounts ----------------------------------------------------------------------------------------


def _decimals(spans: _Spans) -> tuple[Integers, Mask]:
    """Millionths, and where a value is plainly an amount: digits, at most one point, 15 digits."""
    lengths = spans.lengths
    found = np.zeros(len(lengths), np.int64)
    good = np.zeros(len(lengths), np.bool_)
    for length in np.unique(lengths[~spans.absent]).tolist():
        if length > 15:
            continue
        rows = np.flatnonzero((lengths == length) & ~spans.absent)
        text = _matrix(spans, rows, length)
        dots = text == _DOT
        place = np.where(dots.any(axis=1), dots.argmax(axis=1), length)
        for point in np.unique(place).tolist():
            mine = np.flatnonzero(place == point)
            whole, fraction = text[mine, :point], text[mine, point + 1 :]
            if point > 12 or fraction.shape[1] > 6 or length - (point < length) == 0:
                continue
            good[rows[mine]] = _digits(whole) & _digits(fraction)
            found[rows[mine]] = (
                _number(whole) * 1_000_000 + _number(fraction) * _POWERS[6 - fraction.shape[1]]
            )
    return found, good


def _decimal_array(millionths: Integers, good: Mask) -> pa.Array:
    """As decimal(18, 6), null where not good."""
    wide = np.zeros((len(millionths), 2), "<i8")
    wide[:, 0] = millionths
    valid = pa.py_buffer(np.packbits(good, bitorder="little"))
    return pa.Array.from_buffers(pa.decimal128(18, 6), len(millionths), [valid, pa.py_buffer(wide)])
