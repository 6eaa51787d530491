"""Landing folders that are hard to load, and what a load made of them.

Builders of files byte for byte (JSON, CSV, Avro, packed or not), random folders of them for
hypothesis, and readers of the raw schema for the tests of ingestion.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import duckdb
import fastavro
from backports import zstd
from hypothesis import strategies as st

from reference import ingestion as reference
from support.processes import Running
from support.raw_tables import named

SYNC = bytes(range(0xA0, 0xB0))
ROOT = Path(__file__).resolve().parents[2]
RAW_TABLES = tuple(reference.CONTRACTS)
LONG = os.environ.get("ADX_LONG") == "1"


# --- Avro, byte for byte ------------------------------------------------------------------------


def zigzag(number: int) -> bytes:
    """Avro's long."""
    rest = (number << 1) ^ (number >> 63)
    out = b""
    while rest >= 0x80:
        out += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return out + bytes([rest])


def avro_bytes(text: bytes | str) -> bytes:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    return zigzag(len(raw)) + raw


def avro_header(
    schema: Any, codec: str | None = "null", sync: bytes = SYNC, **meta: bytes
) -> bytes:
    """An object container file's header; ``codec`` None leaves the key out (it means null)."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    entries: dict[str, bytes] = {"avro.schema": text}
    if codec is not None:
        entries["avro.codec"] = codec.encode()
    entries.update(meta)
    body = b"".join(avro_bytes(key) + avro_bytes(value) for key, value in entries.items())
    return b"Obj\x01" + zigzag(len(entries)) + body + zigzag(0) + sync


def avro_pack(codec: str | None, data: bytes) -> bytes:
    import bz2
    import lzma

    if codec == "deflate":
        machine = zlib.compressobj(wbits=-15)
        return machine.compress(data) + machine.flush()
    if codec == "bzip2":
        return bz2.compress(data)
    if codec == "xz":
        return lzma.compress(data)
    if codec == "zstandard":
        return zstd.compress(data)
    if codec == "snappy":
        packed = bytes(cramjam.snappy.compress_raw(data))
        return packed + struct.pack(">I", zlib.crc32(data))
    return data


def avro_encode(schema: Any, record: Any) -> bytes:
    """One record's bytes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def avro_block(count: int, data: bytes, codec: str | None = "null", sync: bytes = SYNC) -> bytes:
    packed = avro_pack(codec, data)
    return zigzag(count) + zigzag(len(packed)) + packed + sync


def avro_file(
    schema: Any, blocks: Iterable[Sequence[Any]], codec: str | None = "null", sync: bytes = SYNC
) -> bytes:
    """A whole file: one block for each sequence of records."""
    out = avro_header(schema, codec, sync)
    for block in blocks:
        data = b"".join(avro_encode(schema, record) for record in block)
        out += avro_block(len(block), data, codec, sync)
    return out


