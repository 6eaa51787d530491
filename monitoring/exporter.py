"""The warehouse as Prometheus metrics: served, written to a textfile, or pushed.

The warehouse is read apart from the scrapes, and only after it has changed, so that a scrape is
answered from memory at once and a DuckDB file is open for the moment of a reading. While another
process holds the file, the last values stay.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit, urlunsplit

import duckdb
import psycopg2
from prometheus_client import (
    CollectorRegistry,
    push_to_gateway,
    start_http_server,
    write_to_textfile,
)
from prometheus_client.exposition import basic_auth_handler, default_handler
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ingestion.errors import UserError
from ingestion.remote.names import public
from ingestion.warehouse import Warehouse, rows
from monitoring import measures
from monitoring.measures import Family, Question

JOB = "advertisex"
_RECHECK = 600.0  # seconds after which even an unchanged warehouse is read
_AT_A_TIME = 0.5  # seconds for which a DuckDB file is open, and one question more
_PAUSE = 0.2  # seconds for others to get it
_STATISTICS = """
select relid, n_tup_ins, n_tup_upd, n_tup_del
from pg_stat_user_tables
where schemaname in ('raw', 'marts', 'monitoring')
order by relid
"""
_PROBLEMS = (UserError, duckdb.Error, psycopg2.Error, OSError)

# The values of a family by its labels; a histogram's have one more, its columns.
Samples = dict[Family, dict[tuple[str, ...], float]]


class Exporter(Collector):
    """Holds the warehouse's metrics; `refresh` reads them anew, `collect` never waits for it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._samples: Samples = {}
        self._own: dict[Family, float] = {measures.UP: 0, measures.LOCKED: 0}
        self._seen: object = None
        self._read_at = 0.0

    def refresh(self) -> str | None:
        """Read the warehouse if it has changed; what kept it from being read, None for nothing."""
        problem: str | None = None
        began = time.monotonic()
        try:
            if not self.warehouse.exists():
                raise UserError(f"there is no warehouse at {self.warehouse}; run `adx load` first")
            seen = _changes(self.warehouse)
            if seen != self._seen or began - self._read_at > _RECHECK:
                self._samples = self._never_less(_read(self.warehouse))
                self._seen, self._read_at = seen, began
                self._own[measures.READ_SECONDS] = time.monotonic() - began
            self._own[measures.READ_AT] = time.time()
        except _PROBLEMS as error:
            problem = str(error).strip() or type(error).__name__
        self._own[measures.UP] = float(problem is None)
        self._own[measures.LOCKED] = float("is held by" in (problem or ""))
        return problem

    def _never_less(self, found: Samples) -> Samples:
        """Counters only grow, also when rows are deleted; a new warehouse is new."""
        files = sum(found.get(measures.FILES, {}).values())
        if files < sum(self._samples.get(measures.FILES, {}).values()):
            return found
        for family, before in self._samples.items():
            if family.kind != "gauge":
                now = found.setdefault(family, {})
                for labels, value in before.items():
                    now[labels] = max(value, now.get(labels, value))
        return found

    def collect(self) -> Iterator[Metric]:
        samples = self._samples
        for family in measures.families():
            if family in self._own:
                yield GaugeMetricFamily(family.name, family.help, self._own[family])
            elif values := samples.get(family):
                yield _metric(family, values)


def _changes(warehouse: Warehouse) -> object:
    """What differs after every load and build: of DuckDB's file, or PostgreSQL's statistics."""
    if warehouse.path is None:
        with warehouse.connect(read_only=True) as connection:
            return rows(connection, _STATISTICS)
    files = (warehouse.path, warehouse.path.with_name(f"{warehouse.path.name}.wal"))
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]


def _read(warehouse: Warehouse) -> Samples:
    """Ask everything; a DuckDB file is let go in between for who waits for it."""
    found: Samples = defaultdict(dict)
    questions: list[Question] | None = None
    while questions is None or questions:
        with _reading(warehouse) as connection:
            until = time.monotonic() + _AT_A_TIME
            if questions is None:
                questions = _questions(connection)
            while questions and (warehouse.path is None or time.monotonic() < until):
                _ask(connection, questions.pop(), found)
        if questions:
            time.sleep(_PAUSE)
    return dict(found)


