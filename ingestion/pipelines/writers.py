"""Rows into the raw schema: all of a load in one transaction of the warehouse.

Until `commit` nobody sees anything of the load, and what dies before leaves nothing behind; with
it come the rows, `loaded_files` and dlt's own record of the load, or none of them.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from ingestion import clock
from ingestion.pipelines import raw
from ingestion.warehouse import RAW, forget_written, literal

_AHEAD = 2  # tables that wait to be written


@dataclass(frozen=True)
class Load:
    """A load's id, as dlt names loads (seconds since 1970), and its time (UTC)."""

    id: str
    at: dt.datetime

    @classmethod
    def now(cls) -> Load:
        at = clock.now()
        return cls(f"{at.replace(tzinfo=dt.UTC).timestamp():.6f}", at)

    def values(self, table: str) -> dict[str, pa.Scalar]:
        """The lineage that all rows of a load share, by column."""
        return {
            raw.load_column(table): pa.scalar(self.id, pa.string()),
            raw.time_column(table): pa.scalar(self.at, pa.timestamp("us")),
        }

    def literals(self, table: str) -> dict[str, str]:
        """The same as SQL."""
        return {
            raw.load_column(table): literal(self.id),
            raw.time_column(table): f"timestamp '{self.at}'",
        }


class Writer(Protocol):
    """Writes into one transaction. Everything raises as the warehouse's driver does."""

    def write(self, table: str, rows: pa.Table) -> None:
        """Append rows: columns by name, the load's own are added where rows have none."""

    def execute(self, sql: str) -> None:
        """Run a statement within the transaction, after what was written before."""

    def commit(self) -> None: ...

    def close(self) -> None:
        """End the work; what was not committed goes with the connection."""


def open_writer(connection: Any, load: Load) -> Writer:
    """A writer over a connection for loading, working in the background."""
    kind = _DuckDB if isinstance(connection, duckdb.DuckDBPyConnection) else _Postgres
    return _Background(kind(connection, load))


def record_load(writer: Writer, load: Load, schema_version: str) -> None:
    """dlt's own note of a finished load, which its tools look for."""
    writer.execute(
        f"insert into {RAW}._dlt_loads"
        " (load_id, schema_name, status, inserted_at, schema_version_hash)"
        f" values ('{load.id}', '{raw.SCHEMA}', 0, '{load.at}+00:00', '{schema_version}')"
    )


def update(writer: Writer, table: str, changed: Sequence[str], mark: str) -> None:
    """Set columns of rows that are there from rows that were written beside them.

    Those have the same file and position, and `mark` before the load's id; they go again.
    """
    file, load = raw.file_column(table), raw.load_column(table)
    position = "position" if file == "file" else "_position"
    values = ", ".join(f'"{name}" = arrived."{name}"' for name in changed)
    writer.execute(
        f"update {RAW}.{table} as there set {values} from {RAW}.{table} as arrived"
        f" where arrived.{load} = {literal(mark)} || there.{load}"
        f" and arrived.{file} = there.{file} and arrived.{position} = there.{position}"
    )
    writer.execute(f"delete from {RAW}.{table} where starts_with({load}, {literal(mark)})")


def discard(writer: Writer, file: str, load: Load) -> None:
    """Take back what this load wrote of a file."""
    for table in raw.tables():
        if column := raw.file_column(table):
            writer.execute(
                f"delete from {RAW}.{table} where {column} = {literal(file)}"
                f" and {raw.load_column(table)} = '{load.id}'"
            )


