"""The ingestion rules, a second time: plain Python, one record after the other.

An independent reading of docs/semantics.md (sections 1 and 2, the identity of section 3) that
shares no line with ``ingestion/``: it does not even read the contracts' YAML, the table of
section 1 stands below. It is small and slow, and only there to be compared with the loader.

:func:`ingest` takes the bytes of one file and returns what the loader has to make of it.
"""

from __future__ import annotations

import base64
import bz2
import datetime as dt
import hashlib
import json
import lzma
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import cramjam
from backports import zstd

sys.setrecursionlimit(20_000)  # JSON and Avro values are read by recursion

ASCII_SPACE = " \t\n\r\v\f"
JSON_SPACE = b" \t\n\r"
EPOCH = dt.datetime(1970, 1, 1)
DAY = 24 * 3600 * 1_000_000


# --- section 1: the table -----------------------------------------------------------------------


@dataclass(frozen=True)
class Contract:
    """One stream's fields in order: (name, type), and how many of the first are required."""

    required: tuple[tuple[str, str], ...]
    optional: tuple[tuple[str, str], ...]
    usual_format: str
    identity: str | None

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        return self.required + self.optional


def _fields(text: str) -> tuple[tuple[str, str], ...]:
    types = {
        "timestamp": "time",
        "updated_at": "time",
        "website": "website",
        "currency": "currency",
        "price_cpm": "money",
        "revenue": "money",
        "bid_floor_cpm": "money",
        "bid_price_cpm": "money",
        "rate": "money",
        "daily_budget": "money",
        "pricing_model": "pricing_model",
        "width": "whole",
        "height": "whole",
        "start_date": "date",
        "end_date": "date",
        "targeting": "json",
    }
    return tuple(
        (name, types.get(name, "id" if name.endswith("_id") else "text")) for name in text.split()
    )


CONTRACTS = {
    "impressions": Contract(
        _fields("timestamp user_id ad_creative_id website"),
        _fields(
            "impression_id auction_id ad_campaign_id price_cpm currency user_agent country"
            " device_type"
        ),
        "json",
        "impression_id",
    ),
    "clicks": Contract(
        _fields("timestamp user_id ad_campaign_id"),
        _fields("click_id impression_id ad_creative_id website user_agent"),
        "csv",
        "click_id",
    ),
    "conversions": Contract(
        _fields("timestamp user_id conversion_type"),
        _fields("conversion_id ad_campaign_id click_id revenue currency order_id"),
        "csv",
        "conversion_id",
    ),
    "bid_requests": Contract(
        _fields("timestamp auction_id"),
        _fields(
            "user_id website exchange bid_floor_cpm bid_price_cpm currency ad_campaign_id"
            " ad_creative_id country device_type user_agent targeting"
        ),
        "avro",
        "auction_id",
    ),
    "campaigns": Contract(
        _fields("campaign_id updated_at"),
        _fields(
            "campaign_name advertiser pricing_model rate currency daily_budget start_date end_date"
            " time_zone"
        ),
        "csv",
        None,
    ),
    "creatives": Contract(
        _fields("creative_id campaign_id updated_at"),
        _fields("creative_name format width height"),
        "csv",
        None,
    ),
}
STREAMS = (*CONTRACTS, "interactions")

ALIASES = {
    "timestamp": ("ts", "event_time", "event_timestamp"),
    "ad_campaign_id": ("campaign_id",),
    "ad_creative_id": ("creative_id",),
    "website": ("site", "url", "page_url", "domain"),
    "conversion_type": ("event_type",),
    "targeting": ("ad_targeting",),
    "revenue": ("value",),
}

# The contract that ships for OpenRTB 2.x: where each field sits, in the order of preference.
OPENRTB: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "auction_id": (("id",),),
    "timestamp": (("timestamp",),),
    "user_id": (("user", "id"),),
    "website": (("site", "domain"), ("site", "page"), ("app", "bundle")),
    "bid_floor_cpm": (("imp", 0, "bidfloor"),),
    "currency": (("imp", 0, "bidfloorcur"),),
    "country": (("device", "geo", "country"),),
    "device_type": (("device", "devicetype"),),
    "user_agent": (("device", "ua"),),
}


# --- what comes out -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Accepted:
    """A row of a raw table. ``values`` holds every column of the contract, absent as None.

    ``extra`` is what the contract does not name, without empty values; ``source`` the whole
    record, for those who may keep more of it.
    """

    stream: str
    position: int
    values: dict[str, Any]
    extra: dict[str, Any]
    source: dict[str, Any]
    event_id: str | None
    text: str


