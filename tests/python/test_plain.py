# ruff: noqa: RUF001  (characters that look alike are what these tests are about)
"""The fast path equals the law: what `Plain` is sure of, the contract's SQL accepts just so."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import landing
from ingestion import checks
from ingestion import contract as contracts
from ingestion.contract import Contract
from ingestion.pipelines import raw
from ingestion.plain import Plain
from ingestion.readers.batch import DOCUMENTS, LINES, Layout
from ingestion.readers.json_reader import document_faults

LOADED_AT = dt.datetime(2026, 6, 1, 12)
LOAD_TIME = (LOADED_AT - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class Compared:
    """How many records were sure, of how many that the law accepts, and what was wrong."""

    sure: int
    accepted: int
    wrong: list[str]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    checks.register(found)
    found.execute(f"set variable load_time = {LOAD_TIME}")
    return found


def stream(name: str) -> Contract:
    found = contracts.streams()[name]
    assert isinstance(found, Contract)
    return found


def compare(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    layout: Layout,
    table: pa.Table,
    plain: Plain | None = None,
) -> Compared:
    """Judge the records by both."""
    types = raw.stream_schema(contract)
    plain = plain or Plain(connection, LOAD_TIME, kernel_from=0)
    typed = plain.typed(contract, layout, table, types)
    numbers = np.arange(table.num_rows)
    if layout.unchecked:
        faults = document_faults(table["document"].combine_chunks(), connection)
        numbers = np.flatnonzero(faults.is_null().to_numpy(zero_copy_only=False))
    batch = table.take(numbers).append_column("record", pa.array(numbers))
    (judgement,) = checks.judgements(contract, stream, layout)
    judged = connection.from_arrow(batch).query("batch", judgement.sql).to_arrow_table()
    law = {row["record"]: row for row in _as_numbers(judged).to_pylist()}
    accepted = sum(row["reason"] is None for row in law.values())
    if typed is None:
        return Compared(0, accepted, [])
    names = [field.name for field in contract.fields] + ["extra"]
    columns = _as_numbers(pa.table(typed.columns)).to_pydict()
    wrong = []
    for number in np.flatnonzero(typed.sure).tolist():
        row, said = law.get(number), {name: columns[name][number] for name in names}
        if row is None or row["reason"] is not None:
            wrong.append(f"sure, but {row and row['reason']}: {table.slice(number, 1).to_pylist()}")
        elif any(row[name] != said[name] for name in names):
            differ = {name: (row[name], said[name]) for name in names if row[name] != said[name]}
            wrong.append(f"law and plain: {differ}: {table.slice(number, 1).to_pylist()}")
    return Compared(int(typed.sure.sum()), accepted, wrong)


def _as_numbers(table: pa.Table) -> pa.Table:
    """Times as microseconds, because Python's end with the year 9999."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = table[field.name].cast(pa.timestamp("us")).cast(pa.int64())
            table = table.set_column(index, field.name, column)
    return table


def documents(texts: Sequence[str]) -> pa.Table:
    return pa.table({"document": pa.array(texts, pa.large_string())})


# --- texts of fields -----------------------------------------------------------------------------

