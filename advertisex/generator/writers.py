"""Columns of codes → the bytes of a landing file, in any layout of semantics section 1.

A record is a concatenation of pieces, one a field, and every piece is made for a whole file at
once. That holds for JSON and CSV as well as for Avro, whose binary encoding also just lines the
fields of a record up (Avro 1.11 specification, "Binary Encoding" and "Object Container Files").
"""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import cramjam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from backports import zstd

from advertisex.generator import roster
from advertisex.generator.model import DAY, HOUR, Bools, Codes, Ints, Kind

Bytes = npt.NDArray[np.uint8]

TimeStyle = Literal[
    "iso_z", "iso_offset", "iso_space", "iso_nano", "epoch_s", "epoch_ms", "epoch_us",
    "micros", "millis", "seconds",
]  # fmt: skip
SEPARATORS = {"comma": b",", "semicolon": b";", "tab": b"\t", "pipe": b"|"}


@dataclass(frozen=True)
class Style:
    """How one file is written.

    `layout` is `lines`, `array`, `pretty` (concatenated, indented objects) or `joined`
    (concatenated without a break) for JSON, the separator's name for CSV, the codec for Avro.
    `names` renames fields, to an alias that the contracts ship.
    """

    format: Literal["json", "csv", "avro"]
    layout: str
    time: TimeStyle = "iso_z"
    names: Mapping[str, str] = field(default_factory=dict)
    compression: Literal["", "gzip", "zstd"] = ""
    has_bom: bool = False
    is_crlf: bool = False
    quotes_all: bool = False
    has_blank_lines: bool = False
    writes_nulls: bool = False
    writes_integers: bool = False  # user ids that are numbers, in JSON
    money: Literal["number", "text", "decimal"] = "number"
    targeting: Literal["record", "map", "text"] = "record"
    extras: Sequence[str] = ()

    @property
    def label(self) -> str:
        return f"{self.format}-{self.layout}"

    @property
    def ending(self) -> str:
        ending = {"csv": "csv", "avro": "avro"}.get(self.format)
        if ending is None:
            ending = "jsonl" if self.layout == "lines" else "json"
        elif self.layout == "tab":
            ending = "tsv"
        return ending + {"": "", "gzip": ".gz", "zstd": ".zst"}[self.compression]

    @property
    def newline(self) -> bytes:
        return b"\r\n" if self.is_crlf else b"\n"

    def name_of(self, field_name: str) -> str:
        return self.names.get(field_name, field_name)


# Values that take a field's place in a planted record.


@dataclass(frozen=True)
class Text:
    """A text; `None` leaves the field out (an empty field in CSV, null in Avro)."""

    value: str | None


@dataclass(frozen=True)
class Amount:
    """A number as written; JSON gets it without quotes."""

    value: str


@dataclass(frozen=True)
class At:
    """A time in milliseconds since 1970, in the file's own way of writing times."""

    milliseconds: int


@dataclass(frozen=True)
class Json:
    """A JSON value of any type; other formats have no way to say it."""

    value: bytes


@dataclass(frozen=True)
class Raw:
    """Bytes put into a JSON string, or down as a CSV field without any quoting."""

    value: bytes


Value = Text | Amount | At | Json | Raw


class NotWritableError(Exception):
    """The style has no way to write such a value."""


EXTRAS: Mapping[str, Sequence[Any]] = {
    "note": (None, "ok", "called back,\nno answer", 'said "later"', None, "tab\there; pipe|there"),
    "slot": ({"w": 300, "h": 250}, {"w": 728, "h": 90, "above_fold": True}, None),
    "viewable": (True, False, None),
    "sdk_version": ("4.1.0", "4.2.3", None),
    "consent": ("granted", "denied", None),
}


