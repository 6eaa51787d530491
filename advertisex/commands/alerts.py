"""`adx alerts`: judge the warehouse, tell what is new, look further."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

import click
import duckdb
import psycopg2

from advertisex import console
from advertisex.command import command, escaped
from ingestion.errors import UserError
from ingestion.warehouse import Warehouse
from monitoring import alerts as monitoring
from monitoring import message, rules
from monitoring.alerts import Told
from monitoring.state import Alert

_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def _duration(context: click.Context, option: click.Parameter, value: str) -> dt.timedelta:
    try:
        return rules.duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


@click.command()
@click.option("--open", "only_open", is_flag=True, help="List the open alerts; judge nothing.")
@click.option("--trace", metavar="KEY", help="Show the rows behind an alert.")
@click.option("--limit", default=20, show_default=True, help="How many rows to trace.")
@click.option("--silence", metavar="KEY", help="Tell nothing of an open alert; * stands for any.")
@click.option(
    "--for",
    "duration",
    default="4h",
    show_default=True,
    callback=_duration,
    help="How long to silence: 30m, 4h, 2d.",
)
@command
def alerts(
    warehouse: Warehouse,
    only_open: bool,
    trace: str | None,
    limit: int,
    silence: str | None,
    duration: dt.timedelta,
    as_json: bool,
) -> None:
    """Judge what is in the warehouse, and tell what is new, once."""
    if trace is not None:
        _trace(warehouse, trace, limit, as_json)
    elif silence is not None:
        _show(monitoring.silence(warehouse, silence, duration), as_json)
    elif only_open:
        _show(monitoring.open_alerts(warehouse).values(), as_json)
    else:
        told = monitoring.evaluate(warehouse)
        if as_json:
            console.as_json(document(told))
        else:
            say(told)


def tell(warehouse: Warehouse, as_json: bool) -> dict[str, Any]:
    """Evaluate after a load and a build; what hinders it is said in one line, and is no failure
    of theirs."""
    try:
        told = monitoring.evaluate(warehouse)
    except (UserError, duckdb.Error, psycopg2.Error) as error:
        console.err.print(f"[yellow]Alerts were not evaluated:[/] {escaped(str(error))}")
        return {"error": str(error)}
    if not as_json:
        say(told)
    return document(told)


def say(told: Told) -> None:
    """The new alerts in full, the others in a line."""
    for alert in told.fired:
        colour = _COLOURS[alert.severity]
        console.out.print(f"[{colour}]Alert:[/] {escaped(message.described(alert))}")
        console.out.print()
    for alert in told.resolved:
        console.out.print(f"[green]Over:[/] {escaped(alert.summary)}")
    still = len(told.open) - len(told.fired)
    console.out.print(
        f"Alerts: {len(told.fired)} new, {still} still open, {len(told.resolved)} over"
        + (f"; {told.delivered} messages sent" if told.delivered else "")
        + (" (`adx alerts --open` lists them)" if told.open else "")
    )
    if told.fired and not told.channels:
        console.out.print(
            "No channel is configured, so they are only shown and kept: set one of the variables"
            " in monitoring/alerts.yml, e.g. ADX_SLACK_URL"
        )
    for kinds, problem in told.problems.items():
        console.err.print(f"[yellow]Not judged:[/] {kinds}: {escaped(problem)}")
    for channel, problem in told.failures.items():
        console.err.print(
            f"[yellow]Not delivered to {channel}:[/] {escaped(problem)};"
            " it is kept and sent again by a later run"
        )


def document(told: Told) -> dict[str, Any]:
    """An evaluation for machines."""
    return {
        "fired": [_plain(alert) for alert in told.fired],
        "resolved": [_plain(alert) for alert in told.resolved],
        "open": [_plain(alert) for alert in told.open],
        "explained": dict(told.explained),
        "channels": list(told.channels),
        "delivered": told.delivered,
        "failures": dict(told.failures),
        "problems": dict(told.problems),
    }


def _plain(alert: Alert) -> dict[str, Any]:
    return dataclasses.asdict(alert)


def _show(found: Iterable[Alert], as_json: bool) -> None:
    listed = list(found)
    if as_json:
        console.as_json([_plain(alert) for alert in listed])
        return
    if not listed:
        console.out.print("No alert is open.")
        return
    console.table(
        "Open alerts",
        ("key", "severity", "since", "what", "silenced until"),
        [
            (alert.key, alert.severity, message.when(alert), alert.summary, alert.silenced_until)
            for alert in listed
        ],
    )


def _trace(warehouse: Warehouse, key: str, limit: int, as_json: bool) -> None:
    alert = monitoring.find(warehouse, key)
    found = monitoring.trace(warehouse, alert, limit)
    if as_json:
        console.as_json({"alert": _plain(alert), "rows": found})
        return
    console.out.print(escaped(message.described(alert)))
    console.out.print()
    if found:
        columns = list(found[0])
        console.table("Rows", columns, [[row[name] for name in columns] for row in found])
    else:
        console.out.print("No row shows it any more: the data or the models changed since.")
