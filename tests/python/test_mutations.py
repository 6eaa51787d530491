"""Mutated files: no crash, nothing lost, each reject with its reason and its bytes."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import landing
from conftest import MakeWarehouse
from ingestion.readers import avro_reader, csv_reader
from ingestion.readers.batch import RAW_LIMIT
from reference import ingestion as reference
from support import in_memory
from support.warehouses import Warehouse

INPUTS = 20_000 if landing.LONG else 800
TOGETHER = 50  # files of one load

WRITERS: dict[str, Callable[[Sequence[landing.Row], random.Random], bytes]] = {
    "json": landing.json_content,
    "csv": landing.csv_content,
    "avro": landing.avro_content,
}


@dataclass(frozen=True)
class Mutated:
    """A file's bytes as stored; `plain` what they were before they were packed, if they were."""

    name: str
    stream: str
    stored: bytes


def spoil(content: bytes, other: bytes, dice: random.Random) -> bytes:
    """One thing done to a file; `other` is one of the same kind to splice from."""
    size = len(content)
    at, to = sorted((dice.randrange(size + 1), dice.randrange(size + 1)))
    near = min(size, at + dice.randint(1, 12))
    match dice.randrange(12):
        case 0 if at < size:
            return (
                content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]
            )
        case 1 if at < size:
            return content[:at] + dice.randbytes(1) + content[at + 1 :]
        case 2:
            return content[:at] + dice.randbytes(dice.randint(1, 9)) + content[at:]
        case 3:
            return content[:at] + content[near:]
        case 4:
            return content[:at] + content[to:]
        case 5:
            return content[:at] + content[at:to] * 2 + content[to:]
        case 6:
            return content[:at]
        case 7:
            return content[at:]
        case 8:
            cut = dice.randrange(len(other) + 1)
            return content[:at] + other[cut:]
        case 9:
            lines = content.split(b"\n")
            first, second = dice.randrange(len(lines)), dice.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            return b"\n".join(lines)
        case 10:
            return content[:at] + dice.choice(landing._INTERESTING) + content[near:]
        case _:
            return landing.mutate(content, dice)


def mutated(number: int, dice: random.Random) -> Mutated:
    form = dice.choice(tuple(WRITERS))
    stream = dice.choice(reference.STREAMS)

    def whole() -> bytes:
        rows = [landing.random_row(stream, dice, 0.05) for _ in range(dice.randint(1, 8))]
        return WRITERS[form](rows, dice)

    content, other = whole(), whole()
    packs: tuple[Callable[[bytes], bytes], ...] = (
        lambda data: gzip.compress(data, mtime=0),
        lambda data: gzip.compress(data[:50], mtime=0) + gzip.compress(data[50:], mtime=0),
        zstd.compress,
    )
    pack = dice.choice(packs) if dice.random() < 0.25 else bytes
    first = dice.random() < 0.5
    times = dice.choice((1, 1, 1, 2, 3, 6))
    if first:
        for _ in range(times):
            content = spoil(content, other, dice)
        content = pack(content)
    else:
        content, other = pack(content), pack(other)
        for _ in range(times):
            content = spoil(content, other, dice)
    return Mutated(f"{number}.{form}", stream, content)


def unpacked(stored: bytes) -> bytes:
    """What the reference unpacks, and the stored bytes, of which the rest may be a reject."""
    for magic, machine in (
        (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
        (b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
    ):
        if stored.startswith(magic):
            return reference.unpack(stored, magic, machine)[0] + stored
    return stored


def faults(file: Mutated, outcome: in_memory.Outcome) -> list[str]:
    """What is wrong with an outcome."""
    wrong = []
    row = outcome.file
    accepted, rejected = sum(map(len, outcome.accepted.values())), len(outcome.rejected)
    if (row["accepted"], row["rejected"]) != (accepted, rejected):
        wrong.append(f"loaded_files {row}, rows: {accepted} accepted, {rejected} rejected")
    if row["records_read"] != accepted + rejected:
        wrong.append(f"read {row['records_read']}, {accepted} accepted, {rejected} rejected")
    positions = outcome.positions
    start = 0 if positions and positions[0] == 0 else 1
    if positions != list(range(start, start + len(positions))):
        wrong.append(f"positions {positions}")
    lines = {one["position"]: one["line"] for one in outcome.rejected}
    in_order = [lines[position] for position in sorted(lines) if lines[position] is not None]
    if in_order != sorted(in_order):
        wrong.append(f"lines {lines}")
    everything = unpacked(file.stored)
    for reject in outcome.rejected:
        if not reject["reason"]:
            wrong.append(f"no reason: {reject}")
        text = reject["raw_text"]
        content = text.encode()
        if text.startswith("base64:") and content not in everything:
            content = base64.b64decode(text.removeprefix("base64:"))
        of_avro = everything.startswith(b"Obj\x01") and "damaged" not in (reject["detail"] or "")
        if content not in everything and not of_avro and len(content) < RAW_LIMIT:
            wrong.append(f"its bytes are not in the file: {reject}")
    return wrong


def check(folder: Path, files: Sequence[Mutated]) -> None:
    paths = []
    for number, file in enumerate(files):
        path = folder / str(number) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.stored)
        paths.append((path, file.stream))
    try:
        found = in_memory.load(paths)
    except Exception as error:
        for pair, file in zip(paths, files, strict=True):
            try:
                in_memory.load([pair])
            except Exception:
                pytest.fail(f"{error!r} of {file.stream} {file.name}: {file.stored!r}")
        raise
    for (path, _), file in zip(paths, files, strict=True):
        wrong = faults(file, found[path])
        assert not wrong, f"{file.stream} {file.name}: {file.stored!r}\n" + "\n".join(wrong)


@pytest.mark.parametrize("kernel", [False, True], ids=["", "with the kernels"])
@settings(
    max_examples=INPUTS // TOGETHER // 2,
    deadline=None,
    derandomize=not landing.LONG,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**48))