def targeting_of(code: int) -> dict[str, Any]:
    """The targeting behind a code: two segments and perhaps an age group."""
    segments = roster.SEGMENTS
    first = code % len(segments)
    age = roster.AGE_GROUPS[code // len(segments) % len(roster.AGE_GROUPS)]
    return {"segments": [segments[first], segments[(first + 3) % len(segments)]], "age_group": age}


def zigzag(value: int) -> bytes:
    """An Avro long: zigzag, then seven bits a byte, the lowest first."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def avro_text(value: bytes) -> bytes:
    return zigzag(len(value)) + value


# Arrays of bytes.


def binary(offsets: Ints, data: Bytes, present: Bools | None = None) -> Any:
    validity = None if present is None else pa.array(present).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def fixed(count: int, parts: Sequence[bytes | Bytes], present: Bools | None = None) -> Any:
    """One text of equal length a row: constants, and (count, width) arrays of bytes."""
    width = sum(len(part) if isinstance(part, bytes) else part.shape[1] for part in parts)
    out = np.empty((count, width), dtype=np.uint8)
    at = 0
    for part in parts:
        size = len(part) if isinstance(part, bytes) else part.shape[1]
        out[:, at : at + size] = (
            np.frombuffer(part, dtype=np.uint8) if isinstance(part, bytes) else part
        )
        at += size
    return binary(np.arange(count + 1, dtype=np.int64) * width, out.reshape(-1), present)


def joined(pieces: Sequence[Any]) -> Any:
    """The concatenation of the pieces in each row; null adds nothing."""
    # Constants come as scalars of the arrays' type.
    arrays = [pa.scalar(p, pa.binary()) if isinstance(p, bytes) else p for p in pieces]
    return pc.binary_join_element_wise(
        *arrays, pa.scalar(b"", pa.binary()), null_handling="replace", null_replacement=b""
    )


def digits(values: Codes, width: int) -> Bytes:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return ((values.astype(np.int64)[:, None] // powers) % 10 + 48).astype(np.uint8)


_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def hexadecimal(values: Codes) -> Bytes:
    raw = values.astype(">u8").view(np.uint8).reshape(-1, 8)
    return _HEX[np.stack([raw >> 4, raw & 15], axis=2).reshape(-1, 16)]


def varints(values: Ints) -> Any:
    """Avro longs, none of them negative."""
    rest = values.astype(np.uint64) << np.uint64(1)
    shifts = np.arange(0, 70, 7, dtype=np.uint64)
    groups = (rest[:, None] >> np.minimum(shifts, np.uint64(63))) & np.uint64(0x7F)
    groups[:, -1] = 0
    highest = 10 - np.argmax(groups[:, ::-1] != 0, axis=1)
    lengths = np.where(groups.any(axis=1), highest, 1)
    place = np.arange(10)[None, :]
    groups |= np.where(place < lengths[:, None] - 1, 0x80, 0).astype(np.uint64)
    data = groups.astype(np.uint8)[place < lengths[:, None]]
    return binary(np.r_[0, np.cumsum(lengths)], data)


def _iso_parts(times: Ints, between: bytes, offset: int, ending: bytes) -> list[bytes | Bytes]:
    local = times + offset
    days, day_index = np.unique(local // DAY, return_inverse=True)
    dates = np.frombuffer(
        "".join(np.datetime_as_string(days.astype("M8[D]")).tolist()).encode(), dtype=np.uint8
    ).reshape(-1, 10)
    clock = local % DAY
    seconds = clock // 1_000
    return [
        dates[day_index],
        between,
        digits(seconds // 3_600, 2),
        b":",
        digits(seconds // 60 % 60, 2),
        b":",
        digits(seconds % 60, 2),
        b".",
        digits(clock % 1_000, 3),
        ending,
    ]


def time_parts(times: Ints, style: TimeStyle) -> tuple[list[bytes | Bytes], bool]:
    """The times as text of one width, and whether JSON has to quote it."""
    if style == "iso_z":
        return _iso_parts(times, b"T", 0, b"Z"), True
    if style == "iso_offset":
        return _iso_parts(times, b"T", 2 * HOUR, b"+02:00"), True
    if style == "iso_space":
        return _iso_parts(times, b" ", 0, b""), True
    if style == "iso_nano":
        return _iso_parts(times, b"T", 0, b"000000Z"), True
    if style == "epoch_s":
        return [digits(times // 1_000, 10), b".", digits(times % 1_000, 3)], False
    if style == "epoch_ms":
        return [digits(times, 13)], False
    if style == "epoch_us":
        return [digits(times, 13), b"000"], False
    raise NotWritableError(style)


def time_text(milliseconds: int, style: TimeStyle) -> tuple[str, bool]:
    """One time, also one with fewer digits than those of the data."""
    if style.startswith("epoch"):
        factor = {"epoch_ms": 1, "epoch_us": 1_000}.get(style)
        if factor is not None:
            return str(milliseconds * factor), False
        return f"{milliseconds // 1_000}.{milliseconds % 1_000:03d}", False
    parts, is_quoted = time_parts(np.array([milliseconds]), style)
    return b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts).decode(), is_quoted


def money_text(amounts: Codes) -> Any:
    """Amounts in ten-thousandths as decimal text with four places, null when below 0."""
    present = amounts >= 0
    whole = pc.cast(pa.array(np.maximum(amounts, 0) // 10_000), pa.string()).cast(pa.binary())
    return pc.binary_join_element_wise(
        whole, fixed(len(amounts), [b".", digits(amounts % 10_000, 4)], present), pa.scalar(b"")
    )


class Encoder:
    """Turns columns into pieces for one style; remembers the vocabularies it has encoded."""

    def __init__(self, vocabularies: Mapping[str, Sequence[str | None]]) -> None:
        self.vocabularies = vocabularies
        self._encoded: dict[tuple[object, ...], Any] = {}

    def records(
        self,
        style: Style,
        fields: Mapping[str, Kind],
        columns: Mapping[str, Codes],
        planted: Sequence[tuple[int, str, Value]],
    ) -> Any:
        """One binary text a row.

        `fields` are what the file holds, in its order; a row without a column for one leaves it
        empty. `planted` values (row, field, value) take the place of what the columns hold.
        """
        count = len(columns["timestamp"])
        pieces: list[Any] = []
        for number, (name, kind) in enumerate(fields.items()):
            prefix, absent = self._around(style, name, number)
            column = columns.get(name)
            piece: Any = absent
            if column is not None:
                piece = self._piece(style, kind, column, prefix, absent)
            mine = [(row, value) for row, key, value in planted if key == name]
            if mine:
                tokens = [self._token(style, name, kind, value) for _, value in mine]
                texts = [absent if token is None else prefix + token for token in tokens]
                if number == 0 and style.format == "json":
                    # The first field opens the object: it says null rather than nothing.
                    texts = [text or prefix + b"null" for text in texts]
                index = np.arange(count)
                index[[row for row, _ in mine]] = count + np.arange(len(mine))
                base = piece if not isinstance(piece, bytes) else pa.array([piece] * count)
                piece = pa.concat_arrays([base, pa.array(texts, pa.binary())]).take(pa.array(index))
            pieces.append(piece)
        for number, name in enumerate(style.extras):
            prefix, absent = self._around(style, name, len(fields) + number)
            codes = columns["timestamp"] // 7 % len(EXTRAS[name])
            pieces.append(self._words(style, "extra:" + name, codes, prefix, absent))
        if style.format == "json":
            pieces.append(b"\n}" if style.layout == "pretty" else b"}")
        return joined(pieces)

    def supports(self, style: Style, name: str, kind: Kind, value: Value) -> bool:
        try:
            self._token(style, name, kind, value)
        except NotWritableError:
            return False
        return True

    @staticmethod
    def _around(style: Style, name: str, number: int) -> tuple[bytes, bytes]:
        """What stands before a field's value, and what stands for an absent one."""
        if style.format == "avro":
            return b"", b"\x00"
        if style.format == "csv":
            separator = SEPARATORS[style.layout] if number else b""
            return separator, separator
        opening = b"," if number else b"{"
        key = json.dumps(style.name_of(name)).encode()
        if style.layout == "pretty":
            prefix = opening + b"\n  " + key + b": "
        else:
            prefix = opening + key + b":"
        return prefix, prefix + b"null" if style.writes_nulls else b""

    def _piece(self, style: Style, kind: Kind, column: Codes, prefix: bytes, absent: bytes) -> Any:
        count = len(column)
        if kind.kind == "word":
            return self._words(style, kind.name, column, prefix, absent)
        if kind.kind == "time":
            return self._times(style, column, prefix)
        quote = b'"' if style.format == "json" or style.quotes_all else b""
        if kind.kind == "id":
            present = column != 0
            text = kind.name.encode()
            if style.format == "avro":
                opening = b"\x02" + zigzag(len(text) + 16) + text
                piece = fixed(count, [opening, hexadecimal(column)], present)
            else:
                parts: list[bytes | Bytes] = [prefix + quote + text, hexadecimal(column), quote]
                piece = fixed(count, parts, present)
        elif style.format == "avro":
            piece = self._avro_money(style, column)
        else:
            if style.format == "json" and style.money == "number":
                quote = b""
            piece = pc.binary_join_element_wise(
                *[pa.scalar(prefix + quote), money_text(column), pa.scalar(quote)],
                pa.scalar(b""),
            )
        return pc.fill_null(piece, absent) if absent else piece

    def _times(self, style: Style, times: Ints, prefix: bytes) -> Any:
        count = len(times)
        if style.format == "avro":
            if style.time == "micros":
                return joined([b"\x02", varints(times * 1_000)])
            if style.time in ("millis", "epoch_ms"):
                return joined([b"\x02", varints(times)])
            if style.time == "seconds":
                seconds = (times / 1_000).astype("<f8").view(np.uint8).reshape(-1, 8)
                return fixed(count, [b"\x02", seconds])
            parts, _ = time_parts(times, style.time)
            width = sum(len(p) if isinstance(p, bytes) else p.shape[1] for p in parts)
            return fixed(count, [b"\x02" + zigzag(width), *parts])
        parts, is_quoted = time_parts(times, style.time)
        has_quote = is_quoted if style.format == "json" else style.quotes_all
        quote = b'"' if has_quote else b""
        return fixed(count, [prefix + quote, *parts, quote])

    @staticmethod
    def _avro_money(style: Style, amounts: Codes) -> Any:
        present, count = amounts >= 0, len(amounts)
        if style.money == "number":
            doubles = (amounts / 10_000).astype("<f8").view(np.uint8).reshape(-1, 8)
            return fixed(count, [b"\x02", doubles], present)
        if style.money == "decimal":
            scaled = amounts.astype(">i8").view(np.uint8).reshape(-1, 8)
            return fixed(count, [b"\x02" + zigzag(8), scaled], present)
        text = money_text(amounts)
        lengths = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False)
        # Below 64 characters a length is one byte.
        head = fixed(count, [b"\x02", (2 * lengths).astype(np.uint8)[:, None]], present)
        return pc.binary_join_element_wise(head, text, pa.scalar(b""))

    def _words(
        self, style: Style, vocabulary: str, codes: Codes, prefix: bytes, absent: bytes
    ) -> Any:
        words = self._vocabulary(style, vocabulary)
        tokens = words.take(pa.array(codes.astype(np.int32), mask=codes < 0))
        piece = pc.binary_join_element_wise(
            pa.scalar(prefix, pa.binary()), tokens, pa.scalar(b"", pa.binary())
        )
        return pc.fill_null(piece, absent) if absent else piece

    def _vocabulary(self, style: Style, vocabulary: str) -> Any:
        if vocabulary == "targetings":
            variant: tuple[object, ...] = (style.targeting,)
        elif vocabulary == "users" and style.format == "json":
            variant = (style.writes_integers,)
        elif style.format == "csv":
            variant = (style.layout, style.quotes_all)
        else:
            variant = ()
        key = (vocabulary, style.format, *variant)
        if key not in self._encoded:
            if vocabulary == "targetings":
                values: Sequence[Any] = [
                    targeting_of(code) for code in range(len(self.vocabularies[vocabulary]))
                ]
            elif vocabulary.startswith("extra:"):
                values = EXTRAS[vocabulary.removeprefix("extra:")]
            else:
                values = self.vocabularies[vocabulary]
            is_number = vocabulary == "users" and style.writes_integers
            words = [None if v is None else self._word(style, v, is_number) for v in values]
            self._encoded[key] = pa.array(words, pa.binary())
        return self._encoded[key]

    @staticmethod
    def _word(style: Style, value: Any, is_number: bool) -> bytes:
        if style.format == "json":
            if is_number and value.isdigit():
                return str(value).encode()
            return json.dumps(value, ensure_ascii=False).encode()
        if style.format == "avro":
            if not isinstance(value, dict):
                return b"\x02" + avro_text(str(value).encode())
            if style.targeting == "text":
                return b"\x02" + avro_text(json.dumps(value).encode())
            age = value["age_group"]
            if style.targeting == "map":
                entries = {"segments": "|".join(value["segments"])}
                if age:
                    entries["age_group"] = age
                pairs = [avro_text(k.encode()) + avro_text(v.encode()) for k, v in entries.items()]
                return b"\x02" + zigzag(len(pairs)) + b"".join(pairs) + b"\x00"
            items = b"".join(avro_text(item.encode()) for item in value["segments"])
            end = b"\x00" if age is None else b"\x02" + avro_text(age.encode())
            return b"\x02" + zigzag(len(value["segments"])) + items + b"\x00" + end
        text = value if isinstance(value, str) else json.dumps(value)
        return csv_field(text, style)

    def _token(self, style: Style, name: str, kind: Kind, value: Value) -> bytes | None:
        """A planted value as the style writes it; raises `NotWritableError`."""
        if isinstance(value, Text) and value.value is None:
            return None
        if style.format == "avro":
            return self._avro_token(style, kind, value)
        is_json = style.format == "json"
        if isinstance(value, Json):
            if not is_json:
                raise NotWritableError(name)
            return value.value
        if isinstance(value, Raw):
            return b'"' + value.value + b'"' if is_json else value.value
        if isinstance(value, At):
            text, is_quoted = time_text(value.milliseconds, style.time)
            return (json.dumps(text) if is_json and is_quoted else text).encode()
        if isinstance(value, Amount):
            return value.value.encode() if is_json else csv_field(value.value, style)
        assert value.value is not None
        if is_json:
            return json.dumps(value.value, ensure_ascii=False).encode()
        return csv_field(value.value, style)

    def _avro_token(self, style: Style, kind: Kind, value: Value) -> bytes:
        if isinstance(value, At) and kind.kind == "time":
            times = np.array([value.milliseconds])
            token: bytes = self._times(style, times, b"")[0].as_py()
            return token
        if isinstance(value, Amount) and kind.kind == "money":
            if style.money == "number":
                return b"\x02" + struct.pack("<d", float(value.value))
            if style.money == "text":
                return b"\x02" + avro_text(value.value.encode())
            scaled = Decimal(value.value).scaleb(4)
            if not scaled.is_finite() or scaled != scaled.to_integral_value():
                raise NotWritableError(value.value)
            return b"\x02" + zigzag(8) + int(scaled).to_bytes(8, "big", signed=True)
        if isinstance(value, Text) and value.value is not None:
            text = avro_text(value.value.encode())
            if kind.kind == "time" and style.time == "micros":
                return b"\x04" + text
            if (
                kind.kind in ("id", "word")
                or (kind.kind == "time" and style.time.startswith("iso"))
                or (kind.kind == "money" and style.money == "text")
            ):
                return b"\x02" + text
        raise NotWritableError(str(value))


