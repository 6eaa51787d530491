"""The Avro reader's two ways, the kernel's and fastavro's, give the same records (semantics 1)."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingestion import checks
from ingestion import contract as contracts
from ingestion.contract import Contract, Router
from ingestion.readers.avro_reader import read_avro
from ingestion.readers.batch import Batch
from landing import (
    SYNC,
    avro_block,
    avro_bytes,
    avro_encode,
    avro_file,
    avro_header,
    mutate,
    zigzag,
)

CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")
ALWAYS, NEVER = 0, 2**62
_CONNECTION = duckdb.connect()


def nullable(schema: Any) -> list[Any]:
    return ["null", schema]


def record(name: str, **fields: Any) -> dict[str, Any]:
    listed = [{"name": field, "type": type_} for field, type_ in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


BID = record(
    "Bid",
    timestamp={"type": "long", "logicalType": "timestamp-micros"},
    auction_id="string",
    user_id=nullable("string"),
    price=nullable("double"),
    floor=["float", "null"],
    won="boolean",
    number="int",
    day={"type": "int", "logicalType": "date"},
    amount=nullable({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4}),
    device={"type": "enum", "name": "Device", "symbols": ["mobile", "desktop"]},
    digest={"type": "fixed", "name": "Digest", "size": 4},
    targeting=nullable(
        record(
            "Targeting",
            segments={"type": "array", "items": "string"},
            scores={"type": "map", "values": nullable("double")},
            inner=nullable(record("Inner", again=nullable("Digest"), device="Device")),
        )
    ),
    mixed=["null", "string", "long", "double"],
)


def bid(index: int) -> dict[str, Any]:
    inner = {"again": b"abcd" if index % 2 else None, "device": "mobile"}
    return {
        "timestamp": 1717936496000000 + index,
        "auction_id": f"a-{index}",
        "user_id": f'u-"{index}"\n' if index % 3 else None,
        "price": index / 7,
        "floor": index / 10,
        "won": index % 2 == 0,
        "number": -index,
        "day": 19000 + index,
        "amount": (index * 12345 - 4).to_bytes(8, "big", signed=True),
        "device": "desktop",
        "digest": b"wxyz",
        "targeting": {
            "segments": ["news", 'a "quoted" \\ é 😀\t\x1f'] * (index % 3),
            "scores": {"a": 0.1, "b": None, "c": index * 1.5},
            "inner": inner if index % 4 else None,
        },
        "mixed": (None, "text", index, index / 3)[index % 4],
    }


def batches(content: bytes, kernel_from: int, size: int = 1000) -> list[Batch]:
    pieces = iter([content[at : at + size] for at in range(0, len(content), size)])
    return list(read_avro(pieces, kernel_from))


def read(content: bytes, kernel_from: int) -> list[tuple[int, int | None, str | None, bytes]]:
    """Position, line, fault and raw bytes of every record."""
    out = []
    for batch in batches(content, kernel_from):
        table = batch.table
        raws = batch.raw(pa.array(np.arange(table.num_rows), pa.int64()))
        keys = (table[name].to_pylist() for name in ("position", "line", "fault"))
        out += list(zip(*keys, raws, strict=True))
    return out


def check_texts(content: bytes) -> int:
    """The columns' texts are what DuckDB takes out of the documents; how many rows had columns."""
    documents = [
        batch.table.select(["position", "document"])
        for batch in batches(content, NEVER)
        if batch.layout.columns is None
    ]
    seen = 0
    for batch in batches(content, ALWAYS):
        if batch.layout.columns is None:
            continue
        seen += batch.table.num_rows
        _CONNECTION.register("documents", pa.concat_tables(documents))
        _CONNECTION.register("columns", batch.table)
        assert batch.layout.kinds is not None
        for index, name in enumerate(batch.layout.columns):
            kind = batch.layout.kinds[index]
            path = f"""'$."{name}"'"""
            way = "->" if kind == "JSON" else "->>"
            rows = _CONNECTION.execute(
                f"select c{index}, json_type(document, {path}), (document {way} {path})::text"
                " from columns join documents using (position)"
            ).fetchall()
            assert len(rows) == batch.table.num_rows
            for text, type_, wanted in rows:
                assert text == (None if type_ == "NULL" else wanted), (name, kind)
                if text is not None and kind != "JSON":
                    assert type_.replace("UBIGINT", "BIGINT") == kind
    return seen


