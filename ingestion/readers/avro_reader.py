"""Avro object container files → batches (semantics section 1; Avro 1.12).

Blocks are found by their headers and sync markers, so that damage costs one block and no other.
Groups of blocks are decoded side by side on other threads, into text columns, by a kernel that
refuses a block with anything unusual. Such a block, and all of a small file, is read the reference
way: by fastavro, in one call, as the items of an Avro array, into JSON documents. Both ways give
the same records.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import re
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cramjam
import fastavro
import numpy as np
import pyarrow as pa
from backports import zstd

from ingestion.readers.avro_values import bytes_as_text, readable
from ingestion.readers.batch import (
    RAW_LIMIT,
    Batch,
    Layout,
    RawOf,
    Seen,
    fault_batch,
    shortened,
)

if TYPE_CHECKING:
    from ingestion.readers.avro_program import Decoded, Decoder

MAGIC = b"Obj\x01"
KERNEL_FROM = 4 * 2**20  # bytes of blocks in a process: for fewer the kernel is not loaded
_SYNC_SIZE = 16
_BATCH_RECORDS = 50_000
_GROUP_BYTES = 2**20
_CHUNK_BYTES = 8 * 2**20  # unpacked
_THREADS = 2
_EMPTY_RECORDS = 2**20  # records of no bytes that a block may hold
_BLOCK_LIMIT = 256 * 2**20  # a block that says it is larger is damaged
_LAYOUT = Layout(exact_fractions=True)
_METADATA = fastavro.parse_schema({"type": "map", "values": "bytes"})
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class _Damage(Exception):
    """A block that is not what its header says."""


@dataclass(frozen=True)
class _Block:
    """A block with its header and its sync marker; `start` and `end` enclose its packed data."""

    content: bytes
    start: int
    end: int
    count: int

    @property
    def data(self) -> bytes:
        return self.content[self.start : self.end]


@dataclass(frozen=True)
class _Row:
    """A record read the reference way: its document, or its bytes and what is wrong with it."""

    document: str | None
    raw: bytes = b""
    fault: str | None = None


def read_avro(pieces: Iterator[bytes], kernel_from: int = KERNEL_FROM) -> Iterator[Batch]:
    """Batches of text columns or documents, in file order.

    Faults are records too; nothing raises but the pieces themselves. `kernel_from`: see
    KERNEL_FROM.
    """
    return _AvroReader(pieces, kernel_from).batches()


@dataclass(frozen=True)
class _Codec:
    """How a file's blocks are unpacked and decoded. All of it may be called on any thread."""

    schema: bytes
    reference: Any  # what fastavro makes of the schema
    unpack: Callable[[bytes], bytes]

    def records(self, block: _Block) -> list[Any]:
        """The reference way."""
        if not block.count and not block.data:
            return []
        try:
            unpacked = self.unpacked(block)
            if not block.count and not unpacked:
                return []
            framed = _long(block.count) + unpacked + b"\0"
            stream = io.BytesIO(framed)
            records = fastavro.schemaless_reader(
                stream, self.reference, None, handle_unicode_errors="surrogateescape"
            )
        except Exception as error:
            raise _Damage(_said(error)) from None
        assert isinstance(records, list)
        if stream.tell() != len(framed) or len(records) != block.count:
            raise _Damage("its records do not fill it")
        return records

    def unpacked(self, block: _Block) -> bytes:
        data = self.unpack(block.data)
        # Records without a byte are made as fast as memory fills, so a wrong count must not count.
        if block.count > max(len(data), _EMPTY_RECORDS):
            raise _Damage("more than its bytes can hold")
        return data

    def rows(self, block: _Block) -> list[_Row]:
        try:
            return [_row(record) for record in self.records(block)]
        except _Damage as damage:
            return [_damaged(block.content, f"{block.count} records declared; {damage}")]


