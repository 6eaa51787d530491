"""Planted faults, each caught with the right alert and no other; quiet days give none.

From the files to the message is one `adx run`: fourteen quiet days are in the warehouse, the day
with the fault arrives the next morning, and a real web server takes what is told.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import landing
from advertisex.generator import DEFAULT_END, FAULTS, generate
from conftest import MakeWarehouse
from support.receivers import Webhook, webhook
from support.warehouses import Warehouse

EVENTS_A_DAY, HISTORY, SEED = 6_000, 14, 3
QUIET_DAYS = 30

CAUGHT = {
    "few_impressions": "campaign_anomaly",
    "many_clicks": "campaign_anomaly/{campaign}",
    "stream_stops": "stream_stopped/impressions",
    "campaign_stops": "campaign_stopped/{campaign}",
    "null_user_agents": "nulls/impressions.user_agent",
    "new_field": "new_field/impressions.consent",
    "changed_type": "column_type_changed/impressions.price_cpm",
    "rejects": "rejects_jump/impressions",
    "unknown_currency": "exchange_rate_missing/amounts_have_an_exchange_rate",
    "small_budget": "budget_overspent/{campaign}",
}


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quiet logs of the history and one more day."""
    folder = tmp_path_factory.mktemp("quiet") / "landing"
    generate(folder, EVENTS_A_DAY * (HISTORY + 1), HISTORY + 1, SEED, fault="none")
    return folder


def days(folder: Path, first: dt.date, last: dt.date) -> list[str]:
    """The folders of these days."""
    return [
        str(day) for day in sorted(folder.glob("*/*")) if first <= dt.date.fromisoformat(day.name)
        <= last
    ]  # fmt: skip


def run(warehouse: Warehouse, hook: Webhook, day: dt.date, *folders: str) -> dict[str, Any]:
    """`adx run` on the morning after a day: what it says of the alerts."""
    morning = dt.datetime.combine(day + dt.timedelta(1), dt.time(6))
    env = {**warehouse.env, "ADX_NOW": morning.isoformat(), "ADX_WEBHOOK_URL": hook.url}
    hook.received.clear()
    done = dataclasses.replace(warehouse, env=env).adx_here("run", "--json", *folders)
    alerts: dict[str, Any] = json.loads(done.stdout)["alerts"]
    assert alerts["problems"] == {}
    return alerts


@pytest.fixture(scope="module")
def history(make_warehouse: MakeWarehouse, quiet: Path, hook: Webhook) -> Warehouse:
    """A DuckDB warehouse that holds the quiet days before the last; none gave an alert."""
    return after_quiet_days(make_warehouse("duckdb"), hook, quiet)


@pytest.fixture(scope="module")
def watched_history(with_packages: MakeWarehouse, quiet: Path, hook: Webhook) -> Warehouse:
    """The same with Elementary, which found nothing in the quiet days either."""
    return after_quiet_days(with_packages("duckdb"), hook, quiet)


def after_quiet_days(warehouse: Warehouse, hook: Webhook, quiet: Path) -> Warehouse:
    arrive(warehouse, hook, quiet, DEFAULT_END - dt.timedelta(3), 2)
    shutil.copyfile(warehouse.env["ADX_DUCKDB_PATH"], warehouse.folder / "quiet.duckdb")
    return warehouse


def arrive(warehouse: Warehouse, hook: Webhook, folder: Path, first: dt.date, single: int) -> None:
    """Quiet days: all to the first in one run, then day by day; nobody is told anything."""
    arriving = [(first, days(folder, dt.date.min, first))]
    for number in range(single):
        day = first + dt.timedelta(number + 1)
        arriving.append((day, days(folder, day, day)))
    for day, folders in arriving:
        alerts = run(warehouse, hook, day, *folders)
        assert (alerts["open"], alerts["resolved"], hook.received) == ([], [], []), day
    judged = warehouse.rows("select judged_until from monitoring.evaluations order by 1")
    assert [row["judged_until"] for row in judged] == [day for day, _ in arriving]


def set_back(warehouse: Warehouse) -> Warehouse:
    """Back to the quiet days, in the same file, for which dbt has parsed the project."""
    shutil.copyfile(warehouse.folder / "quiet.duckdb", warehouse.env["ADX_DUCKDB_PATH"])
    return warehouse


