"""Feeds grow fields and contracts follow: nothing is lost, and no migration is done by hand."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeWarehouse
from ingestion.pipelines.backfill import backfill
from ingestion.pipelines.files import LoadReport, load_files
from ingestion.warehouse import from_environment
from landing import LONG
from reference.funnel import identity
from support.warehouses import ENGINES, ROOT, Warehouse, environment

T = "2024-06-09T12:34:56Z"
PARTS = ("advertisex", "ingestion", "macros", "models", "profiles", "seeds", "tests/generic")

# Impressions grow four fields at their end; a click's user agent gets another name.
GROWN = """\
  slot: {type: string, aliases: [ad_slot]}
  floor: {type: amount}
  seen_at: {type: timestamp}
  floor_currency: {type: currency}
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with contracts that have grown, and its macro of texts with them."""
    project = tmp_path_factory.mktemp("grown")
    ignore = shutil.ignore_patterns("__pycache__", "target")
    for part in PARTS:
        shutil.copytree(ROOT / part, project / part, ignore=ignore)
    for path in [ROOT / "dbt_project.yml", *(ROOT / "tests").glob("*.sql")]:
        shutil.copyfile(path, project / path.relative_to(ROOT))
    contract = project / "ingestion" / "contracts" / "impressions.yml"
    contract.write_text(contract.read_text().rstrip() + "\n" + GROWN)
    clicks = project / "ingestion" / "contracts" / "clicks.yml"
    named = clicks.read_text().replace(
        "user_agent: {type: string}", "user_agent: {type: string, aliases: [browser_name]}"
    )
    assert "browser_name" in named
    clicks.write_text(named)
    macro = project / "macros" / "identified.sql"
    text = macro.read_text()
    last = "'currency', 'user_agent', 'country', 'device_type',\n        ],\n        'clicks'"
    assert last.split("\n")[0] in text
    head, tail = text.split("        'clicks': [", 1)
    head = head.rstrip().removesuffix("],").rstrip() + (
        "\n            'slot', 'floor', 'seen_at', 'floor_currency',\n        ],\n"
    )
    text = head + "        'clicks': [" + tail
    # A second time in a text: written as the first.
    text = text.replace("field == 'timestamp'", "field in ('timestamp', 'seen_at')")
    macro.write_text(text)
    return project


def load(warehouse: Warehouse, path: Path) -> LoadReport:
    with environment(warehouse.env):
        return load_files([str(path)], from_environment())


def put(root: Path, stream: str, name: str, content: str) -> Path:
    path = root / stream / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def impression(user: str, **more: Any) -> str:
    values = {"timestamp": T, "user_id": user, "ad_creative_id": "c", "website": "a.example"}
    return json.dumps({**values, **more}) + "\n"


def unknown(warehouse: Warehouse) -> dict[tuple[str, str], dict[str, Any]]:
    told = json.loads(warehouse.adx("status", "--json").stdout)["unknown_fields"]
    return {(row["stream"], row["field"]): row for row in told}


def warned(warehouse: Warehouse) -> str:
    """The status of dbt's test of new fields, which needs no model."""
    result = warehouse.dbt("test", "--select", "no_new_unknown_fields")
    (node,) = (each for each in result.results if each.node.resource_type == "test")
    return str(node.status)