class _DuckDB:
    """Inserts whole row groups, which is twice as fast as other pieces, a thread each."""

    ROW_GROUP = 122_880
    GROUPS = 2

    def __init__(self, connection: duckdb.DuckDBPyConnection, load: Load) -> None:
        self.load = load
        self.pieces: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self.groups: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self.connection = connection
        self.beside = connection.cursor()  # which has no transaction
        self.connection.execute(f"set threads = {self.GROUPS}")
        self.connection.execute("begin")

    def write(self, table: str, rows: pa.Table) -> None:
        pieces, groups = self.pieces[table], self.groups[table]
        pieces.append(rows)
        while (count := sum(piece.num_rows for piece in pieces)) >= self.ROW_GROUP:
            last = pieces.pop()
            fits = last.num_rows - (count - self.ROW_GROUP)
            groups.append(_together([*pieces, last.slice(0, fits)]))
            pieces[:] = [last.slice(fits)]
            if len(groups) == self.GROUPS:
                self._insert(table, groups)
                groups.clear()
                forget_written(self.beside)
                # By itself the allocator gives back only a part of what many threads have freed.
                pa.default_memory_pool().release_unused()

    def _insert(self, table: str, groups: list[pa.Table]) -> None:
        arriving = pa.concat_tables(groups).unify_dictionaries()
        columns, values = [], []
        for name, column in zip(arriving.column_names, arriving.columns, strict=True):
            value = f'"{name}"'
            if pa.types.is_dictionary(column.type):
                used = column.unique()
                if len(used) == 1:
                    value = literal(used[0].as_py())
            columns.append(f'"{name}"')
            values.append(value)
        for name, value in self.load.literals(table).items():
            if name not in arriving.column_names:
                columns.append(name)
                values.append(value)
        # Found by their Python name: a view of them, as of a relation, would live until the commit.
        self.connection.execute(
            f"insert into {RAW}.{table} ({', '.join(columns)})"
            f" select {', '.join(values)} from arriving"
        )

    def _flush(self) -> None:
        for table, pieces in self.pieces.items():
            groups = [*self.groups[table], _together(pieces)] if pieces else self.groups[table]
            if sum(group.num_rows for group in groups):
                self._insert(table, groups)
        self._forget()

    def _forget(self) -> None:
        self.pieces.clear()
        self.groups.clear()

    def execute(self, sql: str) -> None:
        self._flush()
        self.connection.execute(sql)

    def commit(self) -> None:
        self._flush()
        self.connection.execute("commit")

    def close(self) -> None:
        self._forget()
        self.beside.close()


def _together(pieces: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(pieces).unify_dictionaries().combine_chunks()


class _Postgres:
    """Copies binary rows, as ADBC's driver makes them of Arrow tables."""

    BATCH = 500

    def __init__(self, connection: Any, load: Load) -> None:
        self.load = load
        self.connection = connection
        self.cursor = self.connection.cursor()

    def write(self, table: str, rows: pa.Table) -> None:
        plain = pa.schema([(field.name, _plain(field.type)) for field in rows.schema])
        rows = rows.cast(plain)
        for name, value in self.load.values(table).items():
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
        # The driver sends a batch when it is complete: in small ones the server works meanwhile.
        batches = pa.RecordBatchReader.from_batches(
            rows.schema, rows.to_batches(max_chunksize=self.BATCH)
        )
        self.cursor.adbc_ingest(table, batches, mode="append", db_schema_name=RAW)

    def execute(self, sql: str) -> None:
        self.cursor.execute(sql)

    def commit(self) -> None:
        self.connection.commit()

    def close(self) -> None:
        self.cursor.close()


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


class _Background:
    """Does a writer's work in a thread of its own, in order; its errors come with the next call."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.work: queue.Queue[Callable[[], None] | None] = queue.Queue(_AHEAD)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (step := self.work.get()) is not None:
            try:
                if self.error is None:
                    step()
            except BaseException as error:
                self.error = error
            finally:
                self.work.task_done()
        self.work.task_done()

    def _put(self, step: Callable[[], None]) -> None:
        if self.error is not None:
            raise self.error
        self.work.put(step)

    def _wait(self) -> None:
        self.work.join()
        if self.error is not None:
            raise self.error

    def write(self, table: str, rows: pa.Table) -> None:
        self._put(lambda: self.writer.write(table, rows))

    def execute(self, sql: str) -> None:
        self._put(lambda: self.writer.execute(sql))

    def commit(self) -> None:
        self._put(self.writer.commit)
        self._wait()

    def close(self) -> None:
        self.work.put(None)
        self.thread.join()
        self.writer.close()