@dataclass(frozen=True)
class Rejected:
    """A row of ``raw.rejected_records``. ``open_end`` marks a record that reaches to a place
    on which the semantics are silent: its bytes only start as given."""

    stream: str
    position: int
    line: int | None
    raw: bytes
    reason: str
    open_end: bool = False
    whole_file: bool = False

    @property
    def raw_text(self) -> str:
        return raw_text(self.raw)


@dataclass(frozen=True)
class Outcome:
    """All that one file becomes: records read = accepted + rejected."""

    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...]
    format: str

    @property
    def records_read(self) -> int:
        return len(self.accepted) + len(self.rejected)


def raw_text(raw: bytes) -> str:
    """The bytes as text, as ``base64:…`` when they are not UTF-8 or hold a NUL."""
    if is_text(raw):
        return raw.decode("utf-8")
    return "base64:" + base64.b64encode(raw).decode("ascii")


def is_text(raw: bytes) -> bool:
    """UTF-8 without a NUL."""
    try:
        return "\0" not in raw.decode("utf-8")
    except UnicodeDecodeError:
        return False


# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number of JSON or Avro: as written, as it counts, and whether it is an integer."""

    text: str
    counts: Decimal
    whole: bool


@dataclass(frozen=True)
class Token:
    """NaN or Infinity: let pass, read by no type."""

    text: str


@dataclass
class Record:
    """One framed record: parsed (``value``), or not (``value`` is None)."""

    position: int
    line: int | None
    raw: bytes
    value: dict[str, Any] | None
    open_end: bool = False
    whole_file: bool = False


class Fault(Exception):
    """It cannot be parsed here."""


# --- files: bytes -> records --------------------------------------------------------------------


def unpack(data: bytes, magic: bytes, machine: Callable[[], Any]) -> tuple[bytes, bytes | None]:
    """What unpacks, and the packed bytes that do not: None when all is well."""
    out = b""
    rest = data
    while rest[: len(magic)] == magic:
        unpacker = machine()
        at = 0
        try:
            # one byte at a time: what comes before a fault is not lost with it
            while at < len(rest) and not unpacker.eof:
                out += unpacker.decompress(rest[at : at + 1])
                at += 1
        except (zlib.error, zstd.ZstdError):
            return out, rest[at:]
        if not unpacker.eof:
            return out, b""
        rest = rest[at:]
    return out, rest or None


def file_format(content: bytes, name: str, stream: str) -> str:
    """Bytes decide, else the name's ending, else the stream's usual format."""
    if content[:4] == b"Obj\x01":
        return "avro"
    if content.lstrip(JSON_SPACE)[:1] in (b"{", b"["):
        return "json"
    name = re.sub(r"\.(gz|gzip|zst|zstd)$", "", name.lower())
    for ending, form in (
        (".csv", "csv"),
        (".tsv", "csv"),
        (".json", "json"),
        (".jsonl", "json"),
        (".ndjson", "json"),
        (".avro", "avro"),
    ):
        if name.endswith(ending):
            return form
    return "csv" if stream == "interactions" else CONTRACTS[stream].usual_format


def records(data: bytes, name: str, stream: str) -> tuple[str, Iterator[Record]]:
    """The records of a file, in order, with the format that was chosen."""
    rest = None
    content = data
    if data[:2] == b"\x1f\x8b":
        content, rest = unpack(data, data[:2], lambda: zlib.decompressobj(wbits=31))
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        content, rest = unpack(data, data[:4], lambda: zstd.ZstdDecompressor())
    if content[:3] == b"\xef\xbb\xbf":
        content = content[3:]
    form = file_format(content, name, stream)
    reader = {"avro": avro_records, "json": json_records, "csv": csv_records}[form]

    def all_records() -> Iterator[Record]:
        position = 0
        if content or rest is None:
            for record in reader(content):
                position = record.position
                yield record
        if rest is not None:
            # nothing unpacked: the whole file is not what it must be
            at = position + 1 if content else 0
            line = None if form == "avro" else line_at(content, len(content))
            yield Record(at, line, rest, None, open_end=True, whole_file=not content)

    return form, all_records()


def line_at(content: bytes, offset: int) -> int:
    """The physical line (from 1) of an offset."""
    return content.count(b"\n", 0, offset) + 1


# --- JSON ---------------------------------------------------------------------------------------

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = {
    0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t",
}  # fmt: skip


