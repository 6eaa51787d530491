"""Avro object container files → batches of JSON documents (semantics section 1; Avro 1.12).

Blocks are found by their headers and sync markers, so that damage costs one block and no other.
fastavro decodes each block in one call, as the items of an Avro array.
"""

from __future__ import annotations

import bz2
import datetime as dt
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import cramjam
import fastavro
import numpy as np
import pyarrow as pa
from backports import zstd
from fastavro.read import LOGICAL_READERS

from ingestion.readers.batch import RAW_LIMIT, Batch, Layout, fault_batch, kept_text, shortened

MAGIC = b"Obj\x01"
_SYNC_SIZE = 16
_BATCH_RECORDS = 50_000
_BLOCK_LIMIT = 256 * 2**20  # a block that says it is larger is damaged
_LAYOUT = Layout(exact_fractions=True)
_METADATA = fastavro.parse_schema({"type": "map", "values": "bytes"})
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class _Damage(Exception):
    """A block that is not what its header says."""


def read_avro(pieces: Iterator[bytes]) -> Iterator[Batch]:
    """Batches of documents. Faults are records too; nothing raises but the pieces themselves."""
    return _AvroReader(pieces).batches()


class _AvroReader:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.buffer = bytearray()
        self.at = 0  # of the next unread byte in the buffer
        self.position = 0
        self.rows: list[tuple[int, bytes, str | None, str | None]] = []

    def have(self, size: int) -> bool:
        """Whether `size` more bytes can be had; they are in the buffer then."""
        while len(self.buffer) - self.at < size:
            piece = next(self.pieces, b"")
            if not piece:
                return False
            del self.buffer[: self.at]
            self.at = 0
            self.buffer += piece
        return True

    def batches(self) -> Iterator[Batch]:
        try:
            decode, sync = self.read_header()
        except _Damage as damage:
            yield self.whole_file(str(damage))
            return
        while self.have(1):
            self.read_block(decode, sync)
            if len(self.rows) >= _BATCH_RECORDS:
                yield self.flush()
        if self.rows:
            yield self.flush()

    def read_header(self) -> tuple[Callable[[int, bytes], list[Any]], bytes]:
        if not self.have(len(MAGIC)) or self.buffer[: len(MAGIC)] != MAGIC:
            raise _Damage("no Avro header")
        size = 4096
        while True:
            complete = not self.have(size)
            stream = io.BytesIO(bytes(self.buffer[len(MAGIC) :]))
            try:
                metadata: Any = fastavro.schemaless_reader(stream, _METADATA, None)
                sync = stream.read(_SYNC_SIZE)
                if len(sync) == _SYNC_SIZE:
                    break
            except Exception as error:
                if complete:
                    raise _Damage(f"no Avro header: {_said(error)}") from None
            if complete or size > RAW_LIMIT:
                raise _Damage("no Avro header: it is cut short")
            size *= 4
        self.at = len(MAGIC) + stream.tell()
        codec = metadata.get("avro.codec", b"null").decode(errors="replace")
        if codec not in _CODECS:
            raise _Damage(f"the Avro codec {codec!r} is not known")
        try:
            schema = _readable(json.loads(metadata["avro.schema"]))
            parsed = fastavro.parse_schema({"type": "array", "items": schema})
        except Exception as error:
            raise _Damage(f"no usable Avro schema: {_said(error)}") from None
        unpack = _CODECS[codec]

        def decode(count: int, data: bytes) -> list[Any]:
            try:
                if not count and not unpack(data):
                    return []
                framed = _long(count) + unpack(data) + b"\0"
                stream = io.BytesIO(framed)
                records = fastavro.schemaless_reader(
                    stream, parsed, None, handle_unicode_errors="surrogateescape"
                )
            except Exception as error:
                raise _Damage(_said(error)) from None
            assert isinstance(records, list)
            if stream.tell() != len(framed) or len(records) != count:
                raise _Damage("its records do not fill it")
            return records

        return decode, sync

    def read_block(self, decode: Callable[[int, bytes], list[Any]], sync: bytes) -> None:
        self.have(20)
        count, after_count = _read_long(self.buffer, self.at)
        size, start = _read_long(self.buffer, after_count) if after_count else (None, 0)
        if count is not None and size is not None and count >= 0 and 0 <= size <= _BLOCK_LIMIT:
            head = start - self.at
            if self.have(head + size + _SYNC_SIZE):
                begin = self.at
                start = begin + head
                end = start + size
                if self.buffer[end : end + _SYNC_SIZE] == sync:
                    data = bytes(self.buffer[start:end])
                    try:
                        records = decode(count, data) if data or count else []
                    except _Damage as damage:
                        self.skip_to(sync, f"{count} records declared; {damage}")
                    else:
                        self.at = end + _SYNC_SIZE
                        self.documents(records)
                    return
        what = f"{count} records declared" if count is not None else "no block header"
        self.skip_to(sync, f"{what}; its sync marker is elsewhere")

    def skip_to(self, sync: bytes, what: str) -> None:
        """One rejected record from here to past the next sync marker, or to the file's end."""
        searched = self.at
        while (found := self.buffer.find(sync, searched)) < 0:
            done = len(self.buffer) - self.at
            if not self.have(done + 1):
                self.damaged(bytes(self.buffer[self.at :]), f"{what}; the file ends inside it")
                self.at = len(self.buffer)
                return
            searched = self.at + max(0, done - _SYNC_SIZE)
        end = found + _SYNC_SIZE
        self.damaged(bytes(self.buffer[self.at : end]), what)
        self.at = end

    def damaged(self, block: bytes, what: str) -> None:
        self.position += 1
        self.rows.append((self.position, *shortened(block, f"a damaged Avro block: {what}"), None))

    def documents(self, records: list[Any]) -> None:
        for record in records:
            self.position += 1
            document = json.dumps(record, ensure_ascii=False, default=_bytes_as_text)
            fault = None
            raw = document.encode(errors="surrogateescape")
            if not isinstance(record, dict):
                fault = "not a record"
            elif "\\u0000" in document and _NUL.search(document):
                fault = "a NUL character"
            elif not document.isascii():
                try:
                    raw.decode()
                except UnicodeDecodeError:
                    fault = "not UTF-8"
            self.rows.append((self.position, raw, fault, None if fault else document))

    def flush(self) -> Batch:
        positions, raws, faults, documents = zip(*self.rows, strict=True)
        self.rows = []
        table = pa.table(
            {
                "position": pa.array(positions, pa.int64()),
                "line": pa.nulls(len(positions), pa.int64()),
                "fault": pa.array(faults, pa.string()),
                "document": pa.array(documents, pa.large_string()),
            }
        )
        return Batch(table, _LAYOUT, lambda numbers: [raws[number] for number in numbers])

    def whole_file(self, fault: str) -> Batch:
        kept = bytes(self.buffer[:RAW_LIMIT])
        total = len(self.buffer)
        for piece in self.pieces:
            total += len(piece)
            kept += piece[: max(0, RAW_LIMIT - len(kept))]
        return fault_batch(kept, fault, position=0, line=None, total=total)