def check(content: bytes) -> None:
    assert read(content, ALWAYS) == read(content, NEVER)


@pytest.mark.parametrize("codec", CODECS)
def test_kernel_takes_what_feeds_send(codec: str) -> None:
    blocks = [[bid(index) for index in range(begin, begin + 7)] for begin in range(0, 70, 7)]
    content = avro_file(BID, blocks, codec)
    check(content)
    assert check_texts(content) == 70


def test_small_files_do_without_the_kernel() -> None:
    (batch,) = batches(avro_file(BID, [[bid(1)]]), NEVER)
    assert batch.layout.columns is None


# Random schemas and data ----------------------------------------------------------------------

_TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet='ab "\\/\n\r\t\b\f\x01\x1f\x7fé\u2028😀', max_size=20),
)
_TIMES = st.one_of(st.integers(10**14, 2 * 10**15), st.integers(-(2**63), 2**63 - 1))
_DOUBLES = st.one_of(
    st.floats(),
    st.floats(-1e7, 1e7),
    st.floats(0, 1),
    st.decimals(0, 10**6, places=4).map(float),
    st.integers(-(2**60), 2**60).map(float),
)
_FLOATS = st.one_of(
    st.floats(width=32), st.decimals(0, 1000, places=2).map(lambda value: float(np.float32(value)))
)
_PLAIN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("float", _FLOATS),
    ({"type": "float"}, _FLOATS),
    ("double", _DOUBLES),
    ("string", _TEXTS),
    ({"type": "string", "logicalType": "uuid"}, st.uuids().map(str)),
    ("bytes", st.one_of(st.binary(max_size=10), _TEXTS.map(str.encode))),
    ({"type": "int", "logicalType": "date"}, st.integers(-(2**31), 2**31 - 1)),
    ({"type": "int", "logicalType": "date"}, st.integers(-800_000, 3_000_000)),
    ({"type": "int", "logicalType": "time-millis"}, st.integers(0, 86_400_000)),
    *(
        ({"type": "long", "logicalType": f"{prefix}timestamp-{unit}"}, _TIMES)
        for prefix in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    ),
]


@st.composite
def typed(draw: st.DrawFn, names: Iterator[int], depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
    """A schema and what its values may be."""
    kinds = ["plain"] * 4 + ["decimal", "fixed decimal", "fixed", "enum", "nullable"]
    if depth:
        kinds += ["array", "map", "record", "union", "nullable"]
    kind = draw(st.sampled_from(kinds))
    if kind == "decimal" or kind == "fixed decimal":
        size = draw(st.integers(1, 18))
        precision = math.floor(math.log10(2) * (8 * size - 1))
        scale = draw(st.integers(0, min(precision, 20)))
        logical = {"logicalType": "decimal", "precision": precision, "scale": scale}
        if kind == "decimal":
            return {"type": "bytes", **logical}, st.binary(min_size=0, max_size=size)
        numbers = st.integers(-(2 ** (8 * min(size, 8) - 1)), 2 ** (8 * min(size, 8) - 1) - 1)
        values = numbers.map(lambda value: value.to_bytes(size, "big", signed=True))
        return {"type": "fixed", "name": f"D{next(names)}", "size": size, **logical}, values
    if kind == "fixed":
        size = draw(st.integers(0, 12))
        values = st.one_of(
            st.binary(min_size=size, max_size=size),
            st.text("abc", min_size=size, max_size=size).map(str.encode),
        )
        return {"type": "fixed", "name": f"F{next(names)}", "size": size}, values
    if kind == "enum":
        symbols = draw(st.lists(st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True).filter(
            str.isascii), min_size=1, max_size=4, unique=True))  # fmt: skip
        schema = {"type": "enum", "name": f"E{next(names)}", "symbols": symbols}
        return schema, st.sampled_from(symbols)
    if kind == "nullable":
        inner, values = draw(typed(names, 0).filter(lambda found: not isinstance(found[0], list)))
        if inner == "null":
            return ["null"], values
        union = [inner, "null"] if draw(st.booleans()) else ["null", inner]
        return union, st.one_of(st.none(), values)
    if kind == "array":
        inner, values = draw(typed(names, depth - 1))
        return {"type": "array", "items": inner}, st.lists(values, max_size=4)
    if kind == "map":
        inner, values = draw(typed(names, depth - 1))
        return {"type": "map", "values": inner}, st.dictionaries(_TEXTS, values, max_size=4)
    if kind == "record":
        return draw(records(names, depth - 1))
    if kind == "union":
        branches = draw(st.lists(st.sampled_from(
            ["null", "string", "long", "double", "boolean"]), min_size=1, unique=True))  # fmt: skip
        plain = {name: values for name, values in _PLAIN if isinstance(name, str)}
        if draw(st.booleans()):
            inner, values = draw(records(names, 0))
            return [*branches, inner], st.one_of(values, *(plain[name] for name in branches))
        return branches, st.one_of(*(plain[name] for name in branches))
    found: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(_PLAIN))
    return found