def day_with(fault: str, folder: Path) -> tuple[list[str], str]:
    """The folders of the last day, with a fault, and the alert that it must give."""
    made = generate(folder, EVENTS_A_DAY * (HISTORY + 1), HISTORY + 1, SEED, fault=fault)
    assert made.fault is not None
    wanted = CAUGHT[fault].format(campaign=made.fault.campaign_id)
    return days(folder, DEFAULT_END, DEFAULT_END), wanted


def alerts_of(
    fault: str, history: Warehouse, hook: Webhook, folder: Path
) -> tuple[dict[str, Any], str]:
    """What one run over the last day with a fault says, and the alert that it must give."""
    folders, wanted = day_with(fault, folder)
    return run(set_back(history), hook, DEFAULT_END, *folders), wanted


def check(
    warehouse: Warehouse, hook: Webhook, alerts: dict[str, Any], wanted: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Just what is wanted was told, a message a kind; the rows behind each alert by its key."""
    keys = [alert["key"] for alert in alerts["open"]]
    for key in keys:
        assert any(key == name or key.startswith(f"{name}/") for name in wanted), keys
    assert {key.split("/")[0] for key in keys} == {name.split("/")[0] for name in wanted}
    assert len(hook.received) == len(wanted)  # however many campaigns it is about
    told = "\n".join(message["message"] for message in hook.received)
    traced = {}
    for alert in alerts["fired"]:
        assert alert["summary"][1:] in told
        assert f"adx alerts --trace {alert['key']}" in told
        found = warehouse.adx_here("alerts", "--trace", alert["key"], "--limit", "5", "--json")
        traced[alert["key"]] = json.loads(found.stdout)["rows"]
        assert traced[alert["key"]], alert["key"]
    return traced


BY_CAMPAIGN = "elementary_dimension_anomalies_fct_impressions_campaign_id__event_at"
CTR = "elementary_column_anomalies_fct_campaign_daily_average__ctr__date"
WIN_RATE = "elementary_column_anomalies_fct_campaign_daily_average__win_rate__date"
NO_AGENT = (
    "elementary_source_column_anomalies_adserver_impressions_null_percent__user_agent__timestamp"
)
NO_HOURS = "elementary_freshness_anomalies_fct_campaign_hourly_hour__impressions_0"
WARNED = {
    "campaign_stops": {BY_CAMPAIGN},
    "changed_type": {BY_CAMPAIGN, CTR, WIN_RATE},
    "few_impressions": {BY_CAMPAIGN, CTR, WIN_RATE},
    "many_clicks": set(),
    "new_field": set(),
    "null_user_agents": {NO_AGENT},
    "rejects": set(),
    "stream_stops": {BY_CAMPAIGN, WIN_RATE, NO_AGENT, NO_HOURS},
    "unknown_currency": set(),
}
SOME = ("few_impressions", "stream_stops")


@pytest.mark.parametrize(
    "fault", [name for name in sorted(CAUGHT) if name != "small_budget"] if landing.LONG else SOME
)
def test_each_fault_is_caught_and_no_other(
    fault: str, history: Warehouse, hook: Webhook, tmp_path: Path
) -> None:
    alerts, wanted = alerts_of(fault, history, hook, tmp_path / "landing")
    traced = check(history, hook, alerts, [wanted])
    if fault == "few_impressions":
        assert len(alerts["fired"]) >= 5
    (since, *others) = {alert["since"][:10] for alert in alerts["fired"]}
    assert not others
    on_load = fault in ("rejects", "changed_type", "unknown_currency", "new_field")
    assert since == str(DEFAULT_END + dt.timedelta(1) if on_load else DEFAULT_END)
    if fault in ("rejects", "changed_type"):
        for row in traced[wanted]:  # section 2: file, position and text of each rejected record
            lines = Path(row["file"]).read_text().split("\n")
            assert lines[row["line"] - 1] == row["raw_text"]


@pytest.mark.skipif(not landing.LONG, reason="Elementary's builds; ADX_LONG=1 runs them")
@pytest.mark.parametrize("fault", sorted(WARNED))
def test_elementary_warns_beside_the_alert(
    fault: str, watched_history: Warehouse, hook: Webhook, tmp_path: Path
) -> None:
    """With Elementary the same alert, and of its tests those that look at what is wrong."""
    alerts, wanted = alerts_of(fault, watched_history, hook, tmp_path / "landing")
    warned = {alert["subject"] for alert in alerts["open"] if alert["kind"] == "test_warned"}
    assert warned == WARNED[fault]
    check(watched_history, hook, alerts, [wanted, "test_warned"] if warned else [wanted])


def test_every_fault_of_the_generator_has_its_alert() -> None:
    assert set(FAULTS) - {"none"} == set(CAUGHT)


def test_on_postgres(
    make_warehouse: MakeWarehouse, quiet: Path, hook: Webhook, tmp_path: Path
) -> None:
    """The same judgement on the other engine, of two faults on one day."""
    warehouse = make_warehouse("postgres")
    arrive(warehouse, hook, quiet, DEFAULT_END - dt.timedelta(1), 0)
    folders, field = day_with("new_field", tmp_path / "new_field")
    changes, budget = day_with("small_budget", tmp_path / "small_budget")
    folders += [folder for folder in changes if "/campaigns/" in folder]
    check(warehouse, hook, run(warehouse, hook, DEFAULT_END, *folders), [field, budget])


@pytest.mark.skipif(not landing.LONG, reason="thirty loads and builds; ADX_LONG=1 runs them")
def test_thirty_quiet_days_give_no_alert(
    make_warehouse: MakeWarehouse, hook: Webhook, tmp_path: Path
) -> None:
    """Day after day, loaded and built as they come."""
    total = HISTORY + QUIET_DAYS
    folder = tmp_path / "landing"
    generate(folder, EVENTS_A_DAY * total, total, SEED, fault="none")
    first = DEFAULT_END - dt.timedelta(QUIET_DAYS)
    arrive(make_warehouse("duckdb"), hook, folder, first, QUIET_DAYS)


def test_a_model_and_a_test_that_fail(history: Warehouse, hook: Webhook, tmp_path: Path) -> None:
    """A row that no file accounts for fails a test; a column that is gone ends a model."""
    warehouse = set_back(history)
    now = dataclasses.replace(
        warehouse, env={**warehouse.env, "ADX_NOW": "2025-07-02T06:00:00",
                        "ADX_WEBHOOK_URL": hook.url},
    )  # fmt: skip
    hook.received.clear()
    warehouse.execute(
        "insert into raw.conversions by name"
        " select * replace ('by hand' as _file) from raw.conversions limit 1"
    )
    now.adx_here("build", "--full-refresh", exit_code=1)
    told = json.loads(now.adx_here("alerts", "--json").stdout)
    name = "records_read_are_accepted_or_rejected"
    assert f"test_failed/{name}" in [alert["key"] for alert in told["fired"]]
    traced = json.loads(now.adx_here("alerts", "--trace", f"test_failed/{name}", "--json").stdout)
    assert "by hand" in json.dumps(traced["rows"])
    warehouse.execute("delete from raw.conversions where _file = 'by hand'")
    warehouse.execute("alter table raw.clicks drop column website")

    later = {**now.env, "ADX_NOW": "2025-07-02T07:00:00"}
    now = dataclasses.replace(now, env=later)
    hook.received.clear()
    now.adx_here("build", "--full-refresh", exit_code=1)
    told = json.loads(now.adx_here("alerts", "--json").stdout)
    assert [alert["key"] for alert in told["fired"]] == ["model_failed/stg_tracker__clicks_arrived"]
    assert f"test_failed/{name}" in [alert["key"] for alert in told["resolved"]]
    assert hook.titles[0] == "AdvertiseX, critical: model failed: stg_tracker__clicks_arrived"


def test_a_feed_that_falls_behind(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """Section 8, late events: every morning those of the night before last, one day far more."""
    warehouse = make_warehouse("duckdb")
    start = dt.datetime(2024, 6, 9)
    for number in range(5):
        late = 20 if number < 4 else 180
        hours = [3] * late + [12] * (300 - late)
        times = [
            start + dt.timedelta(number, seconds=place, hours=hour)
            for place, hour in enumerate(hours)
        ]
        rows = [f"{time.isoformat()},u{place},k1" for place, time in enumerate(times)]
        file = tmp_path / f"{number}.csv"
        file.write_text("\n".join(["timestamp,user_id,ad_campaign_id", *rows]))
        now = (start + dt.timedelta(number + 1, hours=6)).isoformat()
        warehouse = dataclasses.replace(warehouse, env={**warehouse.env, "ADX_NOW": now})
        warehouse.adx_here("load", "--stream", "clicks", str(file))
        if number >= 3:
            warehouse.adx_here("build")
            told = json.loads(warehouse.adx_here("alerts", "--json").stdout)
            found = [alert["summary"] for alert in told["open"] if alert["kind"] == "late_data"]
            if number == 3:
                assert found == []
    assert found == [
        "60.0 % of the events of clicks that were loaded on 2024-06-14 are late, usually 6.7 %"
    ]
