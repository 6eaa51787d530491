"""Alerts as people read them: what, since when, how bad, which campaigns, where to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from monitoring.state import Alert

Event = Literal["fired", "resolved"]
_SHOWN_CAMPAIGNS = 20


def title(event: Event, alerts: Sequence[Alert]) -> str:
    """One line for a message."""
    first = alerts[0]
    kind = first.kind.replace("_", " ")
    what = f"{kind}: {first.subject}" if len(alerts) == 1 else f"{len(alerts)} times {kind}"
    return (
        f"AdvertiseX, over: {what}"
        if event == "resolved"
        else f"AdvertiseX, {first.severity}: {what}"
    )


def text(event: Event, alerts: Sequence[Alert]) -> str:
    """All alerts of a message."""
    return "\n\n".join(
        _over(alert) if event == "resolved" else described(alert) for alert in alerts
    )


def _over(alert: Alert) -> str:
    return f"Over since {alert.resolved_at:%Y-%m-%d %H:%M} UTC: {alert.summary}"


def described(alert: Alert) -> str:
    """One alert, in a few lines."""
    lines = [
        alert.summary[:1].upper() + alert.summary[1:],
        f"Since: {when(alert)}",
        f"How bad: {alert.severity}",
        *(f"- {detail}" for detail in alert.details),
    ]
    if alert.campaigns:
        shown = ", ".join(alert.campaigns[:_SHOWN_CAMPAIGNS])
        lines.append(
            f"Campaigns: {shown}" + (", …" if len(alert.campaigns) > _SHOWN_CAMPAIGNS else "")
        )
    lines.append(f"Look further: adx alerts --trace {alert.key}")
    return "\n".join(lines)


def when(alert: Alert) -> str:
    """A date, or a time in UTC."""
    is_date = alert.since.time().isoformat() == "00:00:00"
    return f"{alert.since:%Y-%m-%d}" if is_date else f"{alert.since:%Y-%m-%d %H:%M:%S} UTC"