# --- the real loader ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A finished ``adx`` command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def start(
    *arguments: str | Path,
    warehouse: Path,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Starts ``adx`` on a DuckDB file, in a process of its own that calls `before` first."""
    whole = {
        **os.environ,
        "ADX_TARGET": "duckdb",
        "ADX_DUCKDB_PATH": str(warehouse),
        "COLUMNS": "1000",
        "NO_COLOR": "1",
        **(environment or {}),
    }
    words = map(str, arguments)
    return Running("advertisex", *words, environment=whole, folder=ROOT, before=before)


def adx(*arguments: str | Path, warehouse: Path, timeout: float = 300, **environment: str) -> Ran:
    """Runs ``adx`` as a user does, on a DuckDB file."""
    running = start(*arguments, warehouse=warehouse, environment=environment)
    try:
        code = running.wait(timeout)
    finally:
        running.kill()
    return Ran(code, running.out, running.err)


@dataclass
class Loaded:
    """What the raw schema holds of one file."""

    accepted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    file: dict[str, Any] | None = None

    def row(self, position: int) -> dict[str, Any] | str | None:
        """What became of a record: the row (with ``stream``), or the reason against it."""
        for stream, rows in self.accepted.items():
            for row in rows:
                if row["_position"] == position:
                    return {**row, "stream": stream}
        reject = self.reject(position)
        return None if reject is None else str(reject["reason"])

    def reject(self, position: int) -> dict[str, Any] | None:
        """The rejected record at a position."""
        return next((row for row in self.rejected if row["position"] == position), None)


_RAW_SCHEMA = "select 1 from information_schema.tables where table_schema = 'raw' limit 1"


def read_raw(warehouse: Path) -> dict[str, Loaded]:
    """The raw schema by file."""
    out: dict[str, Loaded] = {}
    if not warehouse.exists():
        return out
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        if not connection.execute(_RAW_SCHEMA).fetchall():
            return out  # nothing was ever loaded

        def rows(sql: str) -> list[dict[str, Any]]:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        for stream in RAW_TABLES:
            for row in rows(f'select * from raw."{stream}" order by _position'):
                if "text_md5" in row:
                    row |= named(stream, row)
                loaded = out.setdefault(row["_file"], Loaded())
                loaded.accepted.setdefault(stream, []).append(row)
        for row in rows("select * from raw.rejected_records order by position"):
            out.setdefault(row["file"], Loaded()).rejected.append(row)
        for row in rows("select * from raw.loaded_files"):
            out.setdefault(row["file"], Loaded()).file = row
    return out


# --- comparing ----------------------------------------------------------------------------------


def _json(text: Any) -> Any:
    """A column that holds JSON; the tokens NaN and Infinity have no form in it."""
    return {} if text is None else json.loads(text)


def _plain(value: Any) -> Any:
    """A value of the reference in terms of ``json``."""
    if isinstance(value, reference.Number):
        return int(value.text) if value.whole and len(value.text) < 4000 else float(value.text)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, reference.Token):
        return ...  # kept, in whatever form
    return value


def _same(expected: Any, actual: Any) -> bool:
    if expected is ...:
        return True
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and all(_same(value, actual.get(key)) for key, value in expected.items())
            and all(key in expected for key in actual)
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(map(_same, expected, actual))
        )
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, float) and isinstance(actual, int | float):
        return expected == actual or abs(expected - actual) <= 1e-14 * abs(expected)
    return bool(expected == actual)


def _within(expected: Any, actual: Any) -> bool:
    """``actual`` holds at least what ``expected`` does."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            reference.is_empty(value) or value in ({}, []) or _within(value, actual.get(key))
            for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_within, expected, actual))
    return _same(expected, actual)


def _full(extra: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in extra.items() if not reference.is_empty(value)}


def _names(extra: dict[str, Any]) -> dict[str, Any]:
    """Columns' names as the contract compares them, values without the space around them."""
    return {
        reference.header_name(key.encode()): value.strip(reference.ASCII_SPACE)
        for key, value in extra.items()
    }


def differences(
    loaded: Loaded | None, expected: reference.Outcome, contract: str | None = None
) -> list[str]:
    """How the loader's outcome differs from the reference's, as lines to read."""
    if loaded is None or loaded.file is None:
        return ["raw.loaded_files has no row for the file"]
    out: list[str] = []
    counts = tuple(loaded.file[key] for key in ("records_read", "accepted", "rejected"))
    wanted = (expected.records_read, len(expected.accepted), len(expected.rejected))
    if counts != wanted:
        out.append(f"read, accepted, rejected: expected {wanted}, loaded_files says {counts}")
    held = (sum(map(len, loaded.accepted.values())), len(loaded.rejected))
    if held != counts[1:]:
        out.append(f"accepted, rejected: loaded_files says {counts[1:]}, the tables hold {held}")

    actual = {
        (stream, row["_position"]): row for stream, rows in loaded.accepted.items() for row in rows
    }
    for each in expected.accepted:
        row = actual.pop((each.stream, each.position), None)
        if row is None:
            out.append(f"record {each.position}: expected in {each.stream}: {each.values}")
            continue
        for name, value in each.values.items():
            if name != "targeting" and row[name] != value:
                out.append(f"record {each.position}: {name}: expected {value!r}, is {row[name]!r}")
        text = row["event_text"] if each.event_id is not None else row["version_text"]
        if text != each.text:
            out.append(f"record {each.position}: text: expected {each.text!r}, is {text!r}")
        if each.event_id is not None and row["event_id"] != each.event_id:
            out.append(f"record {each.position}: event_id: expected {each.event_id!r}")
        out += _left_over(row, each, expected.format, contract)
    for (stream, position), row in actual.items():
        out.append(f"record {position}: not expected in {stream}: {row}")

    rejects = {row["position"]: row for row in loaded.rejected}
    if len(rejects) != len(loaded.rejected):
        out.append("two rejected records have one position")
    for reject in expected.rejected:
        found = rejects.pop(reject.position, None)
        if found is None and reject.whole_file:
            found = rejects.pop(1 - reject.position, None)
        if found is None:
            out.append(f"record {reject.position}: expected {reject.reason} ({reject.stream})")
            continue
        out += _reject(found, reject, expected.format)
    for position, row in rejects.items():
        out.append(f"record {position}: not expected among the rejected: {row}")
    return out


