"""What findings are made from: the warehouse through one connection, the rules, and the days.

The days that are judged follow the data, not the clock: the last whole day that the events reach,
and those before it that no earlier evaluation judged. A history of years that is loaded today is
judged by its last day; a week that comes in one load is judged day by day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ingestion import clock
from ingestion.warehouse import RAW, Warehouse, named_rows, rows
from monitoring.rules import Rule, Rules
from monitoring.tables import SCHEMA

STAGES = ("bid_requests", "impressions", "clicks", "conversions")  # of the funnel, in its order
WINDOW = 14  # days before, as in semantics section 8
_LEAST_SHARE = 0.05  # of a usual day's events: fewer are wrong clocks, not a new day
_MOST_DAYS = 31


@dataclass(frozen=True)
class Finding:
    """Something that somebody may want to know; `key` is the same as long as it lasts.

    `since` is a date or a time (UTC). `trace` is the query whose rows show it.
    """

    kind: str
    subject: str
    since: dt.date
    summary: str
    trace: str
    details: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    campaign: str | None = None  # the one that it is about, if it is about one
    stream: str | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.subject}"


@dataclass
class View:
    """`days` are judged, the last of them is `day`; None before there is a whole day of data."""

    warehouse: Warehouse
    rules: Rules
    connection: Any
    now: dt.datetime
    evaluated_at: dt.datetime | None
    judged_until: dt.date | None
    tables: set[str] = field(default_factory=set)
    days: tuple[dt.date, ...] = ()

    @property
    def day(self) -> dt.date:
        return self.days[-1]

    def query(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows of a statement by the names of their columns; parameters are written `?`."""
        return named_rows(self.connection, sql, parameters)

    def has(self, *tables: str) -> bool:
        """Whether these tables, written `schema.table`, are there."""
        return set(tables) <= self.tables

    def rule(self, kind: str) -> Rule:
        return self.rules.rules[kind]

    def limit(self, kind: str, threshold: str) -> float:
        return self.rules.rules[kind].thresholds[threshold]

    def is_new(self, at: dt.datetime) -> bool:
        """Whether something came after the last evaluation."""
        return self.evaluated_at is None or at > self.evaluated_at


@contextmanager
def look(warehouse: Warehouse, rules: Rules) -> Iterator[View]:
    """A view of the warehouse as it is now."""
    with warehouse.connect(read_only=True) as connection:
        if warehouse.path is None:
            connection.autocommit = True  # a query that fails leaves the others alone
        before = rows(
            connection,
            f"select max(evaluated_at), max(judged_until) from {SCHEMA}.evaluations",
        )[0]
        view = View(warehouse, rules, connection, clock.now(), *before)
        for schema in (RAW, "marts", SCHEMA):
            view.tables |= {f"{schema}.{name}" for name in warehouse.tables(connection, schema)}
        view.days = _days(view)
        yield view


def _days(view: View) -> tuple[dt.date, ...]:
    last = _last_whole_day(view)
    if last is None:
        return ()
    first = last
    if view.judged_until is not None and view.judged_until < last:
        first = max(view.judged_until + dt.timedelta(1), last - dt.timedelta(_MOST_DAYS - 1))
    return tuple(first + dt.timedelta(number) for number in range((last - first).days + 1))


def _last_whole_day(view: View) -> dt.date | None:
    """The latest day with an event of its last hour; a few events ahead of all others make none."""
    if not view.has("marts.fct_campaign_hourly"):
        return None
    events = " + ".join(f"{validity}{stream}" for stream in STAGES for validity in ("", "invalid_"))
    found = view.query(
        f"""
        select cast(hour as date) as date, sum({events}) as events, max(hour) as last_hour
        from marts.fct_campaign_hourly
        group by cast(hour as date)
        order by cast(hour as date) desc
        limit {2 * WINDOW}
        """
    )
    for number, row in enumerate(found):
        before = [int(earlier["events"]) for earlier in found[number + 1 :][:WINDOW]]
        if before and row["events"] < _LEAST_SHARE * sum(before) / len(before):
            continue
        day: dt.date = row["date"]
        return day if row["last_hour"].hour == 23 else day - dt.timedelta(1)
    return None


def dates(days: Sequence[dt.date]) -> str:
    """Dates as a list of SQL."""
    return ", ".join(f"date '{day}'" for day in days)


def number(value: Any) -> str:
    """A number as people write it: 1,234 · 12.5 · 0.0123."""
    value = float(value)
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 10:
        return f"{value:,.1f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"


def percent(value: Any) -> str:
    return f"{100 * float(value):.1f} %"
