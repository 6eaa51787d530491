"""The warehouse that the environment names: an embedded DuckDB file, or a PostgreSQL server."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import adbc_driver_manager
import duckdb
import pyarrow as pa

from ingestion.errors import UserError

if TYPE_CHECKING:
    from dlt.common.destination import Destination

TARGETS = ("duckdb", "postgres")
PROJECT = Path(__file__).resolve().parent.parent
RAW = "raw"
_LOAD_MEMORY = "320MB"  # with less, DuckDB inserts in one thread instead of two
_KEPT_MEMORY = "64MB"  # of that, for blocks that it has written
_LOCK = 7_239_116_040  # PostgreSQL advisory lock: one load at a time in a database
_PATIENCE = 10  # seconds
_GLANCE = 2  # seconds for who only looks into a DuckDB file, as `adx watch` does
_HOLDER = """
select concat(
    'server process ', locks.pid,
    ', user ' || activity.usename,
    ', client ' || coalesce(host(activity.client_addr), 'on the same machine'),
    ' (' || nullif(activity.application_name, '') || ')',
    to_char(activity.backend_start at time zone 'UTC', '", since "YYYY-MM-DD HH24:MI:SS" UTC"')
)
from pg_locks as locks
left join pg_stat_activity as activity on locks.pid = activity.pid
where locks.locktype = 'advisory' and locks.granted and locks.objsubid = 1
    and locks.classid = ?::bigint and locks.objid = ?::bigint
    and locks.database = (select oid from pg_database where datname = current_database())