def _left_over(
    row: dict[str, Any], each: reference.Accepted, form: str, contract: str | None
) -> list[str]:
    out = []
    actual, wanted = _full(_json(row["extra"])), _plain(each.extra)
    if contract is not None:
        good = _within(wanted, actual) and _within(actual, _plain(each.source))
    elif form == "csv":
        good = _same(_full(_names(wanted)), _full(_names(actual)))
    else:
        good = _same(wanted, actual)
    if not good:
        out.append(f"record {each.position}: extra: expected {wanted!r}, is {actual!r}")
    targeting = each.values.get("targeting")
    if targeting is not None:
        kept = _json(row["targeting"])
        text = targeting.strip(reference.ASCII_SPACE) if isinstance(targeting, str) else None
        if not _same(_plain(targeting), kept) and text not in (kept, row["targeting"]):
            out.append(f"record {each.position}: targeting: {targeting!r}, is {row['targeting']}")
    elif row.get("targeting") is not None:
        out.append(f"record {each.position}: targeting: none, is {row['targeting']}")
    return out


def _reject(row: dict[str, Any], reject: reference.Rejected, form: str) -> list[str]:
    out = []
    for name in ("stream", "reason", "line"):
        value = getattr(reject, name)
        if name == "line" and (reject.whole_file or (reject.open_end and form != "avro")):
            continue
        if row[name] != value:
            out.append(f"record {reject.position}: {name}: expected {value!r}, is {row[name]!r}")
    if form == "avro" and not (reject.open_end and not reject.whole_file):
        return out  # JSON text of a decoded record
    kept, wanted = row["raw_text"] or "", reject.raw_text
    if reject.open_end:
        return out if kept or not reject.raw or form == "csv" else [*out, "no raw_text"]
    if kept.startswith("base64:") != wanted.startswith("base64:") or (
        kept.strip() != wanted.strip()
    ):
        out.append(f"record {reject.position}: raw_text: expected {wanted!r}, is {kept!r}")
    return out


def left_over(text: str | None, csv: bool) -> Any:
    """What a column ``extra`` or ``targeting`` holds; of a CSV under names as they compare."""
    kept = _json(text)
    if isinstance(kept, dict):
        kept = _full(kept)
        return _names(kept) if csv else kept
    return kept


def as_loaded(outcome: reference.Outcome) -> Loaded:
    """The reference's outcome in the form of the raw schema."""
    loaded = Loaded()
    for each in outcome.accepted:
        row = {
            **each.values,
            "extra": json.dumps(_plain(each.extra), default=repr),
            "_position": each.position,
            "event_id": each.event_id,
            "event_text" if each.event_id is not None else "version_text": each.text,
        }
        if "targeting" in row and row["targeting"] is not None:
            row["targeting"] = json.dumps(_plain(row["targeting"]), default=repr)
        loaded.accepted.setdefault(each.stream, []).append(row)
    for reject in outcome.rejected:
        loaded.rejected.append(
            {
                "stream": reject.stream,
                "position": reject.position,
                "line": reject.line,
                "raw_text": reject.raw_text,
                "reason": reject.reason,
            }
        )
    loaded.file = {
        "records_read": outcome.records_read,
        "accepted": len(outcome.accepted),
        "rejected": len(outcome.rejected),
    }
    return loaded


def show(content: bytes, limit: int = 6000) -> str:
    """A file's bytes, to be read and to be pasted."""
    text = repr(content)
    return text if len(text) <= limit else text[:limit] + f"… ({len(content)} bytes)"


# --- random folders -----------------------------------------------------------------------------


class Raw(str):
    """A JSON token (a number, true, null, an object) that stands in a file as it is."""


Cell = str | Raw
Row = list[tuple[str, Cell]]