def csv_field(text: str, style: Style) -> bytes:
    special = SEPARATORS[style.layout].decode() + '"\r\n'
    if style.quotes_all or any(mark in text for mark in special):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


# Whole files.


def avro_schema(style: Style, stream: str, fields: Mapping[str, Kind]) -> dict[str, Any]:
    """The writer schema: every field may be null, for a planted record may lack any of them."""

    def type_of(kind: Kind) -> list[Any]:
        if kind.kind == "time":
            if style.time == "micros":
                micros = {"type": "long", "logicalType": "timestamp-micros"}
                return ["null", micros, "string"]
            if style.time == "millis":
                return ["null", {"type": "long", "logicalType": "timestamp-millis"}]
            plain = {"epoch_ms": "long", "seconds": "double"}.get(style.time, "string")
            return ["null", plain]
        if kind.kind == "money":
            decimal = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}
            types: Mapping[str, Any] = {"number": "double", "text": "string", "decimal": decimal}
            return ["null", types[style.money]]
        if kind.name == "targetings":
            record = {
                "type": "record",
                "name": "Targeting",
                "fields": [
                    {"name": "segments", "type": {"type": "array", "items": "string"}},
                    {"name": "age_group", "type": ["null", "string"]},
                ],
            }
            mapping = {"type": "map", "values": "string"}
            return ["null", {"record": record, "map": mapping, "text": "string"}[style.targeting]]
        return ["null", "string"]

    listed = [{"name": style.name_of(name), "type": type_of(k)} for name, k in fields.items()]
    listed += [{"name": name, "type": ["null", "string"]} for name in style.extras]
    return {"type": "record", "name": stream, "namespace": "advertisex", "fields": listed}