TIMES = (
    "2024-06-09T12:34:56Z", "2024-06-09 12:34:56", "2024-06-09T12:34:56.1Z",
    "2024-06-09T12:34:56.123456Z", "2024-06-09T12:34:56.123456789Z", "2024-06-09T12:34:56.9999999",
    "2024-06-09T12:34:56.1234567891Z", "2024-06-09T12:34:56+02:00", "2024-06-09T12:34:56.5-23:59",
    "2024-06-09T12:34:56+24:00", "2024-06-09T12:34:56+00:60", "2024-06-09T12:34:56+0200",
    "2024-06-09T12:34:56-0200", "2024-06-09T12:34:56+02", "2024-06-09t12:34:56Z",
    "2024-06-09T12:34:56z", "2024-06-09T24:00:00Z", "2024-06-09T23:59:60Z", "2024-06-09T12:60:00Z",
    "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "2100-02-29T00:00:00Z",
    "2000-02-29 00:00:00", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z",
    "2024-04-31T00:00:00Z", "2024-6-9T12:34:56Z", "2024-06-09T12:34Z", "2024-06-09",
    "1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00Z", "2000-01-01T00:30:00+01:00",
    "1999-12-31T23:30:00-01:00", "2026-06-02T12:00:00Z", "2026-06-02T12:00:00.000001Z",
    "2026-06-02T13:00:00+01:00", "2026-06-02T11:00:00.000001-01:00", "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "2024-06-09T12:34:56.", "2024-06-09T12:34:56.Z",
    "2024-06-09T12:34:5６Z",
    "２024-06-09T12:34:56Z", "2024-06-09T12:34:56.12:30", "2024-06-09T12:34:56 Z",
    "2024-06-09T12:34:56+2:00", "2024/06/09T12:34:56Z", "2024-06-09_12:34:56Z",
    "2024-06-09T12:34:56,5Z", "+2024-06-09T12:34:56Z", "2024-06-09T12:34:56+-2:00",
    "2024-06-09T12:34:56.123+02:00", "2024-06-09T12:34:56:02:00",
)  # fmt: skip
UNIX = (
    "1717936496", "1717936496.5", "1717936496.1234567", "1717936496789", "1717936496789012",
    "17179364967890123", "99999999999", "100000000000", "99999999999999", "100000000000000",
    "946684800", "946684799", "946684799.999999", "946684800000", "946684799999", "0", "-1",
    "1e9", "1.7179e9", "1717936496e0", "1780401600", "1780401600.000001", "1780401601",
    "1780401600000", "1780401600001", "1780401600000000", "1780401600000001", "01717936496",
    "+1717936496", "1717936496.", ".5", "١٧١٧٩٣٦٤٩٦", "9999999999999999", "10000000000000000",
    "99999999999999999999999", "0000000001717936496", "1_717_936_496", "1717936496L", "0x10",
)  # fmt: skip
AMOUNTS = (
    "1.25", "0", "-0", "-0.0", "0.0", "5", "5.", ".5", ".", "1e5", "1E-7", "+2", "-1", "1..2",
    "1.2.3", "0.1234565", "0.1234564", "0.0000005", "0.0000004", "-0.0000001", "999999999999",
    "999999999999.9", "999999999999.999999", "999999999999.9999995", "1000000000000",
    "99999999999999", "123456789012345", "1234567890123456", "0.00000000000001", "12345678.123456",
    "000000000001.25", "0000000000000000001", "1.2500000", "1,25", "1 25", "NaN", "Infinity", "inf",
    "nan", "1e400", "1e-400", "--1", "+-1", "١", "1.", "0.5e1", "1.0000000000000001",
    "12345678901234.5",
    "0.1234567890123456", "123456.1234567", "$1", "1e", "e1", "0x1",
)  # fmt: skip
STRINGS = (
    "u1", "", " ", "   ", "\u00a0", " u", "u ", "\tu", "u\n", "\u001fu", "u\u001f", "\u007f",
    "u\u00a0",
    "\u2003", "0", "-0", "007", "1.5", "true", "null", "NaN", ":", ":n", ":null", ":nu", '":',
    "a:b",
    "a : b", "{", "}", "{}", "[]", "[x", ",", "é", "日本", "😀", "ı", "İ", "a\\b", 'a"b', "a/b",
    *(character * count for character in ("a", "é", "日", "😀") for count in (64, 255, 256, 257)),
)  # fmt: skip
WEBSITES = (
    "a.example", "https://www.A.example:80/x?y#z", "HTTP://u@B.example", "www.", "http://", "//c.d",
    "WWW.x.y", "a.b:80", "a b", "é.example", "İ.example", " a.example", "", "?", "ftp:x", "a@b",
)  # fmt: skip
OTHERS: dict[str, tuple[str, ...]] = {
    "currency": ("USD", "eur", "Eur", "", "EURO", "E1R", "€€€", "US ", " usd", "ＵＳＤ", "ıſk"),
    "pricing_model": ("cpm", "CPC", "Auction", "", "flat", "auctıon", " cpa "),
    "date": ("2024-02-29", "2023-02-29", "0000-01-01", "2024-6-9", "20240609", "9999-12-31", ""),
    "integer": ("0", "300", "+5", "-5", "3e2", "300.0", "9223372036854775807",
                "9223372036854775808", "00012", "", "٣"),
    "json": ('{"a":1}', "[1,2]", "text", "", "{", '{"a":1,"a":2}', "12", "null", "[NaN]", " {} "),
    "string": STRINGS,
    "website": WEBSITES,
    "amount": (*AMOUNTS, "", " 1 ", "\t2"),
    "timestamp": (*TIMES, *UNIX, "", " ", " 2024-06-09T12:34:56Z", "1717936496 "),
}  # fmt: skip
PLAIN: dict[str, Callable[[random.Random], str]] = {
    "timestamp": lambda dice: f"2024-06-{dice.randint(10, 28)}T12:34:{dice.randint(10, 59)}.123Z",
    "amount": lambda dice: f"{dice.randint(0, 99)}.{dice.randint(0, 99)}",
    "integer": lambda dice: str(dice.randint(0, 999)),
    "date": lambda dice: f"2024-06-{dice.randint(10, 28)}",
    "website": lambda dice: dice.choice(("a.example", "https://b.example/x")),
    "currency": lambda dice: dice.choice(("USD", "EUR")),
    "pricing_model": lambda dice: dice.choice(("cpm", "cpc")),
    "json": lambda dice: dice.choice(('{"a":1}', '["x","y"]', '{"k":{"n":null,"s":"t"}}')),
    "string": lambda dice: f"s{dice.randint(0, 999)}",
}