class _AvroReader:
    def __init__(self, pieces: Iterator[bytes], kernel_from: int) -> None:
        self.pieces = pieces
        self.kernel_from = kernel_from
        self.buffer = bytearray()
        self.at = 0  # of the next unread byte in the buffer
        self.position = 0
        self.rows: list[_Row] = []

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
            codec, sync = self.read_header()
        except _Damage as damage:
            yield self.whole_file(str(damage))
            return
        for part in self.parts(codec, sync):
            if isinstance(part, list):
                self.rows += part
                if len(self.rows) >= _BATCH_RECORDS:
                    yield self.documents()
            else:
                if self.rows:
                    yield self.documents()
                yield self.columns(part)
        if self.rows:
            yield self.documents()

    def parts(self, codec: _Codec, sync: bytes) -> Iterator[list[_Row] | Decoded]:
        """The file's records in order; groups of blocks are decoded ahead on other threads."""
        group: list[_Block] = []
        size = 0
        pending: deque[Future[list[list[_Row] | Decoded]]] = deque()
        by_kernel = self.have(self.kernel_from - _seen.bytes)  # a large file is from its start
        pool: ThreadPoolExecutor | None = None
        try:
            while self.have(1):
                found = self.read_block(codec, sync)
                if isinstance(found, _Block):
                    group.append(found)
                    size += len(found.content)
                    _seen.bytes += len(found.content)
                    if size < _GROUP_BYTES:
                        continue
                pool = pool or ThreadPoolExecutor(_THREADS, "avro")
                pending.append(pool.submit(_decoded, codec, group, by_kernel))
                group, size = [], 0
                while pending and (len(pending) > _THREADS or not isinstance(found, _Block)):
                    yield from pending.popleft().result()
                if not isinstance(found, _Block):
                    yield found
            while pending:
                yield from pending.popleft().result()
            yield from _decoded(codec, group, by_kernel)
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)

    def read_header(self) -> tuple[_Codec, bytes]:
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
            schema = metadata["avro.schema"]
            return _Codec(schema, _reference(schema), _CODECS[codec]), sync
        except Exception as error:
            raise _Damage(f"no usable Avro schema: {_said(error)}") from None

    def read_block(self, codec: _Codec, sync: bytes) -> _Block | list[_Row]:
        """The next block, if its marker is where it says; else all up to the next marker."""
        self.have(20)
        count, after_count = _read_long(self.buffer, self.at)
        size, start = _read_long(self.buffer, after_count) if after_count else (None, 0)
        if count is not None and size is not None and count >= 0 and 0 <= size <= _BLOCK_LIMIT:
            head = start - self.at
            if self.have(head + size + _SYNC_SIZE):
                end = self.at + head + size + _SYNC_SIZE
                if self.buffer[end - _SYNC_SIZE : end] == sync:
                    block = _Block(bytes(self.buffer[self.at : end]), head, head + size, count)
                    if block.content.find(sync) < head + size:
                        return self.read_marked_block(codec, sync, block)
                    self.at = end
                    return block
        what = f"{count} records declared" if count is not None else "no block header"
        return [self.skip_to(sync, f"{what}; its sync marker is elsewhere")]

    def read_marked_block(self, codec: _Codec, sync: bytes, block: _Block) -> list[_Row]:
        """A block that has a marker inside, from which reading goes on if the block is damaged."""
        try:
            rows = [_row(record) for record in codec.records(block)]
        except _Damage as damage:
            return [self.skip_to(sync, f"{block.count} records declared; {damage}")]
        self.at += len(block.content)
        return rows

    def skip_to(self, sync: bytes, what: str) -> _Row:
        """One rejected record from here to past the next sync marker, or to the file's end."""
        searched = self.at
        while (found := self.buffer.find(sync, searched)) < 0:
            done = len(self.buffer) - self.at
            if not self.have(done + 1):
                rest = bytes(self.buffer[self.at :])
                self.at = len(self.buffer)
                return _damaged(rest, f"{what}; the file ends inside it")
            searched = self.at + max(0, done - _SYNC_SIZE)
        end = found + _SYNC_SIZE
        block = bytes(self.buffer[self.at : end])
        self.at = end
        return _damaged(block, what)

    def places(self, count: int) -> dict[str, pa.Array]:
        self.position += count
        first = self.position - count + 1
        return {
            "position": pa.array(np.arange(first, first + count, dtype=np.int64)),
            "line": pa.nulls(count, pa.int64()),
        }

    def documents(self) -> Batch:
        rows, self.rows = self.rows, []
        table = pa.table(
            {
                **self.places(len(rows)),
                "fault": pa.array([row.fault for row in rows], pa.string()),
                "document": pa.array([row.document for row in rows], pa.large_string()),
            }
        )

        def raw(numbers: Sequence[int]) -> list[bytes]:
            found = [rows[number] for number in numbers]
            return [row.raw if row.document is None else row.document.encode() for row in found]

        return Batch(table, _LAYOUT, raw)

    def columns(self, decoded: Decoded) -> Batch:
        places = {**self.places(decoded.rows), "fault": pa.nulls(decoded.rows, pa.string())}
        table = pa.table({**places, **decoded.columns})
        return Batch(table, decoded.layout, _raw_of(table, decoded.layout))

    def whole_file(self, fault: str) -> Batch:
        kept = bytes(self.buffer[:RAW_LIMIT])
        total = len(self.buffer)
        for piece in self.pieces:
            total += len(piece)
            kept += piece[: max(0, RAW_LIMIT - len(kept))]
        return fault_batch(kept, fault, position=0, line=None, total=total)