@dataclass
class JsonReader:
    """Reads one value after the other; ``bad_bytes`` and ``nul`` say what spoils the last one."""

    data: bytes
    at: int = 0
    bad_bytes: bool = False
    nul: bool = False

    def skip_space(self) -> None:
        while self.at < len(self.data) and self.data[self.at] in JSON_SPACE:
            self.at += 1

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def value(self) -> Any:
        """The value that starts here (after white space); Fault where none can be read."""
        self.skip_space()
        first = self.peek()
        if first == b"{":
            return self.object()
        if first == b"[":
            return self.array()
        if first == b'"':
            return self.string()
        for word, meaning in (
            (b"true", True),
            (b"false", False),
            (b"null", None),
            (b"NaN", Token("NaN")),
            (b"Infinity", Token("Infinity")),
            (b"-Infinity", Token("-Infinity")),
        ):
            if self.data.startswith(word, self.at):
                self.at += len(word)
                return meaning
        match = _NUMBER.match(self.data, self.at)
        if match is None:
            raise Fault(self.at)
        self.at = match.end()
        text = match.group().decode("ascii")
        if match.group(1) is None and match.group(2) is None:
            return Number(text, Decimal(text), True)
        return Number(text, fifteen_digits(text), False)

    def object(self) -> dict[str, Any]:
        self.at += 1
        out: dict[str, Any] = {}
        while True:
            self.skip_space()
            if self.peek() == b"}":
                self.at += 1
                return out
            if self.peek() != b'"':
                raise Fault(self.at)
            key = self.string()
            self.skip_space()
            if self.peek() != b":":
                raise Fault(self.at)
            self.at += 1
            value = self.value()
            out.setdefault(key, value)  # of a key given twice the first counts
            self.skip_space()
            if self.peek() == b",":
                self.at += 1  # a trailing comma is let pass
            elif self.peek() != b"}":
                raise Fault(self.at)

    def array(self) -> list[Any]:
        self.at += 1
        out: list[Any] = []
        while True:
            self.skip_space()
            if self.peek() == b"]":
                self.at += 1
                return out
            out.append(self.value())
            self.skip_space()
            if self.peek() == b",":
                self.at += 1
            elif self.peek() != b"]":
                raise Fault(self.at)

    def string(self) -> str:
        self.at += 1
        out = b""
        while True:
            char = self.peek()
            if char == b"":
                raise Fault(self.at)
            self.at += 1
            if char == b'"':
                break
            if char == b"\\":
                out += self.escape()
                continue
            if char[0] < 0x20:
                self.bad_bytes = True
            out += char
        try:
            text = out.decode("utf-8")
        except UnicodeDecodeError:
            self.bad_bytes = True
            text = out.decode("utf-8", "replace")
        if "\0" in text:
            self.nul = True
        return text

    def escape(self) -> bytes:
        char = self.peek()
        if char == b"u":
            code = self.four_digits()
            if 0xD800 <= code < 0xDC00 and self.data.startswith(b"\\u", self.at):
                back = self.at
                self.at += 1
                low = self.four_digits()
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00)
                else:
                    self.at = back
            if 0xD800 <= code < 0xE000:  # half a pair is no character
                self.bad_bytes = True
                return b"?"
            return chr(code).encode("utf-8")
        if char == b"" or char[0] not in _ESCAPES:
            raise Fault(self.at)
        self.at += 1
        return _ESCAPES[char[0]].encode("utf-8")

    def four_digits(self) -> int:
        digits = self.data[self.at + 1 : self.at + 5]
        if re.fullmatch(rb"[0-9a-fA-F]{4}", digits) is None:
            raise Fault(self.at)
        self.at += 5
        return int(digits, 16)