_TEXTS: tuple[Cell, ...] = (
    "u1", "U 2", "x" * 256, "x" * 257, "😀" * 256, "😀" * 257, "  padded\t", "", " ", "a,b",
    'say "hi"',
    "semi;colon", "pipe|d", "tab\tbed", "two\nlines", "crlf\r\nhere", "back\\slash", "é", "中文",
    "\x7f",
    "\ufeffbom", "\u00a0", "\x0b", "a\x1fb", "null", "NaN", "true", "{}", "[1]", "'quoted'", "-",
    "\u2028", "\U0001f600", "%s", "0", "base64:AAAA", "a" * 300,
    Raw("7"), Raw("-0"), Raw("12345678901234567890123"), Raw("1.0"), Raw("1e3"), Raw("true"),
    Raw("false"), Raw("null"), Raw("{}"), Raw("[]"), Raw('{"a": [1, {"b": null}]}'), Raw("NaN"),
    Raw("-Infinity"),
)  # fmt: skip
_TIMES: tuple[Cell, ...] = (
    "2024-06-09T12:34:56Z", "2024-06-09 12:34:56", "2024-06-09T12:34:56.123456789Z",
    "2024-06-09T12:34:56.9999999Z", "2024-06-09T12:34:56.1+02:00", "2024-06-09T12:34:56-0230",
    "2024-06-09T12:34:56+23:59", "2024-06-09T12:34:56+24:00", "2024-06-09T12:34:56+02",
    "2024-06-09T24:00:00Z", "2024-06-09T23:59:60Z", "2024-06-09T12:34Z", "2024-06-09", "20240609",
    "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
    "2000-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "2000-01-01T00:30:00+01:00",
    "1999-12-31T23:30:00-01:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "2099-01-01T00:00:00Z", "2024-06-09t12:34:56Z", "2024-06-09T12:34:56z", "24-06-09T12:34:56Z",
    "2024-6-9T12:34:56Z", "2024-06-09T12:34:56.Z", "2024-06-09T12:34:56,5Z", "2024-13-01T00:00:00Z",
    "2024-06-09T12:34:56.1234567890Z", "2024-06-09  12:34:56", "2024-06-09T12:34:56 Z", "tomorrow",
    " 2024-06-09T12:34:56Z ", "1717936496", "1717936496789", "1717936496789123", "1717936496.5",
    "1717936496.1234567", "1717936496789.9999", "1.717936496e9", "1717936496789123.9",
    "+1717936496",
    "1717936496.", "-5", "0", "99999999999", "946684800", "946684799.999999", "1e400", "1e-400",
    "1717936496,5", "0x5", "", " ", "1_717_936_496", "infinity", "nan", "epoch", "now",
    Raw("1717936496"), Raw("1717936496789"), Raw("1717936496789123"), Raw("1717936496.25"),
    Raw("1717936496.123456"), Raw("1717936496789.5"), Raw("1.717936496789E12"), Raw("-1"),
    Raw("1e400"),
    Raw("true"), Raw("null"), Raw("{}"), Raw("NaN"), Raw("17179364967891234567890"),
)  # fmt: skip
_MONEY: tuple[Cell, ...] = (
    "0", "1.5", "0.0000005", "0.00000049", "2.0000005", "+2", ".5", "5.", "1e3", "1E-3", "-1", "-0",
    "-0.0", "-0.0000001", "999999999999.999999", "999999999999.9999994", "999999999999.9999995",
    "1000000000000", "1e12", "1e11", "9.99e11", "1e400", "1e-400", "-1e-400", "1,5", "1 000", "$5",
    "NaN", "Infinity", "-inf", "", " ", " 3.25 ", ".", "+", "e5", "5e", "1_000", "0x10", "٣",
    "1e+2",
    "00012.50", "123456789012.123456789012345678901234567890", "0.1234565", "1.0000015", "5.e1",
    "++1",
    "0e999999999999", "1e-99999999999999999999", "1e99999999999999999999", "true", "null",
    Raw("0"), Raw("1.5"), Raw("0.0000005"), Raw("0.1234565"), Raw("1.0000015"), Raw("2.675"),
    Raw("999999999999"), Raw("1000000000000"), Raw("999999999999.9999"), Raw("999999999999.99999"),
    Raw("1e11"), Raw("1e12"), Raw("-1"), Raw("-0"), Raw("-0.0"), Raw("1e400"), Raw("true"),
    Raw("null"), Raw("[]"), Raw("NaN"), Raw("Infinity"), Raw("123456789.1234565"),
    Raw("12345678901234567890"),
)  # fmt: skip
_SITES: tuple[Cell, ...] = (
    "example.com", "WWW.Example.COM", "https://www.example.com/path?q=1#f",
    "http://u:p@Example.com:8080/",
    "example.com:443", "example.com/", "/path", "?q", "#f", "http://", "https://www.", "www.",
    "www",
    "wwwx.com", "www.www.com", "localhost", "a@b@example.com", "example.com?u=http://other.com/",
    "example.com#@evil.com", "ftp://example.com", "com.example.app", "", " ", "  example.com  ",
    "example.com/a:b@c", "user@example.com", "http://example.com:", "EXAMPLE.com./x", "é.example",
    Raw("12345"), Raw("1.5"), Raw("null"), Raw("{}"), Raw("true"),
)  # fmt: skip
_CURRENCIES: tuple[Cell, ...] = (
    "USD", "eur", "Gbp", " jpy ", "", "US", "USDX", "U1D", "1", "$", "us d", Raw("978"),
    Raw("null"),
    Raw("true"),
)  # fmt: skip
_MODELS: tuple[Cell, ...] = (
    "auction", "CPM", "cpc", " Cpa ", "", "cpx", "flat", Raw("null"), Raw("1"),
)  # fmt: skip
_WHOLES: tuple[Cell, ...] = (
    "300", "0", " 250 ", "", "wide", "3x", Raw("300"), Raw("null"), Raw("true"), Raw("{}"), "0300",
)  # fmt: skip
_DATES: tuple[Cell, ...] = (
    "2024-06-09", " 2024-02-29 ", "2023-02-29", "2024-6-9", "09.06.2024", "20240609", "",
    "2024-06-31",
    "2024/06/09", "2024-06-09T00:00:00", "today", Raw("null"), Raw("true"), Raw("20240609"),
)  # fmt: skip
_TYPES: tuple[Cell, ...] = (
    "purchase", "signup", "click", "CLICK", " Click ", "", " ", "clicks", Raw("5"), Raw("null"),
    Raw("true"), Raw("1.5"), Raw("{}"),
)  # fmt: skip
_POOLS: dict[str, tuple[Cell, ...]] = {
    "time": _TIMES,
    "money": _MONEY,
    "website": _SITES,
    "currency": _CURRENCIES,
    "pricing_model": _MODELS,
    "whole": _WHOLES,
    "date": _DATES,
    "text": _TEXTS,
    "id": _TEXTS,
    "json": _TEXTS,
}
_GOOD: dict[str, Cell] = {
    "time": "2024-06-09T12:34:56Z",
    "money": "1.25",
    "website": "news.example",
    "currency": "EUR",
    "pricing_model": "cpc",
    "whole": "300",
    "date": "2024-06-09",
    "text": "some text",
    "id": "id-1",
    "json": Raw('{"age": [18, 34]}'),
}
_UNKNOWN = ("extra_field", "Ts", "geo", "user", "x-y", "")


