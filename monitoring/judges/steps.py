"""Loads and builds that failed or died; models and tests that failed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from ingestion.warehouse import literal
from monitoring.record import LATEST_RESULTS
from monitoring.tables import SCHEMA
from monitoring.view import Finding, View

_BAD_NODE = ("error", "fail", "runtime error", "warn")


def failed_steps(view: View) -> Iterator[Finding]:
    """A load or build that did not succeed, until one does; also if that is over already."""
    steps = view.query(
        f"""
        select run_id, command, started_at, ended_at, outcome, error from {SCHEMA}.runs
        where outcome <> 'running' order by started_at
        """
    )
    for command in ("load", "build"):
        streaks: dict[str, list[dict[str, Any]]] = {}
        for step in [step for step in steps if step["command"] == command]:
            if step["outcome"] == "succeeded":
                streaks = {
                    outcome: still
                    for outcome, streak in streaks.items()
                    if (still := [bad for bad in streak if view.is_new(bad["ended_at"])])
                }
                for streak in streaks.values():
                    streak[-1]["over"] = step["started_at"]
            else:
                streaks.setdefault(step["outcome"], []).append(step)
        for outcome, streak in streaks.items():
            if command == "build" and outcome == "failed" and _has_nodes(view, streak[-1]):
                continue
            yield _step(command, outcome, streak)


def _has_nodes(view: View, step: dict[str, Any]) -> bool:
    """Whether a failed build is told by its models and tests."""
    sql = f"select count(*) as nodes from {SCHEMA}.node_results where run_id = ?"
    return bool(view.query(sql, step["run_id"])[0]["nodes"])


def _step(command: str, outcome: str, streak: list[dict[str, Any]]) -> Finding:
    first, last = streak[0], streak[-1]
    times = "" if len(streak) == 1 else f", {len(streak)} times"
    over = last.get("over")
    details = [f"{last['started_at']:%Y-%m-%d %H:%M:%S} UTC: {last['error']}"]
    if over is not None:
        details.append(f"over: the {command} of {over:%Y-%m-%d %H:%M:%S} UTC succeeded")
    else:
        details.append(f"mend the cause and run `adx {command}` again")
    return Finding(
        f"{command}_{outcome}",
        command,
        first["started_at"],
        f"the {command} {outcome}{times}",
        f"select * from {SCHEMA}.runs where command = {literal(command)}"
        f" and started_at >= timestamp '{first['started_at']}' order by started_at",
        tuple(details),
    )


def failed_nodes(view: View) -> Iterator[Finding]:
    """Models and tests whose latest result is bad, since the first of the bad ones in a row."""
    found = view.query(
        f"""
        with latest as ({LATEST_RESULTS}),
        good as (
            select node_id, max(ended_at) as at from {SCHEMA}.node_results
            where status not in ('error', 'fail', 'runtime error', 'warn', 'skipped')
            group by node_id
        )
        select latest.node_id, latest.name, latest.kind, latest.model, latest.failures,
            latest.message, latest.query, latest.status,
            (
                select min(bad.ended_at) from {SCHEMA}.node_results as bad
                where bad.node_id = latest.node_id and bad.status <> 'skipped'
                    and (good.at is null or bad.ended_at > good.at)
            ) as since
        from latest left join good on latest.node_id = good.node_id
        order by latest.name
        """
    )
    for node in found:
        if node["status"] in _BAD_NODE:
            finding = _node(view, node)
            if finding is not None:
                yield finding


def _node(view: View, node: dict[str, Any]) -> Finding | None:
    is_error = node["status"] in ("error", "runtime error")
    trace = (
        f"select ended_at, status, message, relation from {SCHEMA}.node_results"
        f" where node_id = {literal(node['node_id'])} order by ended_at desc"
    )
    since: dt.datetime = node["since"]
    if is_error or node["kind"] != "test":
        summary = f"dbt could not {'run the test' if node['kind'] == 'test' else 'build'}"
        return Finding(
            "test_broken" if node["kind"] == "test" else "model_failed",
            node["name"],
            since,
            f"{summary} {node['name']}",
            trace,
            (node["message"], "what builds on it was left out"),
        )
    kind: str | None = "test_warned" if node["status"] == "warn" else "test_failed"
    kind = view.rules.tests.get(node["name"], kind)
    if kind is None:
        return None
    failures = node["failures"] or 0
    details = _said_by_elementary(view, node["node_id"])
    return Finding(
        kind,
        node["name"],
        since,
        f"{failures:,} row{'' if failures == 1 else 's'} of {node['model']} fail"
        f"{'s' if failures == 1 else ''} the test {node['name']}",
        _unusual(node["node_id"]) if details else node["query"] or trace,
        details,
    )


def _latest_of_elementary(test: str) -> str:
    """What a test of Elementary's own found last; it keeps the results of all other tests too."""
    return f"""
        select id, test_results_description as description
        from {SCHEMA}.elementary_test_results
        where test_unique_id = {literal(test)} and status <> 'pass' and test_type <> 'dbt_test'
        order by detected_at desc limit 1
    """


def _said_by_elementary(view: View, test: str) -> tuple[str, ...]:
    if not view.has(f"{SCHEMA}.elementary_test_results"):
        return ()
    found = view.query(_latest_of_elementary(test))
    return tuple(" ".join((row["description"] or "").split()) for row in found)


def _unusual(test: str) -> str:
    """What is unusual, by day and value of a dimension: the test's own query reads a table that is
    gone by then. A change of a schema has no days, only a description."""

    def of_day(name: str, as_name: str) -> str:
        return f"(cast(unusual.result_row as json) ->> '{name}') as {as_name}"

    return f"""
        select {of_day("bucket_start", "since")}, {of_day("bucket_end", "until")},
            {of_day("dimension_value", "subject")}, {of_day("metric_name", "metric")},
            {of_day("metric_value", "value")}, {of_day("training_avg", "usual")},
            {of_day("anomaly_score", "score")},
            case when unusual.result_row is null then
                trim(regexp_replace(latest.description, '[[:space:]]+', ' ', 'g'))
            end as description
        from ({_latest_of_elementary(test)}) as latest
        left join {SCHEMA}.test_result_rows as unusual
            on latest.id = unusual.elementary_test_results_id
            and (cast(unusual.result_row as json) ->> 'is_anomalous') = 'true'
        order by since desc, subject
    """
