"""A writer's schema → the program that the kernel walks, and its blocks → text columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.readers import avro_kernel as kernel
from ingestion.readers.batch import Layout

_Integers = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]

_COLUMNS = 1000
_NODES = 10_000
_OUTPUT_LIMIT = 2**30  # bytes of text of one chunk; what needs more is for the reference way
_PLAIN = {
    "null": (kernel.NULL, "VARCHAR"),
    "boolean": (kernel.BOOLEAN, "BOOLEAN"),
    "int": (kernel.INT, "BIGINT"),
    "long": (kernel.LONG, "BIGINT"),
    "double": (kernel.DOUBLE, "DOUBLE"),
    "string": (kernel.TEXT, "VARCHAR"),
    "bytes": (kernel.TEXT, "VARCHAR"),
    "array": (kernel.ARRAY, "JSON"),
    "map": (kernel.MAP, "JSON"),
    "record": (kernel.RECORD, "JSON"),
    "error": (kernel.RECORD, "JSON"),
    "enum": (kernel.ENUM, "VARCHAR"),
    "fixed": (kernel.FIXED, "VARCHAR"),
}
_LOGICAL = {
    ("fixed", "adx-float"): (kernel.FLOAT, "DOUBLE"),
    ("bytes", "adx-decimal"): (kernel.DECIMAL, "VARCHAR"),
    ("fixed", "adx-decimal"): (kernel.DECIMAL, "VARCHAR"),
    ("int", "adx-date"): (kernel.DATE, "VARCHAR"),
    ("long", "adx-milliseconds"): (kernel.MILLISECONDS, "BIGINT"),
    ("long", "adx-microseconds"): (kernel.MICROSECONDS, "BIGINT"),
    ("long", "adx-nanoseconds"): (kernel.NANOSECONDS, "BIGINT"),
}


class Unsupported(Exception):
    """The program cannot say this schema."""


@dataclass(frozen=True)
class Program:
    """Arrays as the kernel wants them, and what its columns are."""

    nodes: _Integers
    kids: _Integers
    constants: _Bytes
    columns: _Integers
    layout: Layout


@dataclass(frozen=True)
class Decoded:
    """The columns `c0`, `c1`, … of `blocks` blocks in a row, and whether the next one is refused.

    If it is not, all blocks are taken.
    """

    layout: Layout
    columns: dict[str, pa.Array]
    rows: int
    blocks: int


def program(parsed: Any) -> Program:
    """The program for a record's schema as `fastavro.parse_schema` gives it; or Unsupported."""
    return _Builder().program(parsed)


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[list[int]] = []
        self.kids: list[list[int]] = []
        self.constants = bytearray()
        self.named: dict[str, int] = {}
        self.kinds: list[str] = []

    def program(self, parsed: Any) -> Program:
        if not isinstance(parsed, dict) or parsed.get("type") not in ("record", "error"):
            raise Unsupported
        names = [field["name"] for field in parsed["fields"]]
        if not names or len(names) > _COLUMNS:
            raise Unsupported
        first = self.node(parsed)
        begin, count = self.nodes[first][1], self.nodes[first][2]
        columns, kinds = [], []
        for kid in self.kids[begin : begin + count]:
            kind = self.kinds[kid[0]]
            columns.append([kid[0], int(kind == "JSON")])
            kinds.append(kind)
        layout = Layout(columns=tuple(names), kinds=tuple(kinds), exact_fractions=True)
        return Program(
            np.array(self.nodes, np.int64),
            np.array(self.kids, np.int64).reshape(-1, 3),
            np.frombuffer(bytes(self.constants) or b" ", np.uint8).copy(),
            np.array(columns, np.int64),
            layout,
        )

    def node(self, schema: Any) -> int:
        if len(self.nodes) > _NODES:
            raise Unsupported
        if isinstance(schema, str) and schema in self.named:
            return self.named[schema]
        index = len(self.nodes)
        self.nodes.append([0, 0, 0])
        self.kinds.append("JSON")
        if isinstance(schema, list):
            self.union(index, schema)
            return index
        if isinstance(schema, str):
            schema = {"type": schema}
        type_ = schema["type"]
        if not isinstance(type_, str) or (type_ not in _PLAIN and type_ in self.named):
            # Another schema in a wrapping, whose own logical type means nothing.
            raise Unsupported
        found = _LOGICAL.get((type_, schema.get("logicalType"))) or _PLAIN.get(type_)
        if found is None:
            raise Unsupported
        operation, self.kinds[index] = found
        if "name" in schema:
            self.named[schema["name"]] = index
        self.nodes[index] = [operation, *self.details(operation, schema)]
        return index

    def union(self, index: int, branches: Sequence[Any]) -> None:
        inner = [self.node(branch) for branch in branches]
        values = [node for node in inner if self.nodes[node][0] != kernel.NULL]
        if any(self.nodes[node][0] == kernel.UNION for node in inner):
            raise Unsupported
        if len(values) == 1:
            self.kinds[index] = self.kinds[values[0]]
        elif not values:
            self.kinds[index] = "VARCHAR"
        begin = len(self.kids)
        self.kids.extend([node, 0, 0] for node in inner)
        self.nodes[index] = [kernel.UNION, begin, len(inner)]

    def details(self, operation: int, schema: Mapping[str, Any]) -> tuple[int, int]:
        if operation == kernel.RECORD:
            names = [field["name"] for field in schema["fields"]]
            if len(set(names)) < len(names):
                raise Unsupported
            kids = [
                [
                    self.node(field["type"]),
                    *self.constant(json.dumps(name, ensure_ascii=False), ":"),
                ]
                for name, field in zip(names, schema["fields"], strict=True)
            ]
        elif operation == kernel.ENUM:
            kids = [[0, *self.constant(symbol)] for symbol in schema["symbols"]]
        elif operation == kernel.DECIMAL:
            scale = int(schema.get("scale", 0))
            if not 0 <= scale <= 18:
                raise Unsupported
            return int(schema.get("size", -1)), scale
        elif operation == kernel.FIXED:
            return int(schema["size"]), 0
        elif operation in (kernel.ARRAY, kernel.MAP):
            return self.node(schema["items" if operation == kernel.ARRAY else "values"]), 0
        else:
            return 0, 0
        begin = len(self.kids)
        self.kids.extend(kids)
        return begin, len(kids)

    def constant(self, text: str, end: str = "") -> tuple[int, int]:
        if end == "" and json.dumps(text, ensure_ascii=False) != f'"{text}"':
            raise Unsupported
        if "\\u" in text:
            raise Unsupported
        begin = len(self.constants)
        try:
            self.constants += (text + end).encode()
        except UnicodeEncodeError:
            raise Unsupported from None
        return begin, len(self.constants) - begin