def _good(kind: str, dice: random.Random) -> Cell:
    if kind == "id":
        return f"id-{dice.randrange(50)}"
    return _GOOD[kind]


def random_row(stream: str, dice: random.Random, nasty: float) -> Row:
    """A record's names and values: good ones, ``nasty`` (0 to 1) of them from the pools."""
    if stream == "interactions":
        stream = dice.choice(("clicks", "conversions"))
        row = random_row(stream, dice, nasty)
        for name in ("event_type", "conversion_type"):
            if dice.random() < 0.6 and name not in dict(row):
                row.append((name, dice.choice(_TYPES)))
        return row
    rules = reference.CONTRACTS[stream]
    row = []
    for number, (name, kind) in enumerate(rules.fields):
        required = number < len(rules.required)
        if dice.random() > (1 - nasty / 4 if required else 0.6):
            continue
        names = [name]
        if dice.random() < 0.3:
            names = [dice.choice((name, *reference.ALIASES.get(name, ())))]
        if dice.random() < 0.1:
            names = list(dict.fromkeys((*names, *reference.ALIASES.get(name, ()))))
        for each in names:
            bad = dice.random() < nasty
            row.append((each, dice.choice(_POOLS[kind]) if bad else _good(kind, dice)))
    if dice.random() < 0.3:
        row.append((dice.choice(_UNKNOWN), dice.choice(_TEXTS)))
    if dice.random() < nasty:
        row.append((dice.choice(row)[0] if row else "ts", dice.choice(_TEXTS)))  # a key twice
    if dice.random() < 0.3:
        dice.shuffle(row)
    return row


def _json_string(text: str, dice: random.Random) -> str:
    if dice.random() < 0.2:
        return '"' + "".join(f"\\u{unit:04x}" for unit in _utf16(text)) + '"'
    return json.dumps(text, ensure_ascii=dice.random() < 0.3)


def _utf16(text: str) -> list[int]:
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def json_object(row: Row, dice: random.Random, pretty: bool = False) -> str:
    gap = "\n  " if pretty else dice.choice(("", " "))
    comma = "," if dice.random() < 0.1 else ""
    members = [
        _json_string(name, dice) + ":" + gap[-1:] + (
            cell if isinstance(cell, Raw) else _json_string(cell, dice)
        )
        for name, cell in row
    ]  # fmt: skip
    if not members:
        return "{}"
    return "{" + gap + ("," + gap).join(members) + comma + ("\n" if pretty else "") + "}"