def fifteen_digits(text: str) -> Decimal:
    """A fraction counts to 15 significant digits."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return decimal_of(text)
    return Decimal(format(number, ".15g"))


def json_whole(line: bytes) -> tuple[bool, JsonReader, Any]:
    """Whether the line is one whole JSON value, and that value."""
    reader = JsonReader(line)
    try:
        value = reader.value()
    except Fault:
        return False, reader, None
    reader.skip_space()
    return reader.at == len(line) and not reader.bad_bytes, reader, value


def json_records(content: bytes) -> Iterator[Record]:
    if content.lstrip(JSON_SPACE)[:1] == b"[":
        yield from json_array(content)
        return
    lines = [
        (number, line)
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip(JSON_SPACE)
    ]
    first = lines[:1000]
    if 2 * sum(json_whole(line)[0] for _, line in first) >= len(first):
        for position, (number, line) in enumerate(lines, 1):
            whole, reader, value = json_whole(line)
            good = whole and not reader.nul and isinstance(value, dict)
            yield Record(position, number, line.removesuffix(b"\r"), value if good else None)
    else:
        yield from json_concatenated(content)


def rest_of(content: bytes, start: int, position: int) -> Record:
    """What a fault makes of everything from it on; of bytes that are no text, the whole file."""
    no_text = position == 1 and not is_text(content)
    return Record(position, line_at(content, start), content[start:], None, whole_file=no_text)


def json_array(content: bytes) -> Iterator[Record]:
    reader = JsonReader(content)
    reader.skip_space()
    reader.at += 1
    position = 0
    while True:
        reader.skip_space()
        start = reader.at
        position += 1
        if reader.peek() == b"]":
            reader.at += 1
            reader.skip_space()
            start = reader.at
            if start < len(content):  # text after the array
                yield Record(position, line_at(content, start), content[start:], None)
            return
        reader.bad_bytes = reader.nul = False
        try:
            value = reader.value()
            end = reader.at
            reader.skip_space()
            comma = reader.peek() == b","
            follows = comma or reader.peek() == b"]"
        except Fault:  # also the missing "]": nothing follows
            yield rest_of(content, start, position)
            return
        good = isinstance(value, dict) and not reader.bad_bytes and not reader.nul
        yield Record(position, line_at(content, start), content[start:end], value if good else None)
        if not follows:
            start = reader.at
            yield Record(position + 1, line_at(content, start), content[start:], None)
            return
        if comma:
            reader.at += 1


def json_concatenated(content: bytes) -> Iterator[Record]:
    reader = JsonReader(content)
    position = 0
    while True:
        reader.skip_space()
        start = reader.at
        if start == len(content):
            return
        position += 1
        reader.bad_bytes = reader.nul = False
        try:
            value = reader.value()
        except Fault:
            yield rest_of(content, start, position)
            return
        good = isinstance(value, dict) and not reader.bad_bytes and not reader.nul
        yield Record(
            position,
            line_at(content, start),
            content[start : reader.at],
            value if good else None,
        )


# --- CSV ----------------------------------------------------------------------------------------


@dataclass
class CsvLine:
    """One CSV record: where it lies, its fields, and what is wrong with its quotes."""

    start: int
    end: int
    next: int
    fields: list[bytes] = field(default_factory=list)
    stray: bool = False
    open: bool = False


def csv_line(data: bytes, start: int, separator: bytes) -> CsvLine:
    """The record that starts here, by RFC 4180; a stray quote does not move its end."""
    line = CsvLine(start, start, start)
    at = start
    value = b""
    state = "start"
    while True:
        char = data[at : at + 1]
        if state == "quoted":
            if char == b"":
                line.open = True
                line.end = line.next = at
                return line
            if char == b'"' and data[at + 1 : at + 2] == b'"':
                value += b'"'
                at += 2
                continue
            if char == b'"':
                state = "after"
            else:
                value += char
            at += 1
            continue
        if char == b"" or char == b"\n" or data[at : at + 2] == b"\r\n":
            line.fields.append(value)
            line.end = at
            line.next = at + (2 if char == b"\r" else len(char))
            return line
        if char == separator:
            line.fields.append(value)
            value = b""
            state = "start"
        elif char == b'"' and state == "start":
            state = "quoted"
        else:
            if char == b'"' or state == "after":
                line.stray = True
            value += char
            state = "plain"
        at += 1


def csv_separator(data: bytes, start: int) -> bytes:
    """The most frequent of the four in the header, outside quotes."""
    counts = {b",": 0, b";": 0, b"\t": 0, b"|": 0}
    quoted = False
    for at in range(start, len(data)):
        char = data[at : at + 1]
        if char == b'"':
            quoted = not quoted
        elif not quoted and char == b"\n":
            break
        elif not quoted and char in counts:
            counts[char] += 1
    return max(counts, key=lambda char: counts[char])


def header_name(raw: bytes) -> str:
    """A column's name: without case, spaces and hyphens read as ``_``."""
    return re.sub(r"[ -]", "_", raw.decode("utf-8").strip(ASCII_SPACE).lower())


def csv_records(content: bytes) -> Iterator[Record]:
    at = skip_empty(content, 0)
    if at == len(content):
        yield Record(0, 1, content, None, open_end=True, whole_file=True)
        return
    separator = csv_separator(content, at)
    header = csv_line(content, at, separator)
    raw = content[header.start : header.end]
    if header.stray or header.open or not is_text(raw) or not raw.strip():
        yield Record(0, line_at(content, at), content, None, open_end=True, whole_file=True)
        return
    names = [header_name(raw) for raw in header.fields]
    position = 0
    at = skip_empty(content, header.next)
    while at < len(content):
        position += 1
        line = csv_line(content, at, separator)
        raw = content[line.start : line.end]
        good = not line.stray and not line.open and is_text(raw) and len(line.fields) == len(names)
        value: dict[str, Any] = {}
        if good:
            for name, cell in zip(names, line.fields, strict=True):
                value.setdefault(name, cell.decode("utf-8"))  # the first of one name counts
        yield Record(position, line_at(content, at), raw, value if good else None)
        at = skip_empty(content, line.next)


