"""Rejects that pass now are loaded, once, and stay where they stood (semantics sections 2, 9)."""

from __future__ import annotations

import gzip
import io
import json
import random
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest

from conftest import MakeWarehouse
from ingestion import clock
from ingestion.contract import event_streams
from ingestion.pipelines.files import LoadReport, load_files
from ingestion.pipelines.rejects import Filter, ReplayReport, replay
from ingestion.warehouse import from_environment
from landing import LONG
from support import compare
from support.warehouses import ENGINES, Warehouse, environment

T = "2024-06-09T12:34:56Z"
HEADER = "timestamp,user_id,ad_campaign_id,ad_creative_id\n"
WHO_FOR_USER = """\
stream: {stream}
aliases: true
paths:
  user_id: who
"""


@pytest.fixture(scope="module", params=ENGINES)
def shared(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Warehouse:
    """One warehouse for the module: each test has files of its own."""
    return make_warehouse(request.param)


@pytest.fixture
def warehouse(shared: Warehouse) -> Warehouse:
    """The same, without memory of contents: tests may write files that are alike."""
    return without_memory(shared)


@pytest.fixture(scope="module")
def another(make_warehouse: MakeWarehouse) -> Warehouse:
    return make_warehouse("duckdb")


@pytest.fixture
def fresh(another: Warehouse) -> Warehouse:
    """Where mended files are loaded as if they had never been broken."""
    return without_memory(another)


def without_memory(warehouse: Warehouse) -> Warehouse:
    sql = "select 1 from information_schema.tables where table_name = 'loaded_files'"
    if warehouse.rows(sql):
        warehouse.execute("update raw.loaded_files set content_hash = content_hash || ' before'")
    return warehouse


def load(warehouse: Warehouse, path: Path, **options: Any) -> LoadReport:
    with environment(warehouse.env):
        return load_files([str(path)], from_environment(), **options)


def again(warehouse: Warehouse, path: Path, **options: Any) -> ReplayReport:
    contract = options.pop("contract", None)
    with environment(warehouse.env):
        which = Filter(file=str(path), **options)
        report = replay(from_environment(), which, contract=contract)
    conserved(warehouse, path)
    return report


def rows_of(warehouse: Warehouse, stream: str, path: Path) -> list[dict[str, Any]]:
    return warehouse.rows(
        f"select * from raw.{stream} where _file = '{path}' order by _position, _dlt_load_id"
    )


def table(warehouse: Warehouse, name: str, path: Path) -> list[dict[str, Any]]:
    return warehouse.rows(f"select * from raw.{name} where file = '{path}'")


def rejected(warehouse: Warehouse, path: Path) -> list[dict[str, Any]]:
    return sorted(table(warehouse, "rejected_records", path), key=lambda row: row["position"])


def everything(warehouse: Warehouse, path: Path) -> dict[str, list[Any]]:
    """All that the raw schema holds of a file, in one order."""
    found: dict[str, list[Any]] = {}
    for contract in event_streams():
        found[contract.stream] = rows_of(warehouse, contract.stream, path)
    for name in ("rejected_records", "loaded_files", "replayed_records"):
        found[name] = sorted(map(repr, table(warehouse, name, path)))
    return found


def conserved(warehouse: Warehouse, path: Path) -> None:
    """Law 1: read = accepted + rejected, and both are what the tables hold."""
    files = table(warehouse, "loaded_files", path)
    accepted = sum(len(rows_of(warehouse, c.stream, path)) for c in event_streams())
    assert all(row["records_read"] == row["accepted"] + row["rejected"] for row in files)
    assert sum(row["accepted"] for row in files) == accepted
    assert sum(row["rejected"] for row in files) == len(rejected(warehouse, path))


def put(root: Path, stream: str, name: str, content: bytes | str) -> Path:
    path = root / stream / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def impression(user: str | None, name: str = "user_id", **more: Any) -> str:
    member = {} if user is None else {name: user}
    values = {"timestamp": T, **member, "ad_creative_id": "c", "website": "a.example", **more}
    return json.dumps(values) + "\n"


def avro(records: list[dict[str, Any]], codec: str = "deflate", interval: int = 16_000) -> bytes:
    names = dict.fromkeys(name for record in records for name in record)
    schema = {
        "type": "record",
        "name": "Impression",
        "fields": [{"name": name, "type": ["null", "string"], "default": None} for name in names],
    }
    file = io.BytesIO()
    fastavro.writer(file, schema, records, codec, sync_interval=interval)
    return file.getvalue()


def users(rows: list[dict[str, Any]]) -> list[str]:
    return [row["user_id"] for row in rows]


# A contract was mended ---------------------------------------------------------------------------


def broken(form: str) -> tuple[str, bytes]:
    """Five records; the second and the fourth call the user `who`."""
    names = ["user_id", "who", "user_id", "who", "user_id"]
    if form == "json":
        return "f.jsonl", "".join(
            impression(f"u{n}", name) for n, name in enumerate(names)
        ).encode()
    if form == "avro":
        return "f.avro", avro(
            [json.loads(impression(f"u{n}", name)) for n, name in enumerate(names)]
        )
    lines = ['timestamp;user_id;who;ad_creative_id;website;a "b"'.replace('a "b"', '"a ""b"""')]
    for n, name in enumerate(names):
        cells = [f"u{n}", ""] if name == "user_id" else ["", f"u{n}"]
        lines.append(f'{T};{cells[0]};{cells[1]};"c;\n""1""";a.example;x')
    return "f.csv", ("\r\n".join(lines) + "\r\n").encode()


@pytest.mark.parametrize("there", (True, False), ids=("file", "text"))
@pytest.mark.parametrize("form", ("json", "csv", "avro"))
def test_a_mended_contract(warehouse: Warehouse, tmp_path: Path, form: str, there: bool) -> None:
    """From the file, or where it is gone from the text that was kept."""
    name, content = broken(form)
    path = put(tmp_path, "impressions", name, content)
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    first = load(warehouse, path)
    before = rejected(warehouse, path)
    assert [row["reason"] for row in before] == ["missing:user_id"] * 2
    nothing = everything(warehouse, path)
    if not there:
        path.unlink()
    assert again(warehouse, path).load_id is None
    assert everything(warehouse, path) == nothing

    report = again(warehouse, path, contract=str(contract))
    assert report.replayed == {("impressions", "missing:user_id"): 2}
    rows = rows_of(warehouse, "impressions", path)
    assert users(rows) == ["u0", "u1", "u2", "u3", "u4"]
    assert [row["_position"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["_dlt_load_id"] for row in rows] == [
        report.load_id if number in (1, 3) else first.load_id for number in range(5)
    ]
    assert rows[1]["_loaded_at"] == rows[3]["_loaded_at"] > rows[0]["_loaded_at"]
    if form == "csv":
        assert rows[1]["ad_creative_id"] == 'c;\n"1"'
        assert json.loads(rows[1]["extra"]) == {'a "b"': "x"}
    assert rejected(warehouse, path) == []
    (file,) = table(warehouse, "loaded_files", path)
    assert (file["records_read"], file["accepted"], file["rejected"]) == (5, 5, 0)
    assert file["load_id"] == first.load_id
    marks = sorted(table(warehouse, "replayed_records", path), key=lambda row: row["position"])
    for mark, row in zip(marks, before, strict=True):
        assert mark["stream"] == "impressions"
        assert {key: mark[key] for key in ("position", "line", "raw_text", "reason")} == {
            key: row[key] for key in ("position", "line", "raw_text", "reason")
        }
        assert (mark["rejected_load_id"], mark["load_id"]) == (first.load_id, report.load_id)
        assert mark["replayed_at"] == rows[1]["_loaded_at"]
    loads = warehouse.rows(f"select * from raw._dlt_loads where load_id = '{report.load_id}'")
    assert [row["status"] for row in loads] == [0]

    settled = everything(warehouse, path)
    assert again(warehouse, path, contract=str(contract)).load_id is None
    assert everything(warehouse, path) == settled


def test_a_feeds_contract_is_remembered(warehouse: Warehouse, tmp_path: Path) -> None:
    """What was loaded with --contract is judged by it again, and by its present words."""
    contract = tmp_path / "feed.yml"
    contract.write_text("stream: clicks\npaths: {timestamp: at, user_id: who, ad_campaign_id: k}\n")
    path = put(tmp_path, "clicks", "f.jsonl", f'{{"at":"{T}","who":"a","k":"1"}}\n'
               f'{{"at":"{T}","whom":"b","k":"2"}}\n')  # fmt: skip
    load(warehouse, path, contract=str(contract))
    assert again(warehouse, path).load_id is None
    contract.write_text(contract.read_text().replace("who,", "[who, whom],"))
    assert again(warehouse, path).load_id is not None
    assert users(rows_of(warehouse, "clicks", path)) == ["a", "b"]

    gone = put(tmp_path, "clicks", "g.jsonl", f'{{"at":"{T}","k":"2"}}\n')
    load(warehouse, gone, contract=str(contract))
    contract.unlink()
    before = everything(warehouse, gone)
    (left,) = again(warehouse, gone).left
    assert (left.records, "--contract" in left.message) == (1, True)
    assert everything(warehouse, gone) == before


def test_reasons_are_brought_up_to_date(warehouse: Warehouse, tmp_path: Path) -> None:
    """What still fails keeps its load and gets its present reason."""
    path = put(
        tmp_path, "impressions", "f.jsonl",
        impression("a") + impression(None, who={"id": 1}) + impression("b", "who"),
    )  # fmt: skip
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    load(warehouse, path)
    before = rejected(warehouse, path)
    report = again(warehouse, path, contract=str(contract))
    assert report.changed == 1
    (after,) = rejected(warehouse, path)
    assert after == {**before[0], "reason": "bad_type:user_id", "detail": after["detail"]}
    assert after["detail"].startswith("string:")
    assert users(rows_of(warehouse, "impressions", path)) == ["a", "b"]


def test_filters(warehouse: Warehouse, tmp_path: Path) -> None:
    content = (
        impression("a", "who") + '{"x":\n' + impression("b", "who", price_cpm="x") + impression("c")
    )
    path = put(tmp_path, "impressions", "f.jsonl", content)
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    load(warehouse, path)
    feed = str(contract)
    assert again(warehouse, path, contract=feed, stream="clicks").load_id is None
    assert again(warehouse, path, contract=feed, reason="malformed").load_id is None
    report = again(warehouse, tmp_path, contract=feed, reason="missing")
    conserved(warehouse, path)
    assert report.replayed == {("impressions", "missing:user_id"): 1}
    assert [row["reason"] for row in rejected(warehouse, path)] == [
        "malformed",
        "bad_type:price_cpm",
    ]
    assert again(warehouse, path, contract=feed, reason="bad_type:price_cpm").load_id is None


def test_the_bound_of_24_hours_is_that_of_the_replay(warehouse: Warehouse, tmp_path: Path) -> None:
    at = datetime(2024, 6, 9, 12)
    soon, far = at + timedelta(hours=25), at + timedelta(hours=49)
    path = put(
        tmp_path, "clicks", "f.csv",
        HEADER + f"{soon.isoformat()}Z,a,k,\n{far.isoformat()}Z,b,k,\n",
    )  # fmt: skip
    with environment({"ADX_NOW": at.isoformat()}):
        clock.restart()
        load(warehouse, path)
    assert [row["reason"] for row in rejected(warehouse, path)] == ["out_of_range:timestamp"] * 2
    with environment({"ADX_NOW": (at + timedelta(hours=2)).isoformat()}):
        clock.restart()
        report = again(warehouse, path)
    assert report.replayed == {("clicks", "out_of_range:timestamp"): 1}
    assert users(rows_of(warehouse, "clicks", path)) == ["a"]


# A file was mended -------------------------------------------------------------------------------


def test_a_mended_file(warehouse: Warehouse, tmp_path: Path) -> None:
    """What stands in the rejects' places is taken; the mended file is loaded then."""
    bad = HEADER + f"{T},a,k,\n{T},,k,\nx,b\n{T},c,k,\n{T},,k,\n"
    path = put(tmp_path, "clicks", "f.csv", bad)
    load(warehouse, path)
    put(tmp_path, "clicks", "f.csv", bad.replace("x,b", f"{T},b,k,", 1).replace(",,k", ",d,k", 1))
    report = again(warehouse, path)
    assert report.replayed.total() == 2
    assert users(rows_of(warehouse, "clicks", path)) == ["a", "d", "b", "c"]
    assert [row["position"] for row in rejected(warehouse, path)] == [5]
    assert [file.status for file in load(warehouse, path).files] == ["skipped"]
    assert again(warehouse, path).load_id is None
    put(tmp_path, "clicks", "copy.csv", bad)
    assert [file.status for file in load(warehouse, path.parent / "copy.csv").files] == ["skipped"]


def _cut_array() -> tuple[str, bytes, bytes]:
    rows = [impression(f"u{n}").strip() for n in range(6)]
    whole = "[" + ",\n".join(rows) + "]"
    return "impressions/f.json", whole[: whole.index("u3") + 1].encode(), whole.encode()


def _open_quote() -> tuple[str, bytes, bytes]:
    good = (HEADER + "".join(f"{T},u{n},k,c\n" for n in range(6))).encode()
    return "clicks/f.csv", good.replace(b",u2,", b',"u2,'), good


def _cut_gzip() -> tuple[str, bytes, bytes]:
    dice = random.Random(1)
    rows = [impression(f"u{n}-{dice.getrandbits(64)}") for n in range(200)]
    whole = gzip.compress("".join(rows).encode(), mtime=0)
    return "impressions/f.jsonl.gz", whole[: len(whole) // 2], whole


def _cut_avro() -> tuple[str, bytes, bytes]:
    rows = [json.loads(impression(f"u{n}")) for n in range(60)]
    whole = avro(rows, "null", interval=400)
    return "impressions/f.avro", whole[: len(whole) * 2 // 3], whole


def _no_header() -> tuple[str, bytes, bytes]:
    rows = [json.loads(impression(f"u{n}")) for n in range(5)]
    return "impressions/f.avro", b"", avro(rows)


def _appended() -> tuple[str, bytes, bytes]:
    rows = [impression(f"u{n}") for n in range(5)]
    broken = [*rows[:2], impression(None)]
    return "impressions/f.jsonl", "".join(broken).encode(), "".join(rows).encode()


@pytest.mark.parametrize(
    "make", (_cut_array, _open_quote, _cut_gzip, _cut_avro, _no_header, _appended)
)
def test_a_reject_that_had_swallowed_the_rest(
    warehouse: Warehouse,
    fresh: Warehouse,
    tmp_path: Path,
    make: Callable[[], tuple[str, bytes, bytes]],
) -> None:
    """After the replay the raw schema holds what a load of the mended file would give."""
    name, bad, good = make()
    path = tmp_path / name
    path.parent.mkdir()
    path.write_bytes(bad)
    load(warehouse, path)
    accepted = rows_of(warehouse, path.parent.name, path)
    path.write_bytes(good)
    report = again(warehouse, path)
    load(fresh, path)

    def seen(where: Warehouse) -> list[Any]:
        lineage = ("_dlt_load_id", "_loaded_at")
        return [
            {key: value for key, value in row.items() if key not in lineage}
            for row in rows_of(where, path.parent.name, path)
        ]

    assert seen(warehouse) == seen(fresh)
    assert rejected(warehouse, path) == []
    assert report.added > 0
    grown = [row for row in rows_of(warehouse, path.parent.name, path) if row not in accepted]
    assert {row["_dlt_load_id"] for row in grown} == {report.load_id}
    settled = everything(warehouse, path)
    assert again(warehouse, path).load_id is None
    assert [file.status for file in load(warehouse, path).files] == ["skipped"]
    assert everything(warehouse, path) == settled


@pytest.mark.parametrize("how", ("deleted", "shuffled", "changed", "replaced"))
def test_a_file_in_which_other_records_moved_is_not_taken(
    warehouse: Warehouse, tmp_path: Path, how: str
) -> None:
    """Nothing is doubled: without the accepted records in their places a position means nothing."""
    good = [impression(f"u{n}") for n in range(4)]
    bad = [good[0], "no JSON\n", impression("x", "who"), *good[1:]]
    path = put(tmp_path, "impressions", "f.jsonl", "".join(bad))
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    load(warehouse, path)
    other = {
        "deleted": [good[0], impression("y"), *good[1:]],
        "shuffled": [good[1], impression("y"), impression("x"), good[0], *good[2:]],
        "changed": [good[0], impression("y"), impression("x"), *good[1:3], impression("z")],
        "replaced": [impression(f"new{n}") for n in range(9)],
    }[how]
    path.write_text("".join(other))
    before = everything(warehouse, path)
    report = again(warehouse, path)
    assert report.load_id is None
    assert everything(warehouse, path) == before
    (left,) = report.left
    assert (left.records, "adx load" in left.message) == (1, True)
    # Its own text is still there to be judged.
    report = again(warehouse, path, contract=str(contract))
    assert report.replayed == {("impressions", "missing:user_id"): 1}
    assert users(rows_of(warehouse, "impressions", path)) == ["u0", "x", "u1", "u2", "u3"]
    assert [file.status for file in load(warehouse, path).files] == ["loaded"]
    conserved(warehouse, path)


def test_one_path_that_was_loaded_twice(warehouse: Warehouse, tmp_path: Path) -> None:
    """Each load's rejects are their own; a mended file that was loaded whole is not taken again."""
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    path = put(tmp_path, "impressions", "f.jsonl", impression("a") + impression("b", "who"))
    first = load(warehouse, path)
    path.write_text(impression("c", "who") + impression("d") + impression("e", "who"))
    second = load(warehouse, path)
    report = again(warehouse, path, contract=str(contract))
    rows = rows_of(warehouse, "impressions", path)
    assert sorted(users(rows)) == ["a", "b", "c", "d", "e"]
    counts = {
        row["load_id"]: (row["records_read"], row["accepted"], row["rejected"])
        for row in table(warehouse, "loaded_files", path)
    }
    assert counts == {first.load_id: (2, 2, 0), second.load_id: (3, 3, 0)}
    assert report.replayed.total() == 3


def test_what_cannot_be_judged_without_its_file(warehouse: Warehouse, tmp_path: Path) -> None:
    path = put(tmp_path, "clicks", "f.csv", HEADER + f"{T},a,k,\n{T},b\n")
    load(warehouse, path)
    path.unlink()
    before = everything(warehouse, path)
    report = again(warehouse, path)
    assert everything(warehouse, path) == before
    (left,) = report.left
    assert left.records == 1
    assert "gone" in left.message


def test_interactions_route_again(warehouse: Warehouse, tmp_path: Path) -> None:
    header = "timestamp,user_id,ad_campaign_id,event_type\n"
    bad = header + f"{T},a,k,click\n{T},b,,click\n{T},c\n{T},,k,purchase\n"
    path = put(tmp_path, "interactions", "f.csv", bad)
    load(warehouse, path)
    assert [row["stream"] for row in rejected(warehouse, path)] == [
        "clicks",
        "interactions",
        "conversions",
    ]
    good = bad.replace("b,,click", "b,,sale").replace(",c\n", ",c,k,\n")
    path.write_text(good.replace(",,k,purchase", ",,k,click"))
    report = again(warehouse, path)
    assert report.replayed == {
        ("conversions", "missing:ad_campaign_id"): 1,
        ("clicks", "malformed"): 1,
    }
    assert users(rows_of(warehouse, "clicks", path)) == ["a", "c"]
    assert users(rows_of(warehouse, "conversions", path)) == ["b"]
    (still,) = rejected(warehouse, path)
    assert (still["stream"], still["reason"], still["position"]) == ("clicks", "missing:user_id", 4)
    assert still["raw_text"] == f"{T},,k,click"


# The command line --------------------------------------------------------------------------------


def test_the_command_lists_and_replays(warehouse: Warehouse, tmp_path: Path) -> None:
    path = put(
        tmp_path, "clicks", "f.csv", HEADER + "".join(f"{T},,k{n},\n" for n in range(5)) + "x\n"
    )
    load(warehouse, path)
    arguments = ("rejects", "--file", str(tmp_path))
    told = json.loads(warehouse.adx(*arguments, "--json", "--limit", "2").stdout)["rejects"]
    assert [(row["reason"], row["records"], row["files"]) for row in told] == [
        ("missing:user_id", 5, 1),
        ("malformed", 1, 1),
    ]
    assert told[0]["samples"] == [
        {"file": str(path), "line": n + 2, "position": n + 1, "detail": None, "text": f"{T},,k{n},"}
        for n in range(2)
    ]
    shown = warehouse.adx(*arguments, "--reason", "malformed").stdout
    assert "malformed" in shown
    assert "missing" not in shown
    path.write_text(path.read_text().replace(",,k0", ",u,k0"))
    told = json.loads(warehouse.adx(*arguments, "--replay", "--json").stdout)
    assert told["replayed"] == [{"stream": "clicks", "reason": "missing:user_id", "records": 1}]
    assert "nothing is changed" in warehouse.adx(*arguments, "--replay").stdout
    conserved(warehouse, path)
    said = warehouse.adx("rejects", "--replay", "--contract", "nosuch", exit_code=2).stderr
    assert "openrtb" in said
    assert "--replay" in warehouse.adx("rejects", "--contract", "openrtb", exit_code=2).stderr


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[1:])
def test_a_build_after_a_replay(make_warehouse: MakeWarehouse, landing: Path, engine: str) -> None:
    """The replayed events are in the marts, and dbt's tests of what was read pass."""
    warehouse = make_warehouse(engine)
    path = put(landing, "clicks", "f.csv", HEADER + f"{T},a,k,c\n{T},,k,c\nx\n")
    warehouse.adx_here("run", str(landing))
    path.write_text(HEADER + f"{T},a,k,c\n{T},b,k,c\nx\n{T},d,k,c\n")
    warehouse.adx("rejects", "--replay")
    assert "1 load since" in warehouse.adx_here("build").stdout
    found = warehouse.rows("select user_id from marts.fct_clicks order by user_id")
    assert users(found) == ["a", "b", "d"]
    marts = compare.read_marts(warehouse)
    warehouse.adx_here("build", "--full-refresh", "--no-tests")
    assert compare.marts_differences(marts, compare.read_marts(warehouse)) == []
    conserved(warehouse, path)


# A death -----------------------------------------------------------------------------------------


def test_killed_in_the_midst_of_a_replay(warehouse: Warehouse, tmp_path: Path) -> None:
    """All or nothing, and the next replay does it."""
    contract = tmp_path / "who.yml"
    contract.write_text(WHO_FOR_USER.format(stream="impressions"))
    count = 40_000
    path = put(
        tmp_path, "impressions", "f.jsonl",
        "".join(impression(f"u{n}", "who" if n % 2 else "user_id") for n in range(count)),
    )  # fmt: skip
    load(warehouse, path)
    command = ("rejects", "--replay", "--file", str(path), "--contract", str(contract))
    killed, delay = 0, 0.8
    while True:
        running = warehouse.start(*command)
        try:
            running.wait(delay)
            break
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            killed += 1
        delay *= 1.4
        counts = warehouse.rows(
            f"select count(*) as rows from raw.impressions where _file = '{path}'"
        )
        if counts[0]["rows"] == count:  # it died after its commit
            break
        assert counts[0]["rows"] == count // 2
        assert len(rejected(warehouse, path)) == count // 2
        assert table(warehouse, "replayed_records", path) == []
    assert killed
    again(warehouse, path, contract=str(contract))
    assert len(rows_of(warehouse, "impressions", path)) == count
    assert rejected(warehouse, path) == []
    marks = table(warehouse, "replayed_records", path)
    assert len(marks) == count // 2
    assert len({mark["load_id"] for mark in marks}) == 1