def json_content(rows: Sequence[Row], dice: random.Random) -> bytes:
    shape = dice.choice(("lines", "lines", "array", "concatenated"))
    items = [json_object(row, dice, shape != "lines" and dice.random() < 0.5) for row in rows]
    if dice.random() < 0.15:
        other = ("1", "null", '"text"', "[]", "[{}]", "true", "{}", "NaN", "-1.5e3", '"a\\u0000"')
        items.insert(dice.randrange(len(items) + 1), dice.choice(other))
    end = dice.choice(("\n", "\n", "\r\n"))
    if shape == "lines":
        text = end.join(items) + dice.choice(("", end, end + end, " " + end))
        if dice.random() < 0.2:
            text = text.replace(end, end + dice.choice((end, "  " + end)), 1)
    elif shape == "array":
        text = "[" + dice.choice(("", end, " ")) + dice.choice((",", "," + end, " , ")).join(items)
        text += dice.choice(("", "", ",")) + dice.choice(("", end)) + "]" + dice.choice(("", end))
    else:
        text = dice.choice(("", " ", end)).join(items) + dice.choice(("", end))
    return text.encode("utf-8")


def _csv_cell(text: str, separator: str, dice: random.Random) -> str:
    if any(char in text for char in (separator, '"', "\n", "\r")) or dice.random() < 0.15:
        return '"' + text.replace('"', '""') + '"'
    return text


def _csv_name(name: str, dice: random.Random) -> str:
    if dice.random() < 0.2:
        name = name.replace("_", dice.choice((" ", "-", "_")))
    if dice.random() < 0.2:
        name = dice.choice((name.upper(), name.title(), f" {name} "))
    return name


def csv_content(rows: Sequence[Row], dice: random.Random) -> bytes:
    """The union of the rows' columns; a name that a row has twice becomes two columns."""
    columns: list[tuple[str, int]] = []
    tables: list[dict[tuple[str, int], str]] = []
    for row in rows:
        seen: dict[str, int] = {}
        cells: dict[tuple[str, int], str] = {}
        for name, cell in row:
            key = (name, seen.get(name, 0))
            seen[name] = key[1] + 1
            cells[key] = str(cell)
            if key not in columns:
                columns.append(key)
        tables.append(cells)
    separator = dice.choice((",", ",", ";", "\t", "|"))
    end = dice.choice(("\n", "\n", "\r\n"))
    if len(columns) < 2:
        columns += [("pad", 0), ("pad2", 0)]
    lines = [
        separator.join(_csv_cell(_csv_name(name, dice), separator, dice) for name, _ in columns)
    ]
    for cells in tables:
        values = [_csv_cell(cells.get(key, ""), separator, dice) for key in columns]
        if dice.random() < 0.04:
            values.append("one too many")
        elif dice.random() < 0.04:
            values.pop()
        lines.append(separator.join(values))
        if dice.random() < 0.05:
            lines.append("")
    text = end.join(lines) + dice.choice(("", end, end, end + end))
    return text.encode("utf-8", "surrogatepass")


_NESTED = {
    "type": "record",
    "name": "Nested",
    "namespace": "an.inner",
    "fields": [
        {"name": "a", "type": ["null", "long"]},
        {"name": "list", "type": {"type": "array", "items": "string"}},
        {"name": "by_name", "type": {"type": "map", "values": "double"}},
    ],
}


def _avro_cell(cell: Cell) -> Any:
    if not isinstance(cell, Raw):
        return cell
    value = json.loads(cell)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(cell)
    if isinstance(value, dict | list):
        return str(cell)
    return value


def avro_content(rows: Sequence[Row], dice: random.Random) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name, _ in row))
    names = [name for name in names if name.isidentifier() and name.isascii()] or ["nothing"]
    union = ["null", "string", "long", "double"]
    fields: list[dict[str, Any]] = [{"name": name, "type": union} for name in names]
    nested = dice.random() < 0.3
    if nested:
        fields.append({"name": "nested", "type": [_NESTED, "null"]})
        fields.append({"name": "again", "type": ["null", "an.inner.Nested"]})
    schema = {"type": "record", "name": "Event", "fields": fields}
    records = []
    for row in rows:
        first: dict[str, Cell] = {}
        for name, cell in row:
            first.setdefault(name, cell)
        record = {name: _avro_cell(first[name]) if name in first else None for name in names}
        if nested:
            inner = {"a": 5, "list": ["x", "y"], "by_name": {"k": 0.1}}
            record |= {"nested": inner, "again": dice.choice((None, inner))}
        records.append(record)
    blocks = []
    while records:
        size = dice.randint(1, 3)
        blocks.append(records[:size])
        records = records[size:]
    codec = dice.choice((None, "null", "deflate", "snappy", "zstandard", "bzip2", "xz"))
    return avro_file(schema, blocks, codec, dice.randbytes(16))


