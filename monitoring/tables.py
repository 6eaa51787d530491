"""The schema `monitoring`: its tables, made when they are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ingestion.warehouse import Warehouse, rows

SCHEMA = "monitoring"

_TABLES = {
    "runs": """
        run_id text not null, command text not null, started_at timestamp not null,
        ended_at timestamp, outcome text not null, load_id text, records_read bigint,
        accepted bigint, rejected bigint, seconds double precision, process text not null,
        error text, primary key (run_id, command)
    """,
    "node_results": """
        run_id text not null, node_id text not null, name text not null, kind text not null,
        model text, status text not null, severity text, failures bigint, message text,
        seconds double precision, relation text, ended_at timestamp not null, query text,
        primary key (run_id, node_id)
    """,
    "evaluations": "evaluated_at timestamp not null, judged_until date",
    "alerts": """
        key text primary key, kind text not null, severity text not null, subject text not null,
        since timestamp not null, first_seen timestamp not null, last_seen timestamp not null,
        resolved_at timestamp, silenced_until timestamp, told_at timestamp, summary text not null,
        body text not null
    """,
    "uploaded_project": "digest text not null",
    "deliveries": """
        id text primary key, key text not null, event text not null, channel text not null,
        title text not null, message text not null, created_at timestamp not null,
        attempts integer not null, next_try_at timestamp not null, delivered_at timestamp,
        error text
    """,
}


@contextlib.contextmanager
def transaction(warehouse: Warehouse) -> Iterator[Any]:
    """A connection in a transaction that holds the schema's tables; committed at the end.

    Raises UserError when the warehouse is not to be had.
    """
    with warehouse.connect() as connection:
        if warehouse.path is not None:
            connection.execute("begin")
        _ensure(warehouse, connection)
        yield connection
        connection.commit()


def _ensure(warehouse: Warehouse, connection: Any) -> None:
    missing = set(_TABLES) - warehouse.tables(connection, SCHEMA)
    if missing:
        rows(connection, f"create schema if not exists {SCHEMA}")
    for table in sorted(missing):
        rows(connection, f"create table if not exists {SCHEMA}.{table} ({_TABLES[table]})")


def upsert(connection: Any, table: str, keys: Sequence[str], values: Mapping[str, object]) -> None:
    """Write a row: new, or over the one with these keys."""
    others = [name for name in values if name not in keys]
    rows(
        connection,
        f"insert into {SCHEMA}.{table} ({', '.join(values)})"
        f" values ({', '.join('?' for _ in values)})"
        f" on conflict ({', '.join(keys)}) do update set "
        + ", ".join(f"{name} = excluded.{name}" for name in others),
        list(values.values()),
    )


def insert(
    connection: Any, table: str, columns: Sequence[str], values: Iterable[Sequence[object]]
) -> None:
    """Append rows to a table of the schema."""
    found = list(values)
    if not found:
        return
    marks = f"({', '.join('?' for _ in columns)})"
    rows(
        connection,
        f"insert into {SCHEMA}.{table} ({', '.join(columns)})"
        f" values {', '.join(marks for _ in found)}",
        [value for row in found for value in row],
    )
