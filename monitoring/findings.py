"""What it means: the findings of an evaluation, and which of them follow from others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import duckdb
import psycopg2

from monitoring.judges import campaigns, records, steps, streams
from monitoring.rules import Rules
from monitoring.tables import SCHEMA
from monitoring.view import Finding, View


@dataclass(frozen=True)
class Judgement:
    """All findings by key; those that another one explains, and by which.

    What is not among `kinds` could not be judged: the data for it are not there, or are not what
    they must be, which `problems` says.
    """

    findings: Mapping[str, Finding]
    explained: Mapping[str, str]
    kinds: frozenset[str]
    judged_until: dt.date | None
    problems: Mapping[str, str]


@dataclass(frozen=True)
class _Judge:
    """Where findings of some kinds come from, and what must be there for it."""

    find: Callable[[View], Iterable[Finding]]
    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    by_day: bool = True


_NODES = ("model_failed", "test_broken", "test_failed", "test_warned", "exchange_rate_missing")
_JUDGES = (
    _Judge(steps.failed_steps, ("load_failed", "load_died", "build_failed", "build_died"),
           (f"{SCHEMA}.runs",), by_day=False),
    _Judge(steps.failed_nodes, _NODES, (f"{SCHEMA}.node_results",), by_day=False),
    _Judge(streams.stopped, ("stream_stopped",), campaigns.MARTS),
    _Judge(streams.stale, ("stream_stale",), ("raw.loaded_files",), by_day=False),
    _Judge(streams.unmatched_clicks, ("clicks_without_impressions",),
           ("marts.fct_clicks", *campaigns.MARTS)),
    _Judge(streams.late, ("late_data",), ("marts.fct_data_quality_daily", *campaigns.MARTS)),
    _Judge(campaigns.stopped, ("campaign_stopped",), campaigns.MARTS),
    _Judge(campaigns.anomalies, ("campaign_anomaly",), campaigns.MARTS),
    _Judge(campaigns.overspent, ("budget_overspent",), campaigns.MARTS),
    _Judge(records.rejects, ("rejects_jump", "column_type_changed"),
           ("raw.loaded_files", "raw.rejected_records"), by_day=False),
    _Judge(records.nulls, ("nulls",), ("raw.loaded_files",)),
    _Judge(records.new_fields, ("new_field",), ("raw.unknown_fields",), by_day=False),
)  # fmt: skip


def judge(view: View) -> Judgement:
    """Every finding that the warehouse holds now."""
    findings: dict[str, Finding] = {}
    kinds: set[str] = set()
    problems: dict[str, str] = {}
    for each in _JUDGES:
        if not view.has(*each.tables) or (each.by_day and not view.days):
            continue
        try:
            found = {finding.key: finding for finding in each.find(view)}
        except (duckdb.Error, psycopg2.Error) as error:
            problems[", ".join(each.kinds)] = str(error).strip().splitlines()[0]
            continue
        kinds.update(each.kinds)
        findings |= found
    explained = _explained(findings, view.rules)
    for key, cause in explained.items():
        follows = f"and so: {findings[key].summary}"
        findings[cause] = replace(findings[cause], details=(*findings[cause].details, follows))
    return Judgement(
        findings,
        explained,
        frozenset(kinds),
        view.day if view.days else None,
        problems,
    )


def _explained(findings: Mapping[str, Finding], rules: Rules) -> dict[str, str]:
    """Key → the key of what explains it, e.g. a campaign that stopped with its stream."""
    return {
        finding.key: cause.key
        for cause in findings.values()
        for finding in findings.values()
        if finding.kind in rules.rules[cause.kind].explains
        and finding.key != cause.key
        and (cause.campaign is None or finding.campaign in (None, cause.campaign))
    }