def skip_empty(content: bytes, at: int) -> int:
    """Past the empty lines."""
    while True:
        if content[at : at + 1] == b"\n":
            at += 1
        elif content[at : at + 2] == b"\r\n":
            at += 2
        else:
            return at


# --- Avro ---------------------------------------------------------------------------------------


class Damage(Exception):
    """An Avro block that cannot be decoded."""


@dataclass
class AvroReader:
    """Reads Avro's binary encoding; ``spoiled`` tells of a string that is no text."""

    data: bytes
    at: int = 0
    spoiled: bool = False

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise Damage
        self.at += size
        return self.data[self.at - size : self.at]

    def long(self) -> int:
        shift = result = 0
        while True:
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise Damage
        return (result >> 1) ^ -(result & 1)

    def text(self) -> str:
        raw = self.take(self.long())
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.spoiled = True
            return ""
        if "\0" in text:
            self.spoiled = True
        return text

    def blocks(self) -> Iterator[None]:
        """One step for each item of an array or map."""
        while True:
            count = self.long()
            if count == 0:
                return
            if count < 0:
                count = -count
                self.long()
            for _ in range(count):
                yield


def resolve_names(schema: Any, names: dict[str, Any], space: str | None = None) -> Any:
    """The schema with every named type under its full name in ``names``."""
    if isinstance(schema, list):
        return [resolve_names(item, names, space) for item in schema]
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return {"type": schema}
        return {"type": "ref", "name": schema if "." in schema or not space
                else f"{space}.{schema}"}  # fmt: skip
    kind = schema["type"]
    if not isinstance(kind, str):
        return resolve_names(kind, names, space)
    if kind in ("record", "error", "enum", "fixed"):
        full = schema["name"]
        if "." not in full and schema.get("namespace", space):
            full = f"{schema.get('namespace', space)}.{full}"
        inner = full.rpartition(".")[0] or None
        out = dict(schema)
        names[full] = out
        if kind in ("record", "error"):
            out["fields"] = [
                {"name": item["name"], "type": resolve_names(item["type"], names, inner)}
                for item in schema["fields"]
            ]
        return out
    if kind == "array":
        return {"type": "array", "items": resolve_names(schema["items"], names, space)}
    if kind == "map":
        return {"type": "map", "values": resolve_names(schema["values"], names, space)}
    if kind in _PRIMITIVES:
        return dict(schema)
    return resolve_names(kind, names, space)


def named(schema: Any) -> set[str]:
    """The full names that a schema refers to."""
    if isinstance(schema, list):
        return {name for item in schema for name in named(item)}
    if schema["type"] == "ref":
        return {schema["name"]}
    inner = [schema[key] for key in ("items", "values") if key in schema]
    inner += [item["type"] for item in schema.get("fields", ())]
    return named(inner) if inner else set()


_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


def avro_value(schema: Any, names: dict[str, Any], reader: AvroReader) -> Any:
    """One value, in the terms of JSON."""
    if isinstance(schema, list):
        branch = reader.long()
        if not 0 <= branch < len(schema):
            raise Damage
        return avro_value(schema[branch], names, reader)
    kind = schema["type"]
    logical = schema.get("logicalType")
    if kind == "ref":
        return avro_value(names[schema["name"]], names, reader)
    if kind == "null":
        return None
    if kind == "boolean":
        byte = reader.take(1)[0]
        if byte > 1:
            raise Damage
        return byte == 1
    if kind in ("int", "long"):
        number = reader.long()
        if logical == "date" and abs(number) < 700_000:  # its text; far from now a number
            return (EPOCH.date() + dt.timedelta(days=number)).isoformat()
        if logical in ("timestamp-nanos", "local-timestamp-nanos"):
            number //= 1000
        return Number(str(number), Decimal(number), True)
    if kind == "float":
        import numpy as np

        single = np.float32(struct.unpack("<f", reader.take(4))[0])
        return fraction(str(single))
    if kind == "double":
        return fraction(repr(struct.unpack("<d", reader.take(8))[0]))
    if kind == "string":
        return reader.text()
    if kind in ("bytes", "fixed"):
        raw = reader.take(schema["size"] if kind == "fixed" else reader.long())
        if logical == "decimal":
            scaled = Decimal(int.from_bytes(raw, "big", signed=True))
            with localcontext(prec=1000):
                number_ = scaled.scaleb(-int(schema.get("scale", 0)))
            return Number(format(number_, "f"), number_, not schema.get("scale"))
        return raw_text(raw)
    if kind == "enum":
        index = reader.long()
        if not 0 <= index < len(schema["symbols"]):
            raise Damage
        return schema["symbols"][index]
    if kind == "array":
        return [avro_value(schema["items"], names, reader) for _ in reader.blocks()]
    if kind == "map":
        out = {}
        for _ in reader.blocks():
            key = reader.text()
            out[key] = avro_value(schema["values"], names, reader)
        return out
    return {item["name"]: avro_value(item["type"], names, reader) for item in schema["fields"]}