_INTERESTING = (
    b'"', b",", b"\n", b"\r", b"\r\n", b"{", b"}", b"[", b"]", b"\\", b"\0", b"\xff", b"\xc3",
    b";", b" ",
    b"\t", b":", b'""', b"\\u0000", b"\\ud800", b"\x1b", b"\xef\xbb\xbf", b"null", b"1", b",,",
    b'"\n"',
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"NaN", b"\\q", b"x", b"{}", b"\n\n",
)  # fmt: skip


def mutate(content: bytes, dice: random.Random) -> bytes:
    """A file with one thing wrong: a byte changed, put in, taken out, the end cut off."""
    at = dice.randrange(len(content) + 1)
    way = dice.randrange(7)
    if way == 0 and at < len(content):
        return content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]
    if way == 1:
        return content[:at]
    if way == 2:
        return content[:at] + content[at + dice.randint(1, 8) :]
    if way == 3:
        return content[:at] + dice.randbytes(dice.randint(1, 4)) + content[at:]
    if way == 4:
        other = dice.randrange(len(content) + 1)
        return content[:at] + content[other : other + 40] + content[at:]
    return content[:at] + dice.choice(_INTERESTING) + content[at:]


def json_soup(dice: random.Random) -> bytes:
    """Good impressions among tokens in any order: all that matters is where records end."""
    good = json.dumps(
        {"ts": 1717936496, "user_id": "u", "creative_id": "c", "url": "x.example"}
    ).encode()
    tokens = (
        b"{", b"}", b"[", b"]", b",", b":", b'"a"', b"1", b"-", b"null", b"NaN", b"-Infinity",
        b"\n",
        b" ", b"\r\n", b'"', b'{"a":1}', b'{"a":"\xff"}', b'{"a":"\n"}', b'{"a":"\\u0000"}', b"{}",
        b'{"a":"\\ud800"}', b'{"a":[1,2,],}', b"\xff", b"\0", b'"\0"', b"true", b"x",
        b"\xef\xbb\xbf",
        b'{"a":"\\q"}', b'{"a":"}"}', b'{"a":"\\""}', b'{"a"', b'"\\', b"1.5", b"01", b"1.", b"[]",
        b'{"a":{"b":[{"c":"]"}]}}', b'{"a":1,,}', b"{,}", b"[,]", b"\t", b"\x0b", b"\x1e", b"/*c*/",
    )  # fmt: skip
    out = [dice.choice((b"", b"[", b"{", b" ", b"\n"))]
    between = dice.choice((b"", b"\n", b",", b" "))
    for _ in range(dice.randint(1, 12)):
        out.append(good if dice.random() < 0.5 else dice.choice(tokens))
        out.append(between if dice.random() < 0.8 else dice.choice(tokens))
    return b"".join(out) + dice.choice((b"", b"]", b"\n", b"]\n"))


def csv_soup(dice: random.Random) -> bytes:
    """Quotes, separators and line ends in any order, under a good header."""
    separator = dice.choice((b",", b";", b"\t", b"|"))
    good = separator.join((b"1717936496", b"u", b"k"))
    tokens = (
        b'"', b'""', b'"', b"\n", b"\n", b"\r\n", b"\r", separator, separator, b"a", b" ", b"\0",
        b"\xff", b'"a"', b'"a\nb"', b'"a""b"', b'"a"b', b",", b";", b"\xef\xbb\xbf", good, good,
        b"\n" + good + b"\n", b"\n" + good + b"\n", b"\r\n" + good + b"\r\n",
    )  # fmt: skip
    header = separator.join((b"ts", b"user_id", b"campaign_id"))
    if dice.random() < 0.1:
        header = b"".join(dice.choice((header, *tokens)) for _ in range(4))
    body = b"".join(dice.choice(tokens) for _ in range(dice.randint(1, 15)))
    return header + dice.choice((b"\n", b"\r\n")) + body