# --- JSON ----------------------------------------------------------------------------------------

TOKENS = (
    "null", "true", "false", "0", "-0", "7", "1.5", "1.50", "1e5", "1E400", "NaN", "nan",
    "-Infinity",
    "inf", "Infinity", "{}", "[]", '["a","b"]', '["a"]', '[":n"]', '{"a":"b"}', '{"a":null}',
    '{"a" :"b"}', '{"a":{"b":["c",null,{"d":1.50}]}}', '{":n":"x"}', '{"":1}', '{"a":1,"a":2}',
    "12345678901234567890", "123456789012345678901234567890", "0.1234567890123456789", "[1,2,]",
    '"\\u0041"', '"\\/"', '"\\""', '"\\\\"', '"\\n"', '"x\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"',
    '" "', '""', '":"', '":n"', '":null"', '":nothing"', '": null"', '"\u00a0"', '"a:b"', '"{"',
    '"["',
    '"[\'a\']"', '"true"', '"1"', "nul", "01", "+1", ".5", "5.", "'a'", '"a', "\t", "", '"a\tb"',
)  # fmt: skip
KEYS = (
    "unknown", "other key", "", ":", ":n", ":null", "k:", "a,", "[", "{", " ", "é", "日本", "😀",
    "K\u0130",
    "key'quote", "a b", "user-id", "USER_ID", "Timestamp", "nested.path", "extra", "text_md5", "p0",
)  # fmt: skip
SPACES = ("", "", "", "", " ", "  ", "\t", "\n", "\r\n", "\u00a0")


def cell(kind: str, dice: random.Random, nasty: float) -> str:
    """A member's value as JSON."""
    if dice.random() < nasty:
        if dice.random() < 0.5:
            return dice.choice(TOKENS)
        return json.dumps(dice.choice(OTHERS[kind]), ensure_ascii=dice.random() < 0.2)
    text = PLAIN[kind](dice)
    bare = kind == "json" or (kind in ("amount", "integer") and dice.random() < 0.5)
    return text if bare else json.dumps(text)


