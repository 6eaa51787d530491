"""Benchmarks of builds start from raw tables that are the same on both engines."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from conftest import MakeWarehouse
from ingestion.pipelines import raw
from ingestion.warehouse import PROJECT, from_environment
from support.warehouses import environment

FILLED = ("bid_requests", "impressions", "clicks", "conversions", "campaigns", "creatives")


def test_made_up_raw_tables_are_the_same_on_postgres(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    raw_events = importlib.import_module("raw_events")
    warehouses = make_warehouse("duckdb"), make_warehouse("postgres")
    path = Path(warehouses[0].env["ADX_DUCKDB_PATH"])
    for load, days in ((1, range(3)), (2, range(3, 4))):
        raw_events.fill(path, days, 1_000, load)
        with environment(warehouses[1].env):
            raw_events.copy_to_postgres(path, from_environment("postgres"), load)
    columns = {table: schema.names for table, schema in raw.tables().items()}
    columns["_dlt_loads"] = ["load_id", "schema_name", "status", "schema_version_hash"]
    for table, names in columns.items():
        sql = "select {} from raw.{}".format(", ".join(f'"{name}"' for name in names), table)
        made, copied = (sorted(warehouse.rows(sql), key=repr) for warehouse in warehouses)
        assert made == copied, table
        assert bool(made) == (table in (*FILLED, "_dlt_loads")), table