@st.composite
def records(draw: st.DrawFn, names: Iterator[int], depth: int) -> tuple[Any, Any]:
    fields, values = [], {}
    for index in range(draw(st.integers(0, 4))):
        schema, value = draw(typed(names, depth))
        fields.append({"name": f"f{index}", "type": schema})
        values[f"f{index}"] = value
    name = f"R{next(names)}"
    return {"type": "record", "name": name, "fields": fields}, st.fixed_dictionaries(values)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    schema, values = draw(records(count(), 3))
    if not schema["fields"]:
        schema["fields"] = [{"name": "only", "type": "string"}]
        values = st.fixed_dictionaries({"only": _TEXTS})
    blocks = draw(st.lists(st.lists(values, max_size=4), max_size=5))
    return avro_file(schema, blocks, draw(st.sampled_from(CODECS)))


@settings(max_examples=400, deadline=None)
@given(files())
def test_random_schemas_and_data(content: bytes) -> None:
    check(content)
    check_texts(content)


@settings(max_examples=200, deadline=None)
@given(files(), st.randoms(use_true_random=False))
def test_random_damage(content: bytes, dice: random.Random) -> None:
    for _ in range(5):
        content = mutate(content, dice)
        check(content)


@settings(max_examples=300, deadline=None)
@given(st.lists(_DOUBLES, min_size=1, max_size=20), st.lists(_FLOATS, min_size=1, max_size=20))
def test_fractions(doubles: list[float], floats: list[float]) -> None:
    for schema, values in (("double", doubles), ("float", floats)):
        content = avro_file(record("R", f=schema), [[{"f": value}] for value in values])
        check(content)
        check_texts(content)


def test_fractions_of_many_digits_stay_with_the_kernel() -> None:
    dice = random.Random(7)
    values = [dice.random() * 10.0 ** dice.randint(-4, 14) for _ in range(20_000)]
    values += [math.ldexp(dice.getrandbits(53), dice.randint(-70, -5)) for _ in range(20_000)]
    values = [value for value in values if 2e-6 < value < 1e15]
    content = avro_file(record("R", f="double"), [[{"f": value}] for value in values])
    texts: dict[int, str] = {}
    for batch in batches(content, ALWAYS, 2**20):
        if batch.layout.columns:
            positions = batch.table["position"].to_pylist()
            texts.update(zip(positions, batch.table["c0"].to_pylist(), strict=True))
    assert len(texts) > 0.99 * len(values)
    for position, text in texts.items():
        value = values[position - 1]
        assert float(text) == value
        assert len(text.strip("0").replace(".", "")) <= len(_digits(value))


def _digits(value: float) -> str:
    return np.format_float_positional(value, unique=True).strip("0").replace(".", "")


# Damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_cut_at_every_byte(codec: str) -> None:
    schema = record("R", a="long", b=nullable("string"), c={"type": "array", "items": "int"})
    rows = [{"a": index, "b": f"s{index}", "c": [index] * index} for index in range(6)]
    content = avro_file(schema, [rows[:3], rows[3:], rows[:1]], codec)
    for at in range(len(content)):
        check(content[:at])


@pytest.mark.parametrize("codec", CODECS)
def test_every_byte_flipped(codec: str) -> None:
    schema = record("R", a="long", b=nullable("string"), c={"type": "map", "values": "int"})
    rows = [{"a": index, "b": f"s{index}", "c": {"k": index, "l": 2}} for index in range(4)]
    content = avro_file(schema, [rows[:2], rows[2:]], codec)
    start = len(avro_header(schema, codec))
    for at in range(start, len(content)):
        for bit in (0, 3, 7):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            check(bytes(changed))