def document(contract: Contract, keys: Sequence[str], dice: random.Random, nasty: float) -> str:
    """A JSON object with the contract's fields, some `keys`, and with luck something odd."""
    pairs = []
    for field in contract.fields:
        if field.required or dice.random() < 0.7:
            name = field.name
            if dice.random() < nasty:
                name = dice.choice([path.text for path in field.sources])
            pairs.append((json.dumps(name), cell(field.type, dice, nasty)))
    pairs += [(json.dumps(key, ensure_ascii=False), cell("json", dice, 0.3)) for key in keys]
    while dice.random() < nasty:
        field = dice.choice(contract.fields)
        pairs.append(
            dice.choice(
                (
                    (json.dumps(dice.choice(KEYS), ensure_ascii=False), cell("string", dice, 0.5)),
                    (json.dumps(dice.choice(field.sources).text), cell(field.type, dice, 0.5)),
                    (f'"\\u00{ord(field.name[0]):02x}{field.name[1:]}"', cell("string", dice, 0.5)),
                    (json.dumps(field.name), "null"),
                    dice.choice(pairs),
                )
            )
        )
        if dice.random() < 0.5:
            dice.shuffle(pairs)
    space = dice.choice(SPACES) if dice.random() < nasty else ""

    def around() -> str:
        return dice.choice(SPACES) if dice.random() < nasty else space

    members = [f"{around()}{key}{around()}:{around()}{value}{around()}" for key, value in pairs]
    text = "{" + ",".join(members) + ("," if dice.random() < nasty / 9 else "") + "}"
    if dice.random() < nasty / 5:
        text = dice.choice((text + text, "\ufeff" + text, text + " ", text + "\r\n", text[:-1],
                            "[" + text + "]", text + "x", " " + text, "null", ""))  # fmt: skip
    return text


def batch_of_documents(contract: Contract, seed: int) -> list[str]:
    dice = random.Random(seed)
    keys = dice.sample(KEYS, dice.choice((0, 0, 1, 2)))
    nasty = dice.choice((0.02, 0.1, 0.3))
    return [document(contract, keys, dice, nasty) for _ in range(60)]


STREAMS = tuple(contract.stream for contract in contracts.event_streams())
seeds = settings(
    max_examples=2000 if landing.LONG else 60,
    deadline=None,
    derandomize=not landing.LONG,
    suppress_health_check=list(HealthCheck),
)


@seeds
@given(name=st.sampled_from(STREAMS), seed=st.integers(0, 2**32), lines=st.booleans())
def test_documents(
    connection: duckdb.DuckDBPyConnection, name: str, seed: int, lines: bool
) -> None:
    contract = stream(name)
    texts = batch_of_documents(contract, seed)
    layout = LINES
    if not lines:
        faults = document_faults(pa.array(texts, pa.large_string()), connection)
        texts = [text for text, fault in zip(texts, faults.to_pylist(), strict=True) if not fault]
        layout = dice_layout(seed)
    if texts:
        found = compare(connection, contract, layout, documents(texts))
        assert not found.wrong, "\n".join(found.wrong[:3])


def dice_layout(seed: int) -> Layout:
    return Layout(exact_fractions=True) if seed % 3 == 0 else DOCUMENTS


def test_plain_documents_are_sure(connection: duckdb.DuckDBPyConnection) -> None:
    """Otherwise the tests above would say nothing."""
    dice = random.Random(1)
    for name in STREAMS:
        contract = stream(name)
        texts = [document(contract, (), dice, 0) for _ in range(500)]
        found = compare(connection, contract, LINES, documents(texts))
        assert not found.wrong
        assert found.sure == found.accepted == 500, name
    contract = stream("impressions")
    spaced = [json.dumps(json.loads(document(contract, (), dice, 0))) for _ in range(500)]
    keyed = [document(contract, ("unknown", "日本"), dice, 0) for _ in range(500)]
    nested = [text[:-1] + ',"deep":{"a":["b",{"c":null}]}}' for text in spaced]
    for texts in (spaced, keyed, nested):
        found = compare(connection, contract, LINES, documents(texts))
        assert not found.wrong
        assert found.sure > 350


BASE = '"timestamp":"2024-06-09T12:34:56Z","website":"a.example"'