def fraction(text: str) -> Number | Token:
    """A double or float counts as its shortest decimal."""
    if text in ("nan", "inf", "-inf"):
        return Token(text)
    return Number(text, Decimal(text), False)


def avro_unpack(codec: str, data: bytes) -> bytes:
    try:
        if codec == "null":
            return data
        if codec == "deflate":
            # fastavro, and so most of the world's files, leaves a part of zlib's check sum behind
            return whole(zlib.decompressobj(wbits=-15), data, rest=3)
        if codec == "bzip2":
            return whole(bz2.BZ2Decompressor(), data)
        if codec == "xz":
            return whole(lzma.LZMADecompressor(), data)
        if codec == "zstandard":
            return whole(zstd.ZstdDecompressor(), data)
        if codec == "snappy":
            out = bytes(cramjam.snappy.decompress_raw(data[:-4]))
            if struct.pack(">I", zlib.crc32(out)) != data[-4:]:
                raise Damage
            return out
    except Damage:
        raise
    except Exception as error:  # each library has its own
        raise Damage from error
    raise Damage


def whole(machine: Any, data: bytes, rest: int = 0) -> bytes:
    """All of it and nothing else, up to ``rest`` bytes."""
    out: bytes = machine.decompress(data)
    if not machine.eof or len(machine.unused_data) > rest:
        raise Damage
    return out


def avro_records(content: bytes) -> Iterator[Record]:
    try:
        if content[:4] != b"Obj\x01":
            raise Damage
        reader = AvroReader(content, 4)
        meta: dict[str, bytes] = {}
        for _ in reader.blocks():
            key = reader.text()
            meta[key] = reader.take(reader.long())
        sync = reader.take(16)
        codec = meta.get("avro.codec", b"null").decode("utf-8")
        names: dict[str, Any] = {}
        schema = resolve_names(json.loads(meta["avro.schema"]), names)
        if not named(schema) <= names.keys():
            raise Damage
        if codec not in ("null", "deflate", "snappy", "zstandard", "bzip2", "xz"):
            raise Damage
    except (Damage, KeyError, TypeError, ValueError, AttributeError):
        yield Record(0, None, content, None, open_end=True, whole_file=True)
        return
    start = reader.at
    position = 0
    while start < len(content):
        try:
            block, end = avro_block(content, start, sync, codec, schema, names)
        except Damage:
            found = content.find(sync, start)
            end = len(content) if found < 0 else found + 16
            position += 1
            yield Record(position, None, content[start:end], None, open_end=True)
        else:
            for value in block:
                position += 1
                yield Record(position, None, b"", value)
        start = end


def avro_block(
    content: bytes, start: int, sync: bytes, codec: str, schema: Any, names: dict[str, Any]
) -> tuple[list[dict[str, Any] | None], int]:
    """The records of the block that starts here (None: it holds no text), and its end."""
    reader = AvroReader(content, start)
    count = reader.long()
    packed = reader.take(reader.long())
    if reader.take(16) != sync or count < 0:
        raise Damage
    inner = AvroReader(avro_unpack(codec, packed))
    out: list[dict[str, Any] | None] = []
    for _ in range(count):
        inner.spoiled = False
        value = avro_value(schema, names, inner)
        out.append(None if inner.spoiled or not isinstance(value, dict) else value)
    if inner.at != len(inner.data):
        raise Damage
    return out, reader.at


# --- types --------------------------------------------------------------------------------------


class BadType(Exception):
    """The value cannot be read as its type."""


class OutOfRange(Exception):
    """The value lies outside what its type allows."""


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
)


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip(ASCII_SPACE))


def as_text(value: Any) -> str:
    """A string field: a string, or an integer as written."""
    if isinstance(value, str):
        return value.strip(ASCII_SPACE)
    if isinstance(value, Number) and value.whole:
        return value.text
    raise BadType