def test_new_fields_are_named(warehouse: Warehouse, landing: Path) -> None:
    """By load, stream and name: new is what the last load of the stream brought first."""
    first = load(warehouse, put(landing, "impressions", "1.jsonl", impression("a", slot="top")))
    told = unknown(warehouse)
    assert {key: row["is_new"] for key, row in told.items()} == {("impressions", "slot"): False}
    assert warned(warehouse) == "pass"

    put(landing, "impressions", "2.jsonl", impression("b", slot="x", **{"brand new": 1}) * 3)
    put(landing, "impressions", "3.jsonl", impression("c") + impression("d", **{"brand new": 2}))
    put(landing, "interactions", "1.csv", "timestamp,user_id,campaign_id,event_type,How Far\n"
        f"{T},u,k,,\n{T},u,k,click,7\n{T},u,k,sale,8\n")  # fmt: skip
    second = load(warehouse, landing)
    told = unknown(warehouse)
    row = told["impressions", "brand new"]
    assert (row["is_new"], row["records"], row["since_load"]) == (True, 4, second.load_id)
    assert (told["impressions", "slot"]["is_new"], told["impressions", "slot"]["since_load"]) == (
        False,
        first.load_id,
    )
    assert told["impressions", "slot"]["records"] == 4
    # The first load of interactions, so nothing in it is new.
    assert {key[0]: row["is_new"] for key, row in told.items() if key[1] == "How Far"} == {
        "clicks": False,
        "conversions": False,
    }
    stored = warehouse.rows(
        "select stream, field, file, records from raw.unknown_fields"
        f" where load_id = '{second.load_id}' order by stream, field"
    )
    assert [(row["stream"], row["field"], row["records"]) for row in stored] == [
        ("clicks", "How Far", 1),
        ("conversions", "How Far", 1),
        ("impressions", "brand new", 4),
        ("impressions", "slot", 3),
    ]
    assert stored[2]["file"].endswith("2.jsonl")
    assert warned(warehouse) == "warn"
    shown = warehouse.adx("status").stdout
    assert "brand new" in shown.split("Other fields")[0]

    # A load of another stream is no news of this one; the next of this one is.
    load(warehouse, put(landing, "clicks", "1.csv", f"timestamp,user_id,campaign_id\n{T},u,k\n"))
    assert unknown(warehouse)["impressions", "brand new"]["is_new"] is True
    load(warehouse, put(landing, "impressions", "4.jsonl", impression("e")))
    assert unknown(warehouse)["impressions", "brand new"]["is_new"] is False
    assert warned(warehouse) == "pass"


def test_an_alias_that_lost_is_no_unknown_field(warehouse: Warehouse, landing: Path) -> None:
    more = {"ad_campaign_id": "k", "campaign_id": "l", "none": None}
    load(warehouse, put(landing, "impressions", "1.jsonl", impression("a", **more)))
    assert set(unknown(warehouse)) <= {("impressions", "none")}
    (row,) = warehouse.rows("select extra from raw.impressions")
    assert json.loads(row["extra"])["campaign_id"] == "l"