@pytest.mark.parametrize(
    "member",
    [
        # Each hides a fault behind something that the quotes and the colons make up for.
        '"user_id" :"u","unknown":5,"ad_creative_id":true',
        '"user_id"\t:"u","unknown":5,"ad_creative_id":1.5',
        '"user_id":"u","user_id":"v","unk":nan,"ad_creative_id":true',
        '"user_id":"u","user_id":"v","unk":":n","ad_creative_id":"c"',
        '"user_id":":n","unknown":"x","ad_creative_id":"c"',
        '"user_id":"u",":n":"x","ad_creative_id":"c"',
        '"user_id":"u",":null":1,"ad_creative_id":"c"',
        '"user_id":null,"user_id":"v","ad_creative_id":"c"',
        '"user_id":"u","user_id":null,"ad_creative_id":"c"',
        '"user_id":"u","unk":[":n","x"],"ad_creative_id":["c"]',
        '"user_id":7,"unk":["a","b"],"ad_creative_id":"c"',
        '"user_id":7,"":"x","ad_creative_id":"c"',
        '"user_id":7,"unk":{"a" :"b"},"ad_creative_id":"c"',
        '"user_id":nan,"unk":{"a":"b"},"ad_creative_id":"c"',
        '"user_id":":n","other":["x"],"ad_creative_id":"c"',
        '"user_id":":n","other":["x",{"y":null}],"unk":"z","ad_creative_id":"c"',
    ],
)
def test_what_makes_up_for_a_fault(connection: duckdb.DuckDBPyConnection, member: str) -> None:
    good = "{" + BASE + ',"user_id":"u","ad_creative_id":"c","unk":%s}'
    odd = "{" + BASE + "," + member + "}"
    for unknown in ("1", '"x"', '{"a":"b"}', '["x"]'):
        texts = [good % unknown] * 7 + [odd] + [good % unknown] * 100
        found = compare(connection, stream("impressions"), LINES, documents(texts))
        assert not found.wrong, "\n".join(found.wrong)
        texts = [odd, *texts]  # where names are looked for
        found = compare(connection, stream("impressions"), LINES, documents(texts))
        assert not found.wrong, "\n".join(found.wrong)


@pytest.mark.parametrize(
    ("members", "extra"),
    [
        ('"x":null', None),
        ('"x":""', None),
        ('"x":" ","y":1', '{"y":1}'),
        ('"x":{"y":null,"z":""}', '{"x":{"y":null,"z":""}}'),
        ('"x":null,"x":1', None),
        ('"x":1e400,"x":2', '{"x":"1e400"}'),
        ('"x":[NaN,1e400]', '{"x":["NaN","1e400"]}'),
    ],
)
def test_unknown_members_that_are_empty_are_left_out(
    connection: duckdb.DuckDBPyConnection, members: str, extra: str | None
) -> None:
    text = "{" + BASE + ',"user_id":"u","ad_creative_id":"c",' + members + "}"
    batch = documents([text]).append_column("record", pa.array([0]))
    (judgement,) = checks.judgements(stream("impressions"), stream, LINES)
    (row,) = connection.from_arrow(batch).query("batch", judgement.sql).to_arrow_table().to_pylist()
    assert row["reason"] is None
    assert row["extra"] == extra
    assert not compare(connection, stream("impressions"), LINES, documents([text])).wrong


# --- columns -------------------------------------------------------------------------------------

KINDS = ("VARCHAR", "BIGINT", "UBIGINT", "DOUBLE", "BOOLEAN", "JSON")
NUMBERS = tuple(text for text in UNIX if text.isdigit())


def column(kind: str, type_: str, dice: random.Random, nasty: float) -> str | None:
    if dice.random() < 0.1:
        return None if kind != "VARCHAR" or dice.random() < 0.5 else ""
    match kind:
        case "BIGINT" | "UBIGINT":
            return str(int(dice.choice(NUMBERS)) % 2**62)
        case "DOUBLE":
            return repr(float(dice.choice((0, 1.5, 1e9, 1717936496.5, 1e22, 1e-7))))
        case "BOOLEAN":
            return dice.choice(("true", "false"))
        case "JSON":
            return dice.choice(('{"a":1}', '["x"]', '"x"', "1", '{"a":1,"a":2}', "true"))
    return dice.choice(OTHERS[type_]) if dice.random() < nasty else PLAIN[type_](dice)