def decimal_of(text: str) -> Decimal:
    """The exact number; beyond 10^40 and below 10^-60 only its side counts."""
    if _DECIMAL.fullmatch(text) is None:
        raise BadType
    mantissa, _, exponent = text.lower().partition("e")
    digits = Decimal(mantissa)
    if not digits:
        return Decimal(0)
    sign = exponent[:1] if exponent[:1] in ("+", "-") else ""
    power = exponent[len(sign) :].lstrip("0") or "0"
    shift = int(power) if len(power) < 9 else 10**9
    size = digits.adjusted() + (-shift if sign == "-" else shift)
    if size > 40:
        return Decimal("1e40").copy_sign(digits)
    if size < -60:
        return Decimal("1e-60").copy_sign(digits)
    with localcontext(prec=100_000):
        return digits.scaleb(-shift if sign == "-" else shift)


def as_number(value: Any) -> Decimal:
    if isinstance(value, Number):
        return value.counts
    if isinstance(value, str):
        return decimal_of(value.strip(ASCII_SPACE))
    raise BadType


def days_from_epoch(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, BadType when there is no such date; the year 0 exists."""
    moved = 400 if year < 400 else 0  # the calendar repeats after 400 years
    try:
        days = dt.date(year + moved, month, day).toordinal() - EPOCH.toordinal()
    except ValueError:
        raise BadType from None
    return days - (146_097 if moved else 0)


def as_time(value: Any, loaded_at: dt.datetime) -> dt.datetime:
    """UTC, cut to microseconds."""
    micros = time_micros(value)
    latest = (loaded_at - EPOCH) // dt.timedelta(microseconds=1) + DAY
    if not 10_957 * DAY <= micros <= latest:  # 10,957 days: 2000-01-01
        raise OutOfRange
    return EPOCH + dt.timedelta(microseconds=micros)


def time_micros(value: Any) -> int:
    text = value.strip(ASCII_SPACE) if isinstance(value, str) else ""
    match = _TIME.fullmatch(text)
    if match is None:
        number = as_number(value)
        scale = 10**6 if number < Decimal("1e11") else 1000 if number < Decimal("1e14") else 1
        with localcontext(prec=100_000):
            return int((number * scale).to_integral_value(rounding="ROUND_FLOOR"))
    year, month, day, hour, minute, second = (int(match.group(i)) for i in range(1, 7))
    offset_hour, offset_minute = int(match.group(10) or 0), int(match.group(11) or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hour > 23 or offset_minute > 59:
        raise BadType
    micros = days_from_epoch(year, month, day) * DAY
    micros += ((hour * 60 + minute) * 60 + second) * 1_000_000
    micros += int((match.group(7) or "").ljust(9, "0")[:6])
    offset = (offset_hour * 60 + offset_minute) * 60_000_000
    return micros + offset if match.group(9) == "-" else micros - offset


def as_money(value: Any) -> Decimal:
    number = as_number(value)
    limit = Decimal(10) ** 12
    if number < 0 or number >= limit:
        raise OutOfRange
    with localcontext(prec=100_000):
        rounded = number.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP)
    if rounded >= limit:
        raise OutOfRange
    return abs(rounded)  # no -0


def as_website(value: Any) -> str | None:
    """The host; None when nothing is left."""
    host = "".join(char.lower()[0] for char in as_text(value))  # each character for itself
    host = re.sub(r"^(?:[a-z][a-z0-9+.-]*:)?//", "", host)
    host = re.split(r"[/?#]", host, maxsplit=1)[0]
    host = host.rpartition("@")[2]
    host = re.sub(r":[0-9]*$", "", host)
    host = host.removeprefix("www.").strip(ASCII_SPACE)
    return host or None


def as_currency(value: Any) -> str:
    text = as_text(value)
    if re.fullmatch(r"[A-Za-z]{3}", text) is None:
        raise BadType
    return text.upper()


def as_pricing_model(value: Any) -> str:
    text = as_text(value).lower()
    if text not in ("auction", "cpm", "cpc", "cpa"):
        raise BadType
    return text


def as_whole(value: Any) -> int:
    if isinstance(value, Number) and not value.whole:
        raise BadType
    text = as_text(value)
    if re.fullmatch(r"\+?[0-9]{1,4000}", text) is None or int(text) >= 2**63:
        raise BadType
    return int(text)


def as_date(value: Any) -> dt.date:
    text = as_text(value)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
        raise BadType
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise BadType from None


def as_type(kind: str, value: Any, loaded_at: dt.datetime) -> Any:
    """The value as its type, None when nothing is left; BadType, OutOfRange."""
    if kind == "json":
        return value
    if kind == "time":
        return as_time(value, loaded_at)
    if kind == "id":
        text = as_text(value)
        if len(text) > 256:
            raise OutOfRange
        return text
    readers = {
        "text": as_text,
        "money": as_money,
        "website": as_website,
        "currency": as_currency,
        "pricing_model": as_pricing_model,
        "whole": as_whole,
        "date": as_date,
    }
    return readers[kind](value)


# --- section 2: accepted or rejected ------------------------------------------------------------


def at_path(record: Any, path: tuple[str | int, ...]) -> Any:
    """The raw value where the path leads, None where it leads nowhere."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(record, list) or len(record) <= step:
                return None
            record = record[step]
        elif not isinstance(record, dict):
            return None
        else:
            record = record.get(step)
    return record


def without_path(record: Any, path: tuple[str | int, ...]) -> Any:
    """A copy without what the path leads to."""
    head, rest = path[0], path[1:]
    if isinstance(record, dict):
        if not rest:
            return {key: value for key, value in record.items() if key != head}
        return {
            key: without_path(value, rest) if key == head else value
            for key, value in record.items()
        }
    if isinstance(record, list):
        return [
            without_path(value, rest) if i == head and rest else value
            for i, value in enumerate(record)
        ]
    return record


def judge(
    stream: str, record: dict[str, Any], contract: str | None, loaded_at: dt.datetime
) -> tuple[dict[str, Any], dict[str, Any]] | str:
    """The row's values and what is left over, or the reason against it."""
    rules = CONTRACTS[stream]
    values: dict[str, Any] = {}
    extra: dict[str, Any] = record
    required = [name for name, _ in rules.required]
    for name, kind in rules.fields:
        if contract == "openrtb":
            paths = OPENRTB.get(name, ())
        else:
            paths = tuple((each,) for each in (name, *ALIASES.get(name, ())))
        used = next((path for path in paths if not is_empty(at_path(record, path))), None)
        value = None
        if used is not None:
            extra = without_path(extra, used)
            try:
                value = as_type(kind, at_path(record, used), loaded_at)
            except BadType:
                return f"bad_type:{name}"
            except OutOfRange:
                return f"out_of_range:{name}"
        if value is None and name in required:
            return f"missing:{name}"
        if value is None and kind == "currency":
            value = "USD"
        if value is None and kind == "pricing_model":
            value = "auction"
        values[name] = value
    return values, {key: value for key, value in extra.items() if not is_empty(value)}


def text_of(values: dict[str, Any]) -> str:
    """The text of section 3: the fields but targeting, joined by U+001F."""
    parts = []
    for name, value in values.items():
        if name == "targeting":
            continue
        if value is None:
            parts.append("")
        elif isinstance(value, dt.datetime):
            parts.append(value.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        elif isinstance(value, Decimal):
            parts.append(format(value, ".6f"))
        else:
            parts.append(str(value))
    return "\x1f".join(parts)


def route(record: dict[str, Any]) -> str:
    """Where a row of ``interactions`` goes: by the first type column that is not empty."""
    for name in ("conversion_type", "event_type"):
        value = record.get(name)
        if not is_empty(value):
            is_click = isinstance(value, str) and value.strip(ASCII_SPACE).lower() == "click"
            return "clicks" if is_click else "conversions"
    return "clicks"


def ingest(
    data: bytes,
    name: str,
    stream: str,
    loaded_at: dt.datetime,
    contract: str | None = None,
) -> Outcome:
    """What becomes of a file's bytes; ``loaded_at`` is the load's time in UTC, naive."""
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    form, found = records(data, name, stream)
    for record in found:
        if record.value is None:
            rejected.append(
                Rejected(
                    stream,
                    record.position,
                    record.line,
                    record.raw,
                    "malformed",
                    record.open_end,
                    record.whole_file,
                )
            )
            continue
        target = route(record.value) if stream == "interactions" else stream
        verdict = judge(target, record.value, contract, loaded_at)
        if isinstance(verdict, str):
            rejected.append(Rejected(target, record.position, record.line, record.raw, verdict))
            continue
        values, extra = verdict
        text = text_of(values)
        identity = CONTRACTS[target].identity
        event_id = None
        if identity is not None:
            event_id = values[identity] or hashlib.md5(text.encode("utf-8")).hexdigest()
        accepted.append(
            Accepted(target, record.position, values, extra, record.value, event_id, text)
        )
    return Outcome(tuple(accepted), tuple(rejected), form)


__all__ = ["Accepted", "Outcome", "Rejected", "ingest", "raw_text"]