@contextlib.contextmanager
def _reading(warehouse: Warehouse) -> Iterator[Any]:
    with warehouse.connect(read_only=True) as connection:
        if warehouse.path is None:
            # A transaction a question: a build may want to replace a table that was asked before.
            connection.set_session(readonly=True, autocommit=True)
            rows(connection, "set lock_timeout = '2s'")
            rows(connection, "set statement_timeout = '120s'")
        else:
            connection.execute("set threads = 1")
            connection.execute("set memory_limit = '256MB'")
        yield connection


def _questions(connection: Any) -> list[Question]:
    """Those whose tables are there."""
    columns = rows(
        connection,
        "select table_schema, table_name, column_name from information_schema.columns"
        " where table_schema in ('raw', 'marts', 'monitoring')"
        " and table_catalog = current_database()",
    )
    tables = {f"{schema}.{table}" for schema, table, _ in columns}
    every = (*measures.QUESTIONS, *_watermarks(columns))
    return [question for question in every if tables.issuperset(question.needs)]


def _watermarks(columns: list[tuple[str, str, str]]) -> Iterator[Question]:
    marts: dict[str, set[str]] = defaultdict(set)
    for schema, table, column in columns:
        if schema == "marts" and table.startswith("fct_"):
            marts[table].add(column)
    for mart, names in sorted(marts.items()):
        for column in [name for name in measures.TIME_COLUMNS if name in names][:1]:
            yield measures.watermark(mart, column)


def _ask(connection: Any, question: Question, found: Samples) -> None:
    cursor = connection.cursor()
    cursor.execute(question.sql)
    names = [column[0] for column in cursor.description]
    for value in question.values:
        for labels in value.family.zeros:
            found[value.family].setdefault(labels, 0.0)
    for row in cursor.fetchall():
        cells = dict(zip(names, row, strict=True))
        for value in question.values:
            number = _number(cells[value.column])
            if number is not None:
                labelled = {**cells, **dict(value.labels)}
                labels = tuple(str(labelled[label]) for label in value.family.labels)
                if value.family.kind == "histogram":
                    labels = (*labels, value.column)
                values = found[value.family]
                values[labels] = values.get(labels, 0.0) + number


def _number(cell: Any) -> float | None:
    match cell:
        case None:
            return None
        case dt.datetime():
            return cell.replace(tzinfo=dt.UTC).timestamp()
        case dt.date():
            return dt.datetime.combine(cell, dt.time(), dt.UTC).timestamp()
        case Decimal() | int() | float():
            return float(cell)
        case _:
            raise TypeError(f"{cell!r} is no number and no time")


def _metric(family: Family, values: dict[tuple[str, ...], float]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        cells: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
        for (*labels, column), value in values.items():
            cells[tuple(labels)][column] = value
        for labels_, row in cells.items():
            buckets = [(le, row[le]) for le in (*map(str, measures.DURATIONS), "+Inf")]
            histogram.add_metric(labels_, buckets, row["sum"])
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels_, value in sorted(values.items()):
        metric.add_metric(labels_, value)
    return metric


# Where the metrics go ----------------------------------------------------------------------------


def serve(exporter: Exporter, address: str, port: int) -> tuple[Any, threading.Thread]:
    """Answer scrapes in a thread. Raises UserError when the port is not to be had."""
    try:
        return start_http_server(port, address, exporter.registry)
    except OSError as error:
        raise UserError(
            f"cannot listen on {address}:{port}: {error.strerror or error};"
            " choose another with --port or --address"
        ) from None


def write(exporter: Exporter, path: Path) -> None:
    """Replace a textfile for node_exporter in one step. Raises UserError when it cannot."""
    try:
        write_to_textfile(str(path), exporter.registry)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def push(exporter: Exporter, url: str) -> None:
    """Replace what a Pushgateway holds of this job; the URL may hold user and password.

    Raises UserError, without the password, when the gateway does not take it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{public(url)} is no URL of a Pushgateway such as http://gateway:9091")

    handler: Any = default_handler
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        handler = functools.partial(basic_auth_handler, username=user, password=password)

    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        push_to_gateway(address, JOB, exporter.registry, timeout=30, handler=handler)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"the Pushgateway {public(url)} does not take the metrics: {reason}"
        ) from None