def _packed(data: bytes, codec: str) -> bytes:
    if codec == "deflate":
        deflate = zlib.compressobj(4, zlib.DEFLATED, -15)
        return deflate.compress(data) + deflate.flush()
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")
    if codec == "zstandard":
        return zstd.compress(data, level=3)
    if codec == "bzip2":
        return bz2.compress(data)
    if codec == "xz":
        return lzma.compress(data, preset=1)
    return data


def avro_file(
    records: Any, schema: Mapping[str, Any], codec: str, sync: bytes, fault: str, block: int = 2_000
) -> bytes:
    """An object container file; `fault` may add one `damaged` block or end in a `cut` one."""
    header = io.BytesIO()
    header.write(b"Obj\x01" + zigzag(2))
    for key, value in (("avro.codec", codec), ("avro.schema", json.dumps(schema))):
        header.write(avro_text(key.encode()) + avro_text(value.encode()))
    header.write(b"\x00" + sync)
    blocks = [header.getvalue()]
    for first in range(0, len(records), block):
        rows = records.slice(first, block)
        payload = _packed(b"".join(rows.to_pylist()), codec)
        blocks.append(zigzag(len(rows)) + zigzag(len(payload)) + payload + sync)
    lost = records.slice(0, 25)
    payload = _packed(b"".join(lost.to_pylist()), codec)
    head = zigzag(len(lost)) + zigzag(len(payload))
    if fault == "damaged":
        # No codec but null starts with this byte and ends in these: it cannot be unpacked.
        spoilt = b"\xff" * 8 + payload[8:-8] + b"\xff" * 8
        blocks.insert(2, head + spoilt + sync)
    elif fault == "cut":
        blocks.append(head + payload[: len(payload) // 2])
    return b"".join(blocks)


def json_file(records: Any, style: Style, tail: str) -> bytes:
    """Records in the style's layout; `tail` may leave a fault at the end: `cut` or `after`."""
    cut = b'{"timestamp":"20'
    out = [b"\xef\xbb\xbf"] if style.has_bom else []
    texts: list[bytes] = records.to_pylist()
    if style.layout == "array":
        out += [b"[\n", (b",\n").join(texts)]
        endings = {"": b"\n]\n", "cut": b",\n" + cut, "after": b"\n]\n-- end of export --\n"}
        out.append(endings[tail])
    else:
        break_between = b"" if style.layout == "joined" else style.newline
        out += [break_between.join(texts), break_between, cut if tail else b""]
    return b"".join(out)


def csv_file(records: Any, header: Sequence[str], style: Style, tail: str) -> bytes:
    """`tail` `quote` ends the file in a field whose quote never closes."""
    separator = SEPARATORS[style.layout]
    out = [b"\xef\xbb\xbf"] if style.has_bom else []
    out.append(separator.join(csv_field(name, style) for name in header))
    texts: list[bytes] = records.to_pylist()
    if style.has_blank_lines:
        texts[99::100] = [text + style.newline for text in texts[99::100]]
    out += [style.newline, style.newline.join(texts), style.newline]
    if tail:
        rest = separator.join([b"2025-01-01T00:00:00Z", b'"never closed', b""])
        out += [rest, style.newline, b"still inside", style.newline]
    return b"".join(out)


def compressed(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        packer = zlib.compressobj(3, zlib.DEFLATED, 31)  # a header without name and time
        return packer.compress(data) + packer.flush()
    if compression == "zstd":
        return zstd.compress(data, level=3)
    return data


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]], separator: str) -> bytes:
    """A small CSV file, quoted where needed."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()