def _said(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _long(value: int) -> bytes:
    """A count as Avro's zig-zag variable-length integer."""
    value <<= 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_long(buffer: bytearray, at: int) -> tuple[int | None, int]:
    """The integer at `at` and where it ends; (None, 0) when there is none."""
    value = 0
    for index in range(10):
        if at + index >= len(buffer):
            return None, 0
        byte = buffer[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + index + 1
    return None, 0


def _snappy(data: bytes) -> bytes:
    unpacked = bytes(cramjam.snappy.decompress_raw(data[:-4]))
    if zlib.crc32(unpacked).to_bytes(4) != data[-4:]:
        raise _Damage("its checksum is wrong")
    return unpacked


def _deflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=-15)
    unpacked = unpacker.decompress(data)
    # Some writers leave a part of zlib's checksum behind the deflate stream.
    if not unpacker.eof or len(unpacker.unused_data) > 4:
        raise _Damage("its compressed data does not end with it")
    return unpacked


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _deflate,
    "snappy": _snappy,
    "zstandard": zstd.decompress,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}


# A value's JSON must say what the file says: a float as its own shortest decimal, a decimal
# exactly, a date as a date, a time in microseconds. Other logical types stay the numbers that they
# are in the file.


def _shortest_float(data: Any, *_: Any) -> float:
    return float(str(np.frombuffer(data, "<f4")[0]))


def _exact_decimal(data: bytes, schema: Any, *_: Any) -> str:
    unscaled = int.from_bytes(data, "big", signed=True)
    return format(Decimal(unscaled).scaleb(-int(schema.get("scale", 0))), "f")


def _iso_date(data: int, *_: Any) -> str | int:
    try:
        return (dt.date(1970, 1, 1) + dt.timedelta(days=data)).isoformat()
    except OverflowError:
        return data


def _microseconds(data: int, *_: Any) -> int | str:
    """A time as a number that reads as microseconds, which it does not before 1973."""
    if data >= 10**14:
        return data
    try:
        return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=data)).isoformat(" ")
    except OverflowError:
        return "0001-01-01 00:00:00"


def _from_milliseconds(data: int, *_: Any) -> int | str:
    return _microseconds(data * 1000)


def _from_nanoseconds(data: int, *_: Any) -> int | str:
    return _microseconds(data // 1000)


LOGICAL_READERS["fixed-adx-float"] = _shortest_float
LOGICAL_READERS["bytes-adx-decimal"] = _exact_decimal
LOGICAL_READERS["fixed-adx-decimal"] = _exact_decimal
LOGICAL_READERS["int-adx-date"] = _iso_date
LOGICAL_READERS["long-adx-milliseconds"] = _from_milliseconds
LOGICAL_READERS["long-adx-microseconds"] = _microseconds
LOGICAL_READERS["long-adx-nanoseconds"] = _from_nanoseconds
_LOGICAL = {
    "decimal": "adx-decimal",
    "date": "adx-date",
    **{
        f"{prefix}timestamp-{unit}s": f"adx-{unit}seconds"
        for prefix in ("", "local-")
        for unit in ("milli", "micro", "nano")
    },
}


def _readable(schema: Any) -> Any:
    """The writer's schema with our own readers of logical types in place of fastavro's."""
    floats = iter(range(10**9))

    def walk(node: Any) -> Any:
        if node == "float":
            name = f"adx_float_{next(floats)}"
            return {"type": "fixed", "name": name, "size": 4, "logicalType": "adx-float"}
        if isinstance(node, list):
            return [walk(branch) for branch in node]
        if not isinstance(node, dict):
            return node
        if node.get("type") == "float":
            return walk("float")
        found = dict(node)
        logical = found.pop("logicalType", None)
        if logical in _LOGICAL:
            found["logicalType"] = _LOGICAL[logical]
        if isinstance(found.get("type"), (dict, list)):
            found["type"] = walk(found["type"])
        elif found.get("type") == "array":
            found["items"] = walk(found["items"])
        elif found.get("type") == "map":
            found["values"] = walk(found["values"])
        elif found.get("type") in ("record", "error"):
            found["fields"] = [{**field, "type": walk(field["type"])} for field in found["fields"]]
            for field in found["fields"]:
                field.pop("default", None)  # a reader's matter, and ours may no longer fit it
        return found

    return walk(schema)


def _bytes_as_text(value: Any) -> str:
    return kept_text(value) if isinstance(value, bytes) else str(value)