def rows_of(warehouse: Warehouse, stream: str) -> list[dict[str, Any]]:
    return warehouse.rows(f"select * from raw.{stream} order by _file, _position")


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1])
def test_a_contract_that_has_grown(
    make_warehouse: MakeWarehouse, engine: str, landing: Path, grown: Path
) -> None:
    """With data there: the next load adds the columns, the models build, a back-fill fills."""
    warehouse = make_warehouse(engine)
    old = [
        impression("a", slot="top", floor="1.25", floor_currency="eur", other=[1]),
        impression("b", ad_slot="side", floor="much", seen_at="2024-06-09T14:00:00+02:00"),
        impression("c", impression_id="own", slot="mid"),
        impression("d"),
    ]
    put(landing, "impressions", "1.jsonl", "".join(old))
    put(landing, "clicks", "1.csv", "timestamp,user_id,campaign_id,Browser-Name,User Agent\n"
        f"{T},u,k,Firefox,\n{T},v,k,Firefox,Other\n{T},w,k,,\n")  # fmt: skip
    load(warehouse, landing)
    before = rows_of(warehouse, "impressions")

    # The same events again, and a new one, after the contract has grown.
    put(landing, "impressions", "2.jsonl", "".join(old) + impression("e", slot="new"))
    warehouse.adx("load", str(landing), project=grown)
    rows = rows_of(warehouse, "impressions")
    assert [row["slot"] for row in rows] == [None] * 4 + ["top", "mid", None, "new"]
    assert [row["user_id"] for row in rows[4:]] == ["a", "c", "d", "e"]  # much is no amount
    warehouse.adx("build", "--no-tests", project=grown)

    told = json.loads(warehouse.adx("backfill", "--json", project=grown).stdout)
    filled = {(row["stream"], row["field"]): row["records"] for row in told["filled"]}
    assert filled == {
        ("impressions", "slot"): 3,
        ("impressions", "floor"): 1,
        ("impressions", "seen_at"): 1,
        ("impressions", "floor_currency"): 1,
        ("clicks", "user_agent"): 1,
    }
    assert told["refused"] == [{"stream": "impressions", "reason": "bad_type:floor", "records": 1}]
    rows = rows_of(warehouse, "impressions")
    assert [row["slot"] for row in rows[:4]] == ["top", "side", "mid", None]
    assert [row["floor"] for row in rows[:4]] == [Decimal("1.25"), None, None, None]
    assert [row["floor_currency"] for row in rows[:4]] == ["EUR", "USD", "USD", "USD"]
    assert rows[1]["seen_at"] == datetime(2024, 6, 9, 12)
    assert json.loads(rows[0]["extra"]) == {"other": [1]}
    assert json.loads(rows[1]["extra"]) == {"floor": "much"}
    assert [row["extra"] for row in rows[2:4]] == [None, None]
    for now, then in zip(rows, before, strict=False):
        kept = set(then) - {"slot", "floor", "seen_at", "floor_currency", "extra", "text_md5"}
        assert {name: now[name] for name in kept} == {name: then[name] for name in kept}
    # A copy that was sent again is the same event, with an id of its own or without.
    md5 = {row["user_id"]: row["text_md5"] for row in rows[:4]}
    assert [row["text_md5"] for row in rows[4:7]] == [md5["a"], md5["c"], md5["d"]]
    assert md5["c"] is None
    assert md5["a"] != before[0]["text_md5"]

    clicks = rows_of(warehouse, "clicks")
    assert [row["user_agent"] for row in clicks] == ["Firefox", "Other", None]
    assert [json.loads(row["extra"] or "{}") for row in clicks] == [
        {},
        {"Browser-Name": "Firefox"},
        {},
    ]
    for row in clicks:
        assert row["text_md5"] == identity("clicks", row)
    left = warehouse.rows("select stream, field from raw.unknown_fields order by field")
    assert {(row["stream"], row["field"]) for row in left} == {
        ("impressions", "floor"),
        ("impressions", "other"),
    }

    settled = rows_of(warehouse, "impressions")
    told = json.loads(warehouse.adx("backfill", "--json", project=grown).stdout)
    assert told["changed"] is False
    assert rows_of(warehouse, "impressions") == settled
    assert "everything, as records" in warehouse.adx("build", "--no-tests", project=grown).stdout
    copies = warehouse.rows("select user_id, copies from marts.fct_impressions order by user_id")
    assert {row["user_id"]: row["copies"] for row in copies} == {
        "a": 2, "b": 1, "c": 2, "d": 2, "e": 1,
    }  # fmt: skip


def test_a_back_fill_of_one_field(warehouse: Warehouse, landing: Path, grown: Path) -> None:
    put(landing, "impressions", "1.jsonl", impression("a", slot="x", floor="2"))
    load(warehouse, landing)
    warehouse.adx("backfill", "--stream", "impressions", "--field", "slot", project=grown)
    (row,) = rows_of(warehouse, "impressions")
    assert (row["slot"], row["floor"], json.loads(row["extra"])) == ("x", None, {"floor": "2"})
    said = warehouse.adx("backfill", "--field", "floor", project=grown).stdout
    assert "Filled 1 values, refused 0" in said
    (row,) = rows_of(warehouse, "impressions")
    assert (row["slot"], row["floor"], row["extra"]) == ("x", Decimal("2"), None)


def test_names_that_no_contract_has(warehouse: Warehouse, landing: Path) -> None:
    load(warehouse, put(landing, "impressions", "1.jsonl", impression("a")))
    assert "views" in warehouse.adx("backfill", "--stream", "views", exit_code=2).stderr
    assert "nosuch" in warehouse.adx("backfill", "--field", "nosuch", exit_code=2).stderr
    with environment(warehouse.env):
        assert not backfill(from_environment()).changed
