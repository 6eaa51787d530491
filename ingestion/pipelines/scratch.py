"""A small database beside the warehouse, for what does not fit in memory while it is compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from ingestion import checks
from ingestion.contract import Contract
from ingestion.warehouse import Warehouse

_MEMORY = "256MB"  # of DuckDB, for what is judged or compared
_BATCH = 50_000


def in_memory() -> duckdb.DuckDBPyConnection:
    """A database in memory to judge records with."""
    return _connect(":memory:")


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in a temporary file, with the functions of `ingestion.checks`."""
    with (
        tempfile.TemporaryDirectory(prefix="adx-scratch-") as folder,
        _connect(str(Path(folder) / "scratch.duckdb")) as connection,
    ):
        checks.register(connection)
        yield connection


def _connect(path: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path, config={"memory_limit": _MEMORY})
    connection.execute("set enable_progress_bar = false")
    return connection


def copy(warehouse: Warehouse, sql: str, into: duckdb.DuckDBPyConnection, table: str) -> int:
    """The rows of a query on the warehouse, as a table of the scratch database; how many.

    Raises as the warehouse's driver does.
    """
    with warehouse.arrow(sql, _BATCH) as reader:
        made = into.from_arrow(pa.Table.from_batches([], reader.schema))
        made.query("arriving", f"create or replace table {table} as from arriving")
        count = 0
        for batch in reader:
            count += batch.num_rows
            rows = pa.Table.from_batches([batch])
            into.from_arrow(rows).query("arriving", f"insert into {table} from arriving")
    return count


def held_columns(contract: Contract) -> str:
    """A stream's fields as SQL for a warehouse of any engine; amounts travel as text."""
    return ", ".join(
        f'cast("{field.name}" as varchar) as "{field.name}"'
        if field.type == "amount"
        else f'"{field.name}"'
        for field in contract.fields
    )


def typed_columns(contract: Contract) -> str:
    """The same columns with their types again, as SQL for the scratch database."""
    return ", ".join(
        f'cast("{field.name}" as decimal(18, 6)) as "{field.name}"'
        if field.type == "amount"
        else f'"{field.name}"'
        for field in contract.fields
    )