class Decoder:
    """Decodes chunks of a file; remembers how much room its columns need."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.share = [2.0 / len(program.columns)] * len(program.columns)

    def decode(self, blocks: Sequence[bytes], counts: Sequence[int]) -> Decoded:
        """The blocks' records, up to the first block that the kernel refuses."""
        program = self.program
        width = len(program.columns)
        data = np.frombuffer(bytearray().join([*blocks, bytes(kernel.SLACK)]), np.uint8)
        ends = np.cumsum([len(block) for block in blocks], dtype=np.int64)
        rows = sum(counts)
        if rows > len(data):  # records of no bytes
            return Decoded(program.layout, {}, 0, 0)
        offsets = np.zeros((width, rows + 1), np.int64)
        valid = np.empty((width, rows), np.uint8)
        state = np.zeros(3, np.int64)
        while True:
            bases = np.zeros(width + 1, np.int64)
            room = [int(share * len(data)) + 4096 for share in self.share]
            np.cumsum(room, out=bases[1:])
            if bases[-1] > _OUTPUT_LIMIT:
                self.share = [2.0 / width] * width
                return Decoded(program.layout, {}, 0, 0)
            out = np.empty(bases[-1] + kernel.SLACK, np.uint8)
            taken = kernel.decode(
                data, ends, np.array(counts, np.int64), program.nodes, program.kids,
                program.constants, program.columns, out, bases, offsets, valid, state,
            )  # fmt: skip
            if state[kernel.STATUS] != kernel.FULL:
                break
            self.share[state[kernel.WRITE]] = 2.0 * room[state[kernel.WRITE]] / len(data)
        done = int(state[kernel.READ])
        columns = {
            f"c{column}": _texts(out[bases[column] :], offsets[column, : done + 1], valid[column])
            for column in range(width)
        }
        return Decoded(program.layout, columns, done, taken)


def _texts(out: _Bytes, offsets: _Integers, valid: _Bytes) -> pa.Array:
    rows = len(offsets) - 1
    bitmap = np.packbits(valid[:rows], bitorder="little")
    buffers = [pa.py_buffer(bitmap), pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]])]
    return pa.Array.from_buffers(pa.large_string(), rows, buffers)