def batch_of_columns(contract: Contract, seed: int) -> tuple[Layout, pa.Table]:
    dice = random.Random(seed)
    nasty = dice.choice((0.02, 0.1, 0.4))
    named: list[tuple[str, str]] = []
    for field in contract.fields:
        if field.required or dice.random() < 0.7:
            named.append((field.name, field.type))
        if dice.random() < nasty:
            named.append((dice.choice(field.sources).text, field.type))
    for _ in range(dice.choice((0, 0, 1, 2))):
        named.append((dice.choice(KEYS), "string"))
    dice.shuffle(named)

    def header(name: str) -> str:
        if dice.random() < nasty:
            name = dice.choice(
                (name.upper(), name.replace("_", " "), name.replace("_", "-"), f" {name} ")
            )
        return name

    names = tuple(header(name) for name, _ in named)
    kinds = None
    if dice.random() < 0.4:
        kinds = tuple(
            dice.choice(KINDS) if dice.random() < 0.3 else "VARCHAR" for _ in named
        )  # fmt: skip
    columns = {}
    for index, (_, type_) in enumerate(named):
        kind = kinds[index] if kinds else "VARCHAR"
        values = [column(kind, type_, dice, nasty) for _ in range(60)]
        if kinds is None:
            values = [value or "" for value in values]
        columns[f"c{index}"] = pa.array(values, pa.large_string())
    return Layout(names, kinds, exact_fractions=kinds is not None), pa.table(columns)


@seeds
@given(name=st.sampled_from(STREAMS), seed=st.integers(0, 2**32))
def test_columns(connection: duckdb.DuckDBPyConnection, name: str, seed: int) -> None:
    layout, table = batch_of_columns(stream(name), seed)
    found = compare(connection, stream(name), layout, table)
    assert not found.wrong, "\n".join([repr(layout), *found.wrong[:3]])


def test_plain_columns_are_sure(connection: duckdb.DuckDBPyConnection) -> None:
    dice = random.Random(1)
    for name in STREAMS:
        contract = stream(name)
        table = pa.table(
            {
                f"c{index}": pa.array([PLAIN[field.type](dice) for _ in range(500)], pa.string())
                for index, field in enumerate(contract.fields)
            }
        )
        layout = Layout(tuple(field.name for field in contract.fields))
        found = compare(connection, contract, layout, table)
        assert not found.wrong
        assert found.sure == found.accepted == 500, name


def test_every_text_of_every_type(connection: duckdb.DuckDBPyConnection) -> None:
    """Each text in each field, alone, as CSV and as JSON: what numpy takes, the SQL takes so."""
    plain = Plain(connection, LOAD_TIME, kernel_from=0)
    dice = random.Random(2)
    sure = 0
    for name in STREAMS:
        contract = stream(name)
        names = tuple(field.name for field in contract.fields)
        rows = []
        for field in contract.fields:
            for text in OTHERS[field.type]:
                good = {other.name: PLAIN[other.type](dice) for other in contract.fields}
                rows.append(good | {field.name: text})
        columns = {
            f"c{index}": pa.array([row[name] for row in rows], pa.large_string())
            for index, name in enumerate(names)
        }
        found = compare(connection, contract, Layout(names), pa.table(columns), plain)
        assert not found.wrong, "\n".join(found.wrong[:3])
        sure += found.sure
        texts = [json.dumps(row, ensure_ascii=False) for row in rows]
        for field in contract.fields:
            if field.type in ("timestamp", "amount", "integer"):
                texts += [
                    json.dumps(
                        {other.name: PLAIN[other.type](dice) for other in contract.fields}
                    ).replace(f'"{field.name}": "', f'"{field.name}": {text}, "x": "')
                    for text in OTHERS[field.type]
                ]
        found = compare(connection, contract, LINES, documents(texts), plain)
        assert not found.wrong, "\n".join(found.wrong[:3])
        sure += found.sure
    assert sure > 1000