def avro_soup(dice: random.Random) -> bytes:
    """Good blocks among damaged ones, markers and stray bytes."""
    fields = [{"name": "ts", "type": "long"}, {"name": "auction_id", "type": "string"}]
    schema = {"type": "record", "name": "Bid", "fields": fields}
    codec = dice.choice(("null", "null", "deflate", "snappy", "zstandard", "bzip2", "xz"))
    sync = dice.randbytes(16)
    record = avro_encode(schema, {"ts": 1717936496, "auction_id": "a"})
    good = avro_block(2, record * 2, codec, sync)
    out = avro_header(schema, codec, sync)
    for _ in range(dice.randint(1, 7)):
        out += dice.choice(
            (
                good, good, good, good[: dice.randrange(len(good))], mutate(good, dice), sync,
                dice.randbytes(dice.randint(1, 5)), avro_block(3, record * 2, codec, sync),
                avro_block(1, record * 2, codec, sync), avro_block(0, b"", codec, sync),
                avro_block(1, b"", codec, sync), avro_block(2, record * 2, codec, bytes(16)),
                zigzag(2) + zigzag(dice.choice((-1, 0, 2**40, -(2**62)))) + record * 2 + sync,
                zigzag(dice.choice((-1, 2**62))) + good[1:], b"\xff" * 12 + sync,
            )
        )  # fmt: skip
    return out


@dataclass(frozen=True)
class File:
    """A file to land: its stream's folder, its name in it, its bytes."""

    stream: str
    name: str
    content: bytes


_WRITERS: dict[str, Callable[[Sequence[Row], random.Random], bytes]] = {
    "json": json_content,
    "csv": csv_content,
    "avro": avro_content,
}


_SOUPS = (
    ("json", "impressions", json_soup),
    ("csv", "clicks", csv_soup),
    ("avro", "bid_requests", avro_soup),
)


def random_file(number: int, dice: random.Random) -> File:
    """A file of any stream and format, at times broken, at times packed."""
    stream = dice.choice(reference.STREAMS)
    form = dice.choice(("json", "csv", "avro"))
    nasty = dice.choice((0.0, 0.05, 0.2))
    rows = [random_row(stream, dice, nasty) for _ in range(dice.randint(1, 6))]
    content = _WRITERS[form](rows, dice)
    if dice.random() < 0.4:
        soup: Callable[[random.Random], bytes]
        form, stream, soup = dice.choice(_SOUPS)
        content = soup(dice)
        return File(stream, f"{number}.{form}", content)
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        content = mutate(content, dice)
    if form != "avro" and dice.random() < 0.1:
        content = b"\xef\xbb\xbf" + content
    name = f"{number}.{form}"
    packed = dice.random()
    if packed < 0.06:
        content = gzip.compress(content, mtime=0)
        name += ".gz"
    elif packed < 0.1:
        content = zstd.compress(content)
        name += ".zst"
    return File(stream, name, content)


def random_folder(seed: int, files: int) -> list[File]:
    """Files that differ in their content, so that no one is skipped as known."""
    dice = random.Random(seed)
    out = [random_file(number, dice) for number in range(files)]
    return list({(file.stream, file.content): file for file in out}.values())


def folders(files: int) -> st.SearchStrategy[list[File]]:
    """Random folders, each from one number: a batch shares the fixed cost of a load."""
    return st.integers(0, 2**63).map(lambda seed: random_folder(seed, files))


def land(root: Path, files: Iterable[File]) -> dict[Path, File]:
    """Writes the files under ``root/<stream>/``."""
    out = {}
    for file in files:
        path = root / file.stream / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        out[path] = file
    return out


def compare(warehouse: Path, landed: Mapping[Path, File], contract: str | None = None) -> list[str]:
    """For each landed file that was not loaded as the reference would: bytes, both results."""
    loaded = read_raw(warehouse)
    out = []
    for path, file in landed.items():
        found = loaded.get(str(path))
        known = found is not None and found.file is not None
        at = found.file["loaded_at"] if known and found and found.file else dt.datetime(2030, 1, 1)
        expected = reference.ingest(file.content, file.name, file.stream, at, contract)
        wrong = differences(found, expected, contract)
        if wrong:
            out.append(
                f"\n=== {file.stream}/{file.name}\nbytes: {show(file.content)}\n  "
                + "\n  ".join(wrong)
                + "\n"
                + _both(expected, found or Loaded(), wrong)
            )
    return out


def _both(expected: reference.Outcome, loaded: Loaded, wrong: list[str]) -> str:
    """Both results for the records that differ."""
    records = {int(number) for line in wrong for number in re.findall(r"^record (\d+)", line)}
    out = []
    for name, each in (("expected", as_loaded(expected)), ("is", loaded)):
        for record in sorted(records) or range(5):
            out.append(f"{name} of record {record}: {each.reject(record) or each.row(record)}\n")
    return "".join(out)