_ONE = record("R", a="long", b="string")
_ROW = avro_encode(_ONE, {"a": 1, "b": "x"})
_LONGS = record("R", f={"type": "array", "items": "long"})
ODD_BLOCKS: dict[str, tuple[Any, int, bytes]] = {
    "bytes left over": (_ONE, 1, _ROW + b"\0"),
    "a record left over": (_ONE, 1, _ROW * 2),
    "a record too few": (_ONE, 3, _ROW * 2),
    "no record in bytes": (_ONE, 0, _ROW),
    "a block of nothing": (_ONE, 0, b""),
    "the marker inside": (_ONE, 1, b"\x02" + avro_bytes(SYNC)),
    "the marker inside damage": (_ONE, 2, b"\x02" + avro_bytes(SYNC)),
    "an overlong integer": (_ONE, 1, b"\x82\x00" + avro_bytes("x")),
    "an endless integer": (_ONE, 1, b"\xff" * 10 + avro_bytes("x")),
    "more than 64 bits": (_ONE, 1, b"\xff" * 9 + b"\x7f" + avro_bytes("x")),
    "a negative length": (_ONE, 1, b"\x02\x03a"),
    "a huge length": (_ONE, 1, b"\x02" + zigzag(2**40) + b"a"),
    "a surrogate": (_ONE, 1, b"\x02" + avro_bytes(b"\xed\xa0\x80")),
    "a NUL": (_ONE, 1, b"\x02" + avro_bytes(b"a\0")),
    "a negative branch": (record("R", f=nullable("long")), 1, b"\x01\x02"),
    "no such branch": (record("R", f=nullable("long")), 1, b"\x04\x02"),
    "a boolean of 2": (record("R", f="boolean"), 1, b"\x02"),
    "an int of 40 bits": (record("R", f="int"), 1, zigzag(2**40)),
    "a sized block": (_LONGS, 1, b"\x03\x04\x02\x04\x00"),
    "a wrongly sized block": (_LONGS, 1, b"\x03\x40\x02\x04\x00"),
    "two blocks": (_LONGS, 1, b"\x02\x02\x02\x04\x00"),
    "a key twice": (
        record("R", f={"type": "map", "values": "long"}), 1,
        zigzag(3) + b"".join(avro_bytes(key) + b"\x02" for key in "aba") + b"\0",
    ),
    "no such symbol": (
        record("R", f={"type": "enum", "name": "E", "symbols": ["A", "B"]}), 1, b"\x0a",
    ),
    "records of nothing": (record("R", f="null"), 5, b""),
    "nulls in an array": (record("R", f={"type": "array", "items": "null"}), 1, zigzag(3) + b"\0"),
    "names that differ in case": (record("R", a="long", A="long"), 1, b"\x02\x04"),
    "a name in quotes": (record("R", **{'a"b\\': "long", "é": "long"}), 1, b"\x02\x04"),
    "a value that is no record": ("long", 2, b"\x02\x04"),
    "a list of itself": (
        record("R", value="long", next=["null", "R"]), 1, b"\x02\x02\x04\x02\x06\x00",
    ),
    "a deep list of itself": (record("R", next=["null", "R"]), 1, b"\x02" * 200 + b"\0"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BLOCKS)
def test_odd_blocks(name: str) -> None:
    schema, records_, data = ODD_BLOCKS[name]
    odd = avro_block(records_, data)
    fine = avro_block(1, _ROW) if schema is _ONE else b""
    check(avro_header(schema) + fine + odd + fine + odd + odd + fine)


def test_a_large_file_in_groups() -> None:
    """Several groups and chunks side by side, damage between them: the order stays."""
    rows = [avro_encode(BID, bid(index)) for index in range(500)]
    good = avro_block(500, b"".join(rows))
    bad = avro_block(500, b"".join(rows)[:-1])
    content = avro_header(BID) + b"".join(
        bad if index in (7, 30, 31) else good for index in range(60)
    )
    assert len(content) > 3 * 2**20
    found = read(content, ALWAYS)
    assert [row[0] for row in found] == list(range(1, 57 * 500 + 4))
    assert [row[0] for row in found if row[2]] == [7 * 500 + 1, 29 * 500 + 2, 29 * 500 + 3]
    assert [json.loads(row[3])["number"] for row in found if not row[2]] == [
        -index for _ in range(57) for index in range(500)
    ]


# Judging --------------------------------------------------------------------------------------

_CONTRACTS = (
    contracts.find("bid_requests"),
    contracts.find("interactions"),
    contracts.find("openrtb"),
)
_NAMES = (
    "timestamp", "ts", "auction_id", "user_id", "website", "url", "domain", "bid_floor_cpm",
    "currency", "targeting", "ad_targeting", "ad_campaign_id", "campaign_id", "event_type",
    "conversion_type", "revenue", "value", "id", "user", "site", "imp", "sdk", "Sdk",
)  # fmt: skip
_VALUES = (
    "", " ", "a", " u-1\t", "0", "-0", "17", "1717936496", "2024-06-09T12:34:56Z", "1e3", "0.5",
    "HTTPS://www.A.example:80/x", "eur", "click", "purchase", "[1", "NaN",
    '{"a": {"b": 1, "b": 2}}',
)  # fmt: skip
_CELLS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("string", st.sampled_from(_VALUES)),
    ("string", _TEXTS),
    ("bytes", st.sampled_from(_VALUES).map(str.encode)),
    ("long", st.sampled_from((0, -1, 17, 1717936496, 1717936496000, 1717936496000000))),
    ("double", st.sampled_from((0.0, -0.0, 1.5, -2.25, 1e12, 1717936496.123456, 0.1 + 0.2, 3e-6))),
    ("float", st.sampled_from((0.0, 0.5, -2.5, float(np.float32(0.1))))),
    ({"type": "long", "logicalType": "timestamp-millis"}, st.just(1717936496123)),
    ({"type": "map", "values": nullable("string")},
     st.dictionaries(st.sampled_from(("id", "domain", "a b", "")), st.sampled_from(_VALUES))),
    ({"type": "array", "items": {"type": "map", "values": "double"}},
     st.lists(st.dictionaries(st.sampled_from(("bidfloor", "x")), st.floats(0, 9)), max_size=2)),
    (["null", "string", "long", "double", "boolean"],
     st.one_of(st.none(), st.sampled_from(_VALUES), st.just(1717936496), st.just(1.25))),
    (["null", {"type": "map", "values": "long"}, "string"],
     st.one_of(st.none(), st.just({"id": 5}), st.sampled_from(_VALUES))),
]  # fmt: skip


