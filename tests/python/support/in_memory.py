"""A load without a warehouse: the real readers and the real judge, rows kept in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingestion.discovery import Candidate
from ingestion.pipelines import files, raw
from ingestion.pipelines.judge import Judge
from ingestion.pipelines.progress import Meter
from ingestion.pipelines.writers import Load
from ingestion.storage import Location
from ingestion.warehouse import Warehouse

Row = dict[str, Any]


@dataclass
class Memory:
    """A writer that keeps the rows of each table."""

    tables: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))

    def write(self, table: str, rows: pa.Table) -> None:
        self.tables[table].append(rows)

    def execute(self, sql: str) -> None:
        raise AssertionError(sql)

    def commit(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Outcome:
    """What became of one file: its row of `loaded_files`, and its rows by position."""

    file: Row
    accepted: dict[str, list[Row]]
    rejected: list[Row]

    @property
    def positions(self) -> list[int]:
        found = [row["_position"] for rows in self.accepted.values() for row in rows]
        return sorted(found + [row["position"] for row in self.rejected])


def load(paths: Iterable[tuple[Path, str]]) -> dict[Path, Outcome]:
    """Files with their streams, as one load."""
    loader = files._Load(Warehouse("duckdb", Path("nowhere.duckdb")), None, Meter(None, 0))
    writer = Memory()
    judge = Judge(loader.connection, writer, Load.now())
    taken = {}
    for path, stream in paths:
        found = loader._take(Candidate(Location(str(path)), stream), judge)
        assert isinstance(found, files._Loaded), found
        taken[path] = found
    judge.finish()
    outcomes = {
        str(path): Outcome(loader._row(found, judge), defaultdict(list), [])
        for path, found in taken.items()
    }
    loader.connection.close()
    for table, parts in writer.tables.items():
        for part in parts:
            for row in _as_numbers(part).to_pylist():
                outcome = outcomes[row[raw.file_column(table)]]
                (outcome.rejected if table == raw.REJECTED else outcome.accepted[table]).append(row)
    return {path: outcomes[str(path)] for path in taken}


def _as_numbers(table: pa.Table) -> pa.Table:
    """Times as numbers, which is quick and knows no last year."""
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(index, column.name, table[column.name].cast(pa.int64()))
    return table