def test_mutated_inputs(tmp_path_factory: pytest.TempPathFactory, kernel: bool, seed: int) -> None:
    dice = random.Random(seed)
    folder = tmp_path_factory.mktemp("mutated")
    with pytest.MonkeyPatch.context() as patch:
        for reader in (avro_reader, csv_reader):
            patch.setattr(reader._seen, "bytes", 2**40 if kernel else -(2**40))
        check(folder, [mutated(number, dice) for number in range(TOGETHER)])


@settings(
    max_examples=2_000 if landing.LONG else 40,
    deadline=None,
    derandomize=not landing.LONG,
    suppress_health_check=list(HealthCheck),
)
@given(
    contents=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.text(max_size=60).map(str.encode),
            st.text('{}[]",:\\u0nN1e.- \n\r\t\x00', max_size=60).map(str.encode),
            st.text('",;|\n\r a\ufeff\x00', max_size=60).map(
                lambda text: b"ts,b\n" + text.encode()
            ),
            st.binary(max_size=60).map(lambda data: landing.avro_header("null") + data),
            st.binary(max_size=60).map(lambda data: b"\x1f\x8b\x08" + data),
            st.binary(max_size=60).map(lambda data: b"\x28\xb5\x2f\xfd" + data),
        ),
        min_size=20,
        max_size=20,
    ),
    stream=st.sampled_from(reference.STREAMS),
)
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], stream: str
) -> None:
    names = ("json", "csv", "avro")
    files = [
        Mutated(f"{number}.{names[number % 3]}", stream, content)
        for number, content in enumerate(contents)
    ]
    check(tmp_path_factory.mktemp("any"), files)


@pytest.mark.parametrize("kernel", [0, 2**60])
@pytest.mark.parametrize(
    ("name", "type_", "position"),
    [
        ("half \ud800", '"long"', 0),
        ("half \udc80", '"long"', 0),
        ("n", '"nu\\ud800ll"', 0),
        ("n", '{"type":"enum","name":"E","symbols":["A","\\udfff"]}', 0),
        ("nul\0", '"long"', 1),
    ],
)
def test_half_characters_in_an_avro_schema(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    type_: str,
    position: int,
    kernel: int,
) -> None:
    """A name with half of a surrogate pair ended the whole load."""
    monkeypatch.setattr(avro_reader._seen, "bytes", kernel)
    schema = '{"type":"record","name":"R","fields":[{"name":%s,"type":%s}]}'
    text = (schema % (json.dumps(name), type_)).encode()
    path = tmp_path / "half.avro"
    path.write_bytes(landing.avro_header(text) + landing.avro_block(1, landing.zigzag(1)))
    outcome = in_memory.load([(path, "bid_requests")])[path]
    (reject,) = outcome.rejected
    assert (reject["position"], reject["reason"]) == (position, "malformed"), reject
    if not position:
        assert "schema" in reject["detail"]


@pytest.mark.parametrize("kernel", [0, 2**60])
def test_a_wrong_count_of_records_without_a_byte(kernel: int) -> None:
    """A flipped bit made a block of empty records fill the memory."""
    schema = {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}
    head, sync = landing.avro_header(schema), landing.SYNC
    block = landing.zigzag(2**40) + landing.zigzag(0) + sync
    content = head + landing.avro_block(5, b"") + block + landing.avro_block(2, b"")
    found = [
        fault
        for batch in avro_reader.read_avro(iter([content]), kernel)
        for fault in batch.table["fault"].to_pylist()
    ]
    assert [fault is None for fault in found] == [True] * 5 + [False] + [True] * 2
    assert str(2**40) in found[5]


def test_mutated_inputs_by_the_whole_command(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """A folder of them, as one load into each engine: what the tables hold is what is said."""
    dice = random.Random(3)
    files = [mutated(number, dice) for number in range(1_000 if landing.LONG else 200)]
    files = list({(file.stream, file.stored): file for file in files}.values())
    for number, file in enumerate(files):
        path = tmp_path / "landing" / file.stream / f"{number}-{file.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.stored)
    said = {}
    for engine in ("duckdb", "postgres"):
        warehouse = make_warehouse(engine)
        warehouse.adx("load", str(tmp_path / "landing"))
        said[engine] = _said(warehouse)
        assert len(said[engine]) == len(files)
    assert said["duckdb"] == said["postgres"]


def _said(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """Each file with its counts, which must be those of its rows."""
    union = " union all ".join(
        f"select _file as file, 1 as accepted, 0 as rejected from raw.{table}"
        for table in landing.RAW_TABLES
    )
    counts = {
        row["file"]: (row["accepted"], row["rejected"])
        for row in warehouse.rows(
            "select file, sum(accepted) as accepted, sum(rejected) as rejected from"
            f" ({union} union all select file, 0, 1 from raw.rejected_records) as rows"
            " group by file"
        )
    }
    rows = warehouse.rows("select * from raw.loaded_files order by content_hash, stream")
    for row in rows:
        assert row["records_read"] == row["accepted"] + row["rejected"]
        assert counts.pop(row["file"], (0, 0)) == (row["accepted"], row["rejected"])
    assert not counts
    return [(row["content_hash"], row["records_read"], row["accepted"]) for row in rows]
