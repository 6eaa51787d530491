"""Alerts as the warehouse keeps them: open, told, silenced, over."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from typing import Any

from ingestion.warehouse import rows
from monitoring.tables import SCHEMA, upsert
from monitoring.view import Finding

_COLUMNS = (
    "key", "kind", "severity", "subject", "since", "first_seen", "last_seen", "resolved_at",
    "silenced_until", "told_at", "summary", "body",
)  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """A finding over time. All times are UTC."""

    key: str
    kind: str
    severity: str
    subject: str
    since: dt.datetime
    first_seen: dt.datetime
    last_seen: dt.datetime
    summary: str
    details: tuple[str, ...]
    campaigns: tuple[str, ...]
    stream: str | None
    trace: str
    resolved_at: dt.datetime | None = None
    silenced_until: dt.datetime | None = None
    told_at: dt.datetime | None = None

    def is_silenced(self, now: dt.datetime) -> bool:
        return self.silenced_until is not None and self.silenced_until > now

    def seen(self, finding: Finding, severity: str, now: dt.datetime) -> Alert:
        """As the finding says it now; it keeps its beginning."""
        return replace(new(finding, severity, now), since=self.since, first_seen=self.first_seen,
                       silenced_until=self.silenced_until, told_at=self.told_at)  # fmt: skip


def new(finding: Finding, severity: str, now: dt.datetime) -> Alert:
    since = finding.since
    if not isinstance(since, dt.datetime):
        since = dt.datetime.combine(since, dt.time())
    return Alert(
        finding.key,
        finding.kind,
        severity,
        finding.subject,
        since,
        now,
        now,
        finding.summary,
        finding.details,
        finding.campaigns,
        finding.stream,
        finding.trace,
    )


def read(connection: Any, where: str = "true") -> dict[str, Alert]:
    """Alerts by key, the oldest first."""
    found = rows(
        connection,
        f"select {', '.join(_COLUMNS)} from {SCHEMA}.alerts where {where} order by first_seen, key",
    )
    return {row[0]: _alert(dict(zip(_COLUMNS, row, strict=True))) for row in found}


def _alert(row: dict[str, Any]) -> Alert:
    body = json.loads(row.pop("body"))
    lists: dict[str, Any] = {name: tuple(body.pop(name)) for name in ("details", "campaigns")}
    return Alert(**row, **lists, **body)


def write(connection: Any, alert: Alert) -> None:
    body = {name: getattr(alert, name) for name in ("details", "campaigns", "stream", "trace")}
    values = {name: getattr(alert, name) for name in _COLUMNS if name != "body"}
    upsert(connection, "alerts", ("key",), {**values, "body": json.dumps(body)})
