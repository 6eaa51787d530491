"""The worked example: a dozen records of each stream, and marts that a reader can check by hand.

The files are in tests/fixtures/worked_example; its README.md says why each number is what it is.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from reference.funnel import Row, Rows, Seeds, funnel
from support import compare
from support.ingested import landing_files, raw_rows
from support.warehouses import ROOT, Warehouse

EXAMPLE = ROOT / "tests" / "fixtures" / "worked_example"
LANDING = EXAMPLE / "landing"
EXPECTED = EXAMPLE / "expected"
REJECTED = "rejected_records"

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d+)?")


def value_of(text: str) -> Any:
    """A value as the expected marts write it: nothing is null, ``true`` and ``false`` booleans."""
    if text == "":
        return None
    if text in ("true", "false"):
        return text == "true"
    if _TIME.fullmatch(text):
        return datetime.fromisoformat(text)
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def expected(name: str) -> Rows:
    """The rows of one expected table."""
    with (EXPECTED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [
            {column: value_of(text) for column, text in row.items()} for row in csv.DictReader(file)
        ]


def expected_marts() -> dict[str, Rows]:
    """All expected marts by name."""
    return {path.stem: expected(path.stem) for path in sorted(EXPECTED.glob("*_*.csv"))
            if path.stem != REJECTED}  # fmt: skip


def without_load_date(marts: Mapping[str, Rows]) -> dict[str, Rows]:
    """The marts with data quality summed over load dates: the example is loaded today."""
    by_stream: dict[str, Row] = {}
    for row in marts["fct_data_quality_daily"]:
        sums = by_stream.setdefault(row["stream"], {"stream": row["stream"], "date": None})
        for name, value in row.items():
            if name not in ("stream", "date"):
                sums[name] = sums.get(name, 0) + value
    return {**marts, "fct_data_quality_daily": list(by_stream.values())}


def rejected(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """What the expected table of rejected records names, in its order."""
    return sorted(
        (row["stream"], Path(row["file"]).name, row["position"], row["line"], row["reason"])
        for row in rows
    )


def assert_example(marts: Mapping[str, Rows], refused: Sequence[Row]) -> None:
    """Every expected table, to the row."""
    found = compare.marts_differences(without_load_date(marts), expected_marts(), most=20)
    assert not found, "\n" + "\n".join(found)
    assert rejected(refused) == rejected(expected(REJECTED))


def test_every_mart_is_expected() -> None:
    """No mart of section 8 is left out."""
    assert set(expected_marts()) == set(compare.KEYS)


def test_avro_file_holds_what_its_readable_copy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Avro file is the JSON lines beside it."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "make_avro", raising=False)
    import make_avro  # type: ignore[import-not-found]

    with make_avro.AVRO.open("rb") as file:
        held = [
            {name: value for name, value in record.items() if value is not None}
            for record in fastavro.reader(file)
            if isinstance(record, dict)
        ]
    assert held == make_avro.readable_records()


def test_reference_agrees_with_the_example(seeds: Seeds) -> None:
    """The two references are checked by hand here, before they check anything."""
    raw = raw_rows(landing_files(LANDING), datetime(2024, 6, 20))
    assert_example(funnel(raw, seeds), raw[REJECTED])


def test_engines_agree_with_the_example(warehouse: Warehouse) -> None:
    """`adx load` and `adx build` give the expected marts; `dbt build` adds the unit tests."""
    warehouse.adx_here("load", str(LANDING))
    warehouse.adx_here("build")
    assert_example(
        compare.read_marts(warehouse), warehouse.rows("select * from raw.rejected_records")
    )
    ran = warehouse.dbt("build")
    statuses = {node.status for node in ran.results if node.node.resource_type == "unit_test"}
    assert statuses == {"pass"}
    assert_example(
        compare.read_marts(warehouse), warehouse.rows("select * from raw.rejected_records")
    )
