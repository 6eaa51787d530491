"""Who is told, once: findings → alerts → an outbox → channels.

What is to be told is written to the warehouse together with the alerts' state, and sent after
that. So nothing is lost with a channel that is dead or a process that dies; a message whose
delivery could no longer be noted is sent again (at least once).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingestion import clock
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import Warehouse, rows
from monitoring import channels, findings, message, state
from monitoring.findings import Judgement
from monitoring.logs import events
from monitoring.message import Event
from monitoring.record import bury
from monitoring.rules import Rules, read_rules
from monitoring.state import Alert
from monitoring.tables import SCHEMA, insert, transaction
from monitoring.view import look

_LOCK = 7_239_118  # PostgreSQL advisory lock: one evaluation writes at a time
_KEPT = dt.timedelta(days=90)  # messages that arrived
_FIRST_RETRY = dt.timedelta(minutes=1)
_LAST_RETRY = dt.timedelta(hours=6)


@dataclass(frozen=True)
class Told:
    """What an evaluation came to; `failures` are channels with what they said,
    `problems` kinds that could not be judged with the reason."""

    fired: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    open: tuple[Alert, ...]
    explained: Mapping[str, str]
    channels: tuple[str, ...]
    delivered: int
    failures: Mapping[str, str]
    problems: Mapping[str, str]


def evaluate(warehouse: Warehouse) -> Told:
    """Judge, keep, and tell what is new. Raises UserError when the warehouse is not to be had."""
    rules = read_rules()
    if not warehouse.exists():
        raise UserError(f"there is no warehouse {warehouse} yet; run `adx load PATH` first")
    bury(warehouse)
    with look(warehouse, rules) as view:
        judgement = findings.judge(view)
        now = view.now
    fired, resolved = _keep(warehouse, rules, judgement, now)
    delivered, failures = _deliver(warehouse, rules)
    told = Told(
        fired,
        resolved,
        tuple(open_alerts(warehouse).values()),
        judgement.explained,
        tuple(rules.urls),
        delivered,
        failures,
        judgement.problems,
    )
    events.judged(told)
    return told


def open_alerts(warehouse: Warehouse) -> dict[str, Alert]:
    """The alerts that are not over."""
    if not warehouse.has("alerts", schema=SCHEMA):
        return {}
    with warehouse.connect(read_only=True) as connection:
        return state.read(connection, "resolved_at is null")


def silence(warehouse: Warehouse, pattern: str, duration: dt.timedelta) -> list[Alert]:
    """Tell nothing of the open alerts with this key (or pattern) for a time; what is still open
    then is told again. Raises WrongUsage when there are none."""
    with transaction(warehouse) as connection:
        found = [
            replace(alert, silenced_until=clock.now() + duration, told_at=None)
            for alert in state.read(connection, "resolved_at is null").values()
            if fnmatch.fnmatchcase(alert.key, pattern)
        ]
        for alert in found:
            state.write(connection, alert)
    if not found:
        raise WrongUsage(f"no open alert has the key {pattern!r}; `adx alerts --open` lists them")
    return found


def find(warehouse: Warehouse, key: str) -> Alert:
    """An alert, also one that is over. Raises WrongUsage when there is none."""
    if warehouse.has("alerts", schema=SCHEMA):
        with warehouse.connect(read_only=True) as connection:
            found = state.read(connection)
            if key in found:
                return found[key]
    raise WrongUsage(f"no alert has the key {key!r}; `adx alerts --open` lists the open ones")


def trace(warehouse: Warehouse, alert: Alert, limit: int) -> list[dict[str, Any]]:
    """The rows behind an alert: rejected records, a test's failing rows, a campaign's days."""
    sql = alert.trace.strip().rstrip(";")
    return warehouse.query(f"select * from (\n{sql}\n) as traced limit {limit}")


# State -------------------------------------------------------------------------------------------


def _keep(
    warehouse: Warehouse, rules: Rules, judgement: Judgement, now: dt.datetime
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """Bring the alerts up to date; what is to be told goes to the outbox. Both or neither."""
    with transaction(warehouse) as connection:
        if warehouse.path is None:
            rows(connection, "select pg_advisory_xact_lock(?)", [_LOCK])
        known = state.read(connection)
        fired = []
        for key, finding in judgement.findings.items():
            severity = rules.rules[finding.kind].severity
            alert = state.new(finding, severity, now)
            before = known.get(key)
            if before is not None and before.resolved_at is None:
                alert = before.seen(finding, severity, now)
            elif key in judgement.explained:
                continue
            if key not in judgement.explained and _is_due(rules, alert, now):
                alert = replace(alert, told_at=now)
                fired.append(alert)
            state.write(connection, alert)
        resolved = []
        for key, alert in known.items():
            if (
                alert.resolved_at is None
                and key not in judgement.findings
                and alert.kind in judgement.kinds
            ):
                over = replace(alert, resolved_at=now)
                state.write(connection, over)
                if alert.told_at is not None and not alert.is_silenced(now):
                    resolved.append(over)
        _post(connection, rules, "fired", fired, now)
        ends = [alert for alert in resolved if rules.rules[alert.kind].tells_end]
        _post(connection, rules, "resolved", ends, now)
        rows(
            connection,
            f"delete from {SCHEMA}.deliveries where delivered_at < ?",
            [now - _KEPT],
        )
        insert(
            connection, "evaluations", ("evaluated_at", "judged_until"),
            [(now, judgement.judged_until)],
        )  # fmt: skip
    return tuple(fired), tuple(resolved)


def _is_due(rules: Rules, alert: Alert, now: dt.datetime) -> bool:
    if alert.is_silenced(now):
        return False
    repeat = rules.rules[alert.kind].repeat_after
    return alert.told_at is None or (repeat is not None and now - alert.told_at >= repeat)


def _post(
    connection: Any, rules: Rules, event: Event, alerts: Iterable[Alert], now: dt.datetime
) -> None:
    """One message a group and channel into the outbox."""
    groups: dict[tuple[str, ...], list[Alert]] = {}
    for alert in alerts:
        group = tuple(str(getattr(alert, name)) for name in rules.group_by)
        for channel in rules.channels_of(alert.kind, alert.severity, alert.stream):
            groups.setdefault((channel, *group), []).append(alert)
    insert(
        connection,
        "deliveries",
        ("id", "key", "event", "channel", "title", "message", "created_at", "attempts",
         "next_try_at"),
        [
            (uuid.uuid4().hex, _name(members), event, channel, message.title(event, members),
             message.text(event, members), now, 0, now)
            for (channel, *_), members in groups.items()
        ],
    )  # fmt: skip


def _name(members: Sequence[Alert]) -> str:
    return "\n".join(alert.key for alert in members)


# Delivery ----------------------------------------------------------------------------------------


def _deliver(warehouse: Warehouse, rules: Rules) -> tuple[int, dict[str, str]]:
    """Send what waits in the outbox and is due; how many arrived, and why others did not."""
    failures: dict[str, str] = {}
    delivered = 0
    unnoted: list[tuple[dt.datetime | None, str | None, str]] = []

    def done(sent: channels.Message, problem: str | None) -> None:
        nonlocal delivered
        if problem is None:
            delivered += 1
        else:
            failures[sent.channel] = problem
        unnoted.append((clock.now() if problem is None else None, problem, sent.id))
        with contextlib.suppress(UserError):  # somebody holds the file: with the next one
            _note(warehouse, unnoted)

    channels.send(_claimed(warehouse, rules), done)
    _note(warehouse, unnoted)
    return delivered, failures


def _note(warehouse: Warehouse, outcomes: list[tuple[dt.datetime | None, str | None, str]]) -> None:
    """Write when messages arrived or why not, by their ids."""
    if not outcomes:
        return
    with transaction(warehouse) as connection:
        for outcome in outcomes:
            rows(
                connection,
                f"update {SCHEMA}.deliveries set delivered_at = ?, error = ? where id = ?",
                outcome,
            )
    outcomes.clear()


def _claimed(warehouse: Warehouse, rules: Rules) -> list[channels.Message]:
    """The messages that are due. Each is put off as if it had failed before it is sent, so that
    no other process sends it too."""
    now = clock.now()
    claimed = []
    with transaction(warehouse) as connection:
        if warehouse.path is None:
            rows(connection, "select pg_advisory_xact_lock(?)", [_LOCK])
        due = rows(
            connection,
            f"""
            select id, key, event, channel, title, message, attempts from {SCHEMA}.deliveries
            where delivered_at is null and next_try_at <= ? order by created_at
            """,
            [now],
        )
        known = state.read(connection)
        for name, keys, event, channel, title, text, attempts in due:
            if channel not in rules.urls:
                continue
            later = now + min(_LAST_RETRY, _FIRST_RETRY * 2 ** min(attempts, 20))
            rows(
                connection,
                f"update {SCHEMA}.deliveries set attempts = ?, next_try_at = ? where id = ?",
                [attempts + 1, later, name],
            )
            first = known.get(keys.split("\n")[0])
            level = "resolved" if event == "resolved" or first is None else first.severity
            claimed.append(channels.Message(name, channel, rules.urls[channel], level, title, text))
    return claimed