"""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Warehouse:
    """Where the tables are; `path` is the file of a DuckDB warehouse."""

    target: str
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        server = _postgres()
        return f"postgres://{server['host']}:{server['port']}/{server['dbname']}"

    def destination(self) -> Destination[Any, Any]:
        """The warehouse as dlt knows it."""
        import dlt

        if self.path is not None:
            return dlt.destinations.duckdb(str(self.path))
        return dlt.destinations.postgres(_postgres_url())

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[Any]:
        """A DB-API connection. Raises UserError when the warehouse is not to be had."""
        connection = self._duckdb(read_only) if self.path is not None else _psycopg()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def arrow(self, sql: str, rows: int) -> Iterator[pa.RecordBatchReader]:
        """The rows of a statement as Arrow batches, of about `rows` each where the engine says."""
        if self.path is None:
            from adbc_driver_postgresql import dbapi

            with dbapi.connect(_postgres_url()) as connection, connection.cursor() as cursor:
                cursor.execute(sql)
                yield cursor.fetch_record_batch()
            return
        with self.connect() as connection:
            yield connection.execute(sql).fetch_record_batch(rows)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a statement by the names of their columns."""
        with self.connect(read_only=True) as connection:
            return named_rows(connection, sql)

    def exists(self) -> bool:
        return self.path is None or self.path.exists()

    def tables(self, connection: Any, schema: str = RAW) -> set[str]:
        found = rows(
            connection,
            "select table_name from information_schema.tables"
            " where table_schema = ? and table_catalog = current_database()",
            [schema],
        )
        return {name for (name,) in found}

    def has(self, *tables: str, schema: str = RAW) -> bool:
        """Whether the warehouse is there and holds these tables."""
        if not self.exists():
            return False
        with self.connect(read_only=True) as connection:
            return self.tables(connection, schema).issuperset(tables)

    @contextmanager
    def for_loading(self) -> Iterator[Any]:
        """The connection for a load's one transaction: DuckDB's own, or ADBC's of PostgreSQL.

        While it is open nobody else can load: the lock is the connection's own, so that it cannot
        go without the transaction. Raises UserError that says who holds the warehouse.
        """
        connection = self._only_loader() if self.path is None else self._duckdb(read_only=False)
        try:
            if self.path is not None:
                # DuckDB takes four fifths of the machine if it may; a load needs no more than this.
                _limit(connection, _LOAD_MEMORY)
                connection.execute("set enable_progress_bar = false")
            yield connection
        finally:
            with contextlib.suppress(adbc_driver_manager.Error):  # the server may have gone
                connection.close()

    def _only_loader(self) -> Any:
        """A connection that holds the advisory lock.

        A load that was killed has it until PostgreSQL has seen that its client is gone, so that
        whoever comes next waits a little.
        """
        from adbc_driver_postgresql import dbapi

        with self.connect():
            pass  # says so when there is no server
        connection = dbapi.connect(_postgres_url())
        with connection.cursor() as cursor:
            cursor.execute(f"set application_name = 'adx load, process {os.getpid()}'")
            patience = time.monotonic() + _PATIENCE
            said = False
            while True:
                cursor.execute(f"select pg_try_advisory_lock({_LOCK})")
                (locked,) = cursor.fetchone() or (False,)
                connection.commit()
                if locked:
                    return connection
                holder = self._holder()
                if holder is not None and time.monotonic() > patience:
                    connection.close()
                    raise UserError(
                        f"another load is writing to {self}: {holder};"
                        " wait until it has ended, then run again"
                    )
                if holder is not None and not said:
                    _LOG.warning("Waiting up to %d s for another load: %s", _PATIENCE, holder)
                    said = True
                time.sleep(0.1)

    def _holder(self) -> str | None:
        """Who holds the advisory lock, None when it has just become free."""
        with self.connect() as connection:
            found = rows(connection, _HOLDER, [_LOCK >> 32, _LOCK & 0xFFFFFFFF])
        return str(found[0][0]) if found else None

    def _duckdb(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        assert self.path is not None
        patience = time.monotonic() + _GLANCE
        while True:
            try:
                if not read_only:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                return duckdb.connect(str(self.path), read_only=read_only)
            except (duckdb.Error, OSError) as error:
                if "lock on file" not in str(error) or time.monotonic() > patience:
                    raise duckdb_problem(self.path, error) from None
            time.sleep(0.05)


def from_environment(target: str | None = None) -> Warehouse:
    """The warehouse of `target`, else of ADX_TARGET, else DuckDB at ADX_DUCKDB_PATH."""
    target = target or os.environ.get("ADX_TARGET") or "duckdb"
    if target not in TARGETS:
        raise UserError(f"the target {target!r} is not known; use one of {', '.join(TARGETS)}")
    if target == "postgres":
        return Warehouse(target)
    path = Path(os.environ.get("ADX_DUCKDB_PATH") or PROJECT / "data" / "advertisex.duckdb")
    if path.stem in (RAW, "staging", "marts", "monitoring"):
        raise UserError(
            f"the DuckDB file {path} has the name of a schema, which DuckDB cannot tell apart;"
            " set ADX_DUCKDB_PATH to another file name"
        )
    return Warehouse(target, path.absolute())


def forget_written(connection: duckdb.DuckDBPyConnection) -> None:
    """Have DuckDB let go of blocks it has written, which it keeps while there is memory for them.

    The connection must have no transaction: when too little could be let go, that would be undone.
    """
    with contextlib.suppress(duckdb.OutOfMemoryException):
        _limit(connection, _KEPT_MEMORY)
    _limit(connection, _LOAD_MEMORY)


def _limit(connection: duckdb.DuckDBPyConnection, memory: str) -> None:
    connection.execute(f"set memory_limit = '{memory}'")


def rows(connection: Any, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run one statement, its parameters written as `?`, on a connection of either engine."""
    cursor = _run(connection, sql, parameters)
    return list(cursor.fetchall()) if cursor.description else []


def named_rows(
    connection: Any, sql: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """The same, each row by the names of its columns."""
    cursor = _run(connection, sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _run(connection: Any, sql: str, parameters: Sequence[object]) -> Any:
    cursor = connection.cursor()
    if isinstance(connection, duckdb.DuckDBPyConnection):
        # As literals: for parameters of its own DuckDB imports pandas, which takes a second.
        first, *others = sql.split("?") if parameters else [sql]
        values = map(literal, parameters)
        cursor.execute(first + "".join(map("".join, zip(values, others, strict=True))))
    else:
        cursor.execute(sql.replace("%", "%%").replace("?", "%s"), list(parameters))
    return cursor


def literal(value: object) -> str:
    """A value as SQL, times without zone; a NUL, which no engine keeps in a text, is marked."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return str(value)
        case dt.datetime():
            return f"timestamp '{value}'"
        case dt.date():
            return f"date '{value}'"
        case str():
            return "'" + value.replace("'", "''").replace("\0", "\ufffd") + "'"
        case _:
            raise TypeError(f"{value!r} is no value of SQL")


def duckdb_problem(path: Path | None, error: Exception) -> UserError:
    """DuckDB's or the system's complaint about a warehouse file, with what to do."""
    text = str(error)
    if "lock on file" in text:
        holder = re.search(r"held in (.*?)\(PID (\d+)\)", text)
        who = f"process {holder.group(2)}" if holder else "another process"
        return UserError(
            f"the warehouse {path} is held by {who};"
            " wait until it has ended or close it, then run again"
        )
    if "No space left" in text or getattr(error, "errno", None) == 28:
        return UserError(f"no space is left on the disk of {path}; free some, then run again")
    if "not a valid DuckDB database" in text:
        return UserError(f"{path} is not a DuckDB file; set ADX_DUCKDB_PATH to another file")
    reason = getattr(error, "strerror", None) or text.splitlines()[0]
    return UserError(f"cannot open the warehouse {path}: {reason}; check ADX_DUCKDB_PATH")


def undone(warehouse: Warehouse, work: str, cause: BaseException) -> UserError:
    """What ended some work in one transaction: `the load into …`, `the replay in …`."""
    text = str(cause).strip()
    if "lock on file" in text or "No space left" in text or getattr(cause, "errno", 0) == 28:
        return duckdb_problem(warehouse.path, Exception(text))
    reason = text.splitlines()[0] if text else type(cause).__name__
    return UserError(
        f"{work} {warehouse} failed: {reason};"
        " nothing of it counts, so mend the cause and run the same command again"
    )


def _postgres() -> dict[str, Any]:
    user = os.environ.get("PGUSER") or os.environ.get("USER") or "postgres"
    return {
        "host": os.environ.get("PGHOST") or "localhost",
        "port": os.environ.get("PGPORT") or "5432",
        "user": user,
        "password": os.environ.get("PGPASSWORD") or "",
        "dbname": os.environ.get("PGDATABASE") or user,
    }


def _postgres_url() -> str:
    server = {key: quote(value, safe="") for key, value in _postgres().items()}
    # dlt insists on a password and a host name; a server that trusts us ignores the former, and
    # a socket's folder travels as a parameter.
    host, query = server["host"], ""
    if _postgres()["host"].startswith("/"):
        host, query = "localhost", f"?host={server['host']}"
    login = f"{server['user']}:{server['password'] or 'none'}"
    return f"postgresql://{login}@{host}:{server['port']}/{server['dbname']}{query}"


def _psycopg() -> Any:
    import psycopg2

    server = _postgres()
    try:
        return psycopg2.connect(connect_timeout=10, **server)
    except psycopg2.OperationalError as error:
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        raise UserError(
            f"no PostgreSQL at {server['host']}:{server['port']} for {server['user']}"
            f" in database {server['dbname']}: {reason};"
            " check PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE"
        ) from None