@st.composite
def bids(draw: st.DrawFn) -> bytes:
    fields, values = [], {}
    for name in draw(st.lists(st.sampled_from(_NAMES), min_size=10, unique=True)):
        schema, value = draw(st.sampled_from(_CELLS))
        if not isinstance(schema, list) and draw(st.booleans()):
            schema, value = ["null", schema], st.one_of(st.none(), value)
        fields.append({"name": name, "type": schema})
        values[name] = value
    rows = draw(st.lists(st.fixed_dictionaries(values), min_size=5, max_size=10))
    return avro_file({"type": "record", "name": "Bid", "fields": fields}, [[row] for row in rows])


def judged(
    connection: duckdb.DuckDBPyConnection, content: bytes, contract: Contract | Router, kernel: int
) -> list[tuple[Any, ...]]:
    out = []
    for batch in batches(content, kernel):
        table = batch.table.filter(pc.is_null(batch.table["fault"]))
        table = table.append_column("record", table["position"])
        for judgement in checks.judgements(contract, _stream, batch.layout):
            found = connection.from_arrow(table).query("batch", judgement.sql)
            out += [(judgement.stream, *row) for row in found.fetchall()]
    return sorted(out, key=lambda row: (row[1], row[0]))


def _stream(name: str) -> Contract:
    found = contracts.streams()[name]
    assert isinstance(found, Contract)
    return found


@pytest.fixture(scope="module")
def judge() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        checks.register(connection)
        connection.execute("set variable load_time = 1750000000000000")
        yield connection


@settings(max_examples=15, deadline=None, phases=(Phase.generate,))
@given(bids())
def test_both_ways_are_judged_alike(judge: duckdb.DuckDBPyConnection, content: bytes) -> None:
    for contract in _CONTRACTS:
        texts = judged(judge, content, contract, ALWAYS)
        assert texts == judged(judge, content, contract, NEVER)