_seen = Seen()  # blocks, packed as they are in files
_loading = threading.Lock()


@lru_cache(maxsize=64)
def _reference(schema: bytes) -> Any:
    found = json.loads(schema)
    json.dumps(found, ensure_ascii=False).encode()  # raises where a name has half a character
    parsed = readable(found)
    return fastavro.parse_schema({"type": "array", "items": parsed})


@lru_cache(maxsize=64)
def _decoder(schema: bytes) -> Decoder | None:
    """What runs the kernel for this schema; None if it cannot."""
    with _loading:
        try:
            from ingestion.readers import avro_program
        except RuntimeError:  # numba finds no folder for what it has compiled
            return None
    try:
        return avro_program.Decoder(avro_program.program(_reference(schema)["items"]))
    except avro_program.Unsupported:
        return None


def _decoded(codec: _Codec, group: Sequence[_Block], by_kernel: bool) -> list[list[_Row] | Decoded]:
    decoder = _decoder(codec.schema) if by_kernel else None
    if decoder is None:
        return [codec.rows(block) for block in group]
    parts: list[list[_Row] | Decoded] = []
    chunk: list[_Block] = []
    unpacked: list[bytes] = []
    size = 0
    for block in group:
        try:
            data = codec.unpacked(block) if block.count or block.data else b""
        except Exception:  # the reference way says what is wrong
            parts += _decoded_chunk(codec, decoder, chunk, unpacked)
            parts.append(codec.rows(block))
            chunk, unpacked, size = [], [], 0
            continue
        chunk.append(block)
        unpacked.append(data)
        size += len(data)
        if size >= _CHUNK_BYTES:
            parts += _decoded_chunk(codec, decoder, chunk, unpacked)
            chunk, unpacked, size = [], [], 0
    return parts + _decoded_chunk(codec, decoder, chunk, unpacked)


def _decoded_chunk(
    codec: _Codec, decoder: Decoder, blocks: Sequence[_Block], unpacked: Sequence[bytes]
) -> list[list[_Row] | Decoded]:
    parts: list[list[_Row] | Decoded] = []
    at = 0
    refused = 1
    while at < len(blocks):
        decoded = decoder.decode(unpacked[at:], [block.count for block in blocks[at:]])
        if decoded.rows:
            parts.append(decoded)
        at += decoded.blocks
        # Where one is refused right after another, more and more go with it.
        refused = 1 if decoded.blocks else 2 * refused
        parts += [codec.rows(block) for block in blocks[at : at + refused]]
        at += refused
    return parts


def _row(record: Any) -> _Row:
    document = json.dumps(record, ensure_ascii=False, default=bytes_as_text)
    raw = document.encode(errors="surrogateescape")
    if not isinstance(record, dict):
        return _Row(None, raw, "not a record")
    if "\\u0000" in document and _NUL.search(document):
        return _Row(None, raw, "a NUL character")
    if not document.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return _Row(None, raw, "not UTF-8")
    return _Row(document)


def _damaged(block: bytes, what: str) -> _Row:
    return _Row(None, *shortened(block, f"a damaged Avro block: {what}"))


def _raw_of(table: pa.Table, layout: Layout) -> RawOf:
    """The documents that the reference way gives for rows of text columns."""
    readers = [_VALUES[kind] for kind in layout.kinds or ()]

    def raw(numbers: Sequence[int]) -> list[bytes]:
        chosen = pa.array(numbers, pa.int64())
        found = [
            [
                None if text is None else read(text)
                for text in table[f"c{index}"].take(chosen).to_pylist()
            ]
            for index, read in enumerate(readers)
        ]
        return [
            json.dumps(
                dict(zip(layout.columns or (), values, strict=True)), ensure_ascii=False
            ).encode()
            for values in zip(*found, strict=True)
        ]

    return raw


_VALUES: dict[str, Callable[[str], Any]] = {
    "VARCHAR": str,
    "BIGINT": int,
    "DOUBLE": float,
    "BOOLEAN": "true".__eq__,
    "JSON": json.loads,
}


def _said(error: Exception) -> str:
    """An error in a line, the same in each run: without the addresses of objects."""
    text = _ADDRESS.sub("its bytes", str(error)).encode(errors="replace").decode()
    return text.splitlines()[0][:200] if text else type(error).__name__


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
