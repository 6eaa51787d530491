"""Alerts are told once, kept while a channel is dead, silenced, and over when their cause is.

A real web server and a real mail server, on both engines. The cause is a load that fails,
which needs no build.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeWarehouse
from support.prometheus import until
from support.receivers import Webhook, mail_server, webhook
from support.servers import free_port
from support.warehouses import Warehouse

CLICKS = b"timestamp,user_id,ad_campaign_id\n2024-06-09T12:34:56Z,u1,k1\n"


def at(warehouse: Warehouse, time: str, **environment: str) -> Warehouse:
    """The same warehouse at a time of day, with channels."""
    env = {**warehouse.env, "ADX_NOW": f"2024-06-10T{time}", **environment}
    return dataclasses.replace(warehouse, env=env)


def evaluated(warehouse: Warehouse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(warehouse.adx_here("alerts", "--json").stdout)
    return found


def keys(alerts: list[dict[str, Any]]) -> list[str]:
    return [f"{alert['kind']}/{alert['subject']}" for alert in alerts]


def fail(warehouse: Warehouse) -> None:
    warehouse.adx_here("load", "--stream", "clicks", "/nowhere/clicks.csv", exit_code=1)


def succeed(warehouse: Warehouse, folder: Path) -> None:
    (folder / "clicks.csv").write_bytes(CLICKS)
    warehouse.adx_here("load", "--stream", "clicks", str(folder))


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


def test_an_alert_is_told_once_and_its_end_too(
    warehouse: Warehouse, hook: Webhook, tmp_path: Path
) -> None:
    now = at(warehouse, "06:00:00", ADX_WEBHOOK_URL=hook.url)
    fail(now)
    now = at(now, "06:05:00")
    assert keys(evaluated(now)["fired"]) == ["load_failed/load"]
    again = evaluated(now)
    assert (again["fired"], keys(again["open"])) == ([], ["load_failed/load"])
    (message,) = hook.received
    assert message["title"] == "AdvertiseX, critical: load failed: load"
    assert message["type"] == "failure"
    for words in (
        "The load failed",
        "Since: 2024-06-10 06:00:",
        "How bad: critical",
        "/nowhere/clicks.csv",
        "Look further: adx alerts --trace load_failed/load",
    ):
        assert words in message["message"]
    traced = json.loads(now.adx_here("alerts", "--trace", "load_failed/load", "--json").stdout)
    assert [row["outcome"] for row in traced["rows"]] == ["failed"]

    succeed(at(now, "07:00:00"), tmp_path)
    over = evaluated(at(now, "07:01:00"))
    assert (keys(over["resolved"]), over["open"]) == (["load_failed/load"], [])
    assert hook.titles[1:] == ["AdvertiseX, over: load failed: load"]
    assert hook.received[1]["type"] == "success"
    assert now.adx_here("alerts", "--open").stdout == "No alert is open.\n"

    fail(at(now, "08:00:00"))  # and it may begin anew
    assert keys(evaluated(at(now, "08:01:00"))["fired"]) == ["load_failed/load"]
    assert len(hook.received) == 3


def test_what_was_over_before_anybody_looked_is_told(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    now = at(make_warehouse("duckdb"), "06:00:00")
    succeed(now, tmp_path)
    evaluated(at(now, "06:01:00"))
    fail(at(now, "07:00:00"))
    (tmp_path / "more.csv").write_bytes(CLICKS + CLICKS)
    succeed(at(now, "08:00:00"), tmp_path)
    (alert,) = evaluated(at(now, "09:00:00"))["fired"]
    assert alert["kind"] == "load_failed"
    assert "over: the load of 2024-06-10 08:00:" in alert["details"][1]
    assert keys(evaluated(at(now, "09:01:00"))["resolved"]) == ["load_failed/load"]


def test_a_load_that_died_is_an_alert(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    warehouse = make_warehouse("duckdb")
    (tmp_path / "clicks.csv").write_bytes(CLICKS)
    load = ("load", "--stream", "clicks", str(tmp_path))
    with warehouse.adx_stopped("ingestion.pipelines.files:find_files", *load):
        pass
    (alert,) = evaluated(warehouse)["fired"]
    assert (alert["kind"], alert["severity"]) == ("load_died", "critical")


def test_killed_between_outbox_and_delivery(
    warehouse: Warehouse, hook: Webhook, tmp_path: Path
) -> None:
    """At most the moment is lost: the next run sends it."""
    now = at(warehouse, "06:00:00", ADX_WEBHOOK_URL=hook.url)
    fail(now)
    with now.adx_stopped("monitoring.channels:send", "alerts"):
        pass
    assert hook.received == []
    late = evaluated(at(now, "06:05:00"))
    assert (late["fired"], late["delivered"]) == ([], 1)
    assert hook.titles == ["AdvertiseX, critical: load failed: load"]


def test_a_dead_channel_neither_blocks_nor_loses(
    make_warehouse: MakeWarehouse, hook: Webhook, tmp_path: Path
) -> None:
    """One channel is not there, one does not answer, one refuses; mail arrives all the same."""
    port = free_port()
    own = tmp_path / "alerts.yml"
    own.write_text(
        "channels: {gone: 'json://127.0.0.1:1/?cto=1&rto=1', slow: '${SLOW}', mail: '${MAIL}'}\n"
        "routes: [{channels: [gone, slow, mail]}]\n"
    )
    with mail_server(port) as mail, webhook() as slow:
        now = at(
            make_warehouse("duckdb"), "06:00:00", ADX_ALERTS=str(own), SLOW=slow.url, MAIL=mail.url
        )
        slow.hold.clear()
        fail(now)
        began = time.monotonic()
        first = evaluated(now)
        assert time.monotonic() - began < 30
        assert (first["delivered"], sorted(first["failures"])) == (1, ["gone", "slow"])
        assert "onnection" in first["failures"]["gone"]
        (message,) = mail.received
        assert message["Subject"] == "AdvertiseX, critical: load failed: load"
        assert "Look further: adx alerts --trace load_failed/load" in message.as_string()
        slow.hold.set()
        until("the request that was given up", lambda: slow.received)
        slow.received.clear()
        assert evaluated(now)["delivered"] == 0  # not before its time
        said = at(now, "06:10:00").adx_here("alerts")
        assert "1 messages sent" in said.stdout
        assert "Not delivered to gone" in said.stderr
        assert slow.titles == ["AdvertiseX, critical: load failed: load"]
        assert len(mail.received) == 1


def test_a_server_that_refuses_is_asked_again_later_and_later(
    make_warehouse: MakeWarehouse, hook: Webhook
) -> None:
    warehouse = make_warehouse("duckdb")
    now = at(warehouse, "06:00:00", ADX_WEBHOOK_URL=hook.url)
    hook.status = 503
    fail(now)
    tried = ["06:00:00", "06:01:30", "06:04:00", "06:10:00"]
    for time_ in tried:
        assert "503" in evaluated(at(now, time_))["failures"]["webhook"]
    (row,) = warehouse.rows("select * from monitoring.deliveries")
    assert (row["attempts"], row["delivered_at"]) == (4, None)
    assert 7 * 60 < (row["next_try_at"] - row["created_at"]).total_seconds() - 600 < 9 * 60


def test_a_silenced_alert_is_told_when_its_silence_is_over(
    make_warehouse: MakeWarehouse, hook: Webhook
) -> None:
    now = at(make_warehouse("duckdb"), "06:00:00", ADX_WEBHOOK_URL=hook.url)
    fail(now)
    evaluated(now)
    now.adx_here("alerts", "--silence", "load_*", "--for", "2h")
    fail(at(now, "06:30:00"))
    assert evaluated(at(now, "07:00:00"))["fired"] == []
    assert "2024-06-10 08:00:0" in at(now, "07:00:00").adx_here("alerts", "--open").stdout
    assert keys(evaluated(at(now, "08:30:00"))["fired"]) == ["load_failed/load"]
    assert len(hook.received) == 2
    refused = now.adx_here("alerts", "--silence", "nothing", exit_code=2)
    assert "no open alert has the key 'nothing'" in refused.stderr


def test_a_run_whose_load_failed_tells_it(make_warehouse: MakeWarehouse, hook: Webhook) -> None:
    now = at(make_warehouse("duckdb"), "06:00:00", ADX_WEBHOOK_URL=hook.url)
    now.adx_here("run", "--stream", "clicks", "/nowhere/clicks.csv", exit_code=1)
    assert "AdvertiseX, critical: load failed: load" in hook.titles


def test_a_live_stream_that_falls_silent(warehouse: Warehouse, tmp_path: Path) -> None:
    """By the clock, and only because the rules say so."""
    own = tmp_path / "alerts.yml"
    own.write_text("live: {clicks: 2h}\n")
    now = at(warehouse, "06:00:00")
    succeed(now, tmp_path)
    assert evaluated(now)["open"] == []
    (alert,) = evaluated(at(now, "06:01:00", ADX_ALERTS=str(own)))["open"]
    assert alert["key"] == "stream_stale/clicks"
    assert alert["since"] == "2024-06-09T12:34:56"
    assert "for 17.4 hours" in alert["summary"]


def test_without_a_channel_alerts_are_shown_and_kept(make_warehouse: MakeWarehouse) -> None:
    now = at(make_warehouse("duckdb"), "06:00:00")
    fail(now)
    said = now.adx_here("alerts").stdout
    assert "Alert: The load failed" in said
    assert said.count("No channel is configured") == 1
    assert "load_failed/load" in now.adx_here("alerts", "--open").stdout


def test_repeated_by_rule_and_routed_by_severity(
    make_warehouse: MakeWarehouse, hook: Webhook, tmp_path: Path
) -> None:
    own = tmp_path / "alerts.yml"
    own.write_text(
        "channels: {night: '${ADX_WEBHOOK_URL}', day: 'json://127.0.0.1:1'}\n"
        "routes: [{severity: [critical], channels: [night]}, {kind: [nulls], channels: [day]}]\n"
        "rules: {load_failed: {repeat_after: 12h}}\n"
    )
    environment = {"ADX_WEBHOOK_URL": hook.url, "ADX_ALERTS": str(own)}
    now = at(make_warehouse("duckdb"), "06:00:00", **environment)
    fail(now)
    fired = [
        len(evaluated(at(now, time))["fired"]) for time in ("06:01:00", "17:00:00", "18:02:00")
    ]
    assert fired == [1, 0, 1]
    assert len(hook.received) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {nulls: {severity: loud}}", "rules.nulls.severity: Input should be"),
        ("rules: {nuls: {severity: info}}", "rules: 'nuls' is not known; use one of load_failed"),
        ("rules: {nulls: {thresholds: {mor: 1}}}", "rules.nulls.thresholds: 'mor' is not known"),
        ("rules: {nulls: {thresholds: {more: few}}}", "rules.nulls.thresholds.more: Input should"),
        ("rules: {nulls: {repeat_after: 3}}", "rules.nulls.repeat_after: is no duration such as"),
        ("rules: {nulls: {explains: [all]}}", "rules.nulls.explains: 'all' is not known"),
        ("routes: [{channels: [fax]}]", "routes.0.channels: 'fax' is not known; use one of slack"),
        ("routes: [{channels: [slack], stream: [x]}]", "routes.0.stream: 'x' is not known"),
        ("live: {views: 2h}", "live: 'views' is not known"),
        ("tests: {some_test: oddity}", "tests.some_test: 'oddity' is not known"),
        ("chanels: {}", "chanels: Extra inputs are not permitted"),
        ("rules: [", "is no YAML"),
        ("- rules", "must hold channels, routes, rules"),
    ],
)
def test_rules_amiss_are_said(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.errors import WrongUsage
    from monitoring.rules import read_rules

    own = tmp_path / "alerts.yml"
    own.write_text(text)
    monkeypatch.setenv("ADX_ALERTS", str(own))
    with pytest.raises(WrongUsage) as refused:
        read_rules()
    assert said in str(refused.value)
    assert str(own) in str(refused.value)


def test_a_rule_is_laid_over_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitoring.rules import read_rules

    own = tmp_path / "alerts.yml"
    own.write_text("rules: {campaign_anomaly: {thresholds: {clicks: 7}}}")
    shipped = read_rules().rules["campaign_anomaly"]
    monkeypatch.setenv("ADX_ALERTS", str(own))
    laid = read_rules().rules["campaign_anomaly"]
    assert laid.thresholds == {**shipped.thresholds, "clicks": 7}
    assert laid.severity == shipped.severity
