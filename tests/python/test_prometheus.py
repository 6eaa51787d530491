"""Rules and routes, in a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from advertisex import cli
from conftest import MakeWarehouse
from support.prometheus import (
    SHIPPED,
    alertmanager,
    program,
    prometheus,
    until,
    watching,
    webhook,
)
from support.warehouses import ROOT
from test_metrics import clicks, load


def succeeds(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_is_valid() -> None:
    promtool = program("promtool")
    succeeds(promtool, "check", "config", "--lint-fatal", str(SHIPPED / "prometheus.yml"))
    succeeds(promtool, "check", "rules", "--lint-fatal", *map(str, SHIPPED.glob("rules/*.yml")))
    succeeds(program("amtool"), "check-config", str(SHIPPED / "alertmanager.yml"))


def test_rules_fire_when_they_should() -> None:
    succeeds(program("promtool"), "test", "rules", str(SHIPPED / "tests.yml"))


def test_every_alert_is_tested_and_documented() -> None:
    """It has its row in the document, a test that it fires, and says what, since when, and what
    to run: a command that there is."""
    groups = yaml.safe_load((SHIPPED / "rules" / "alerting.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"]: rule for group in groups["groups"] for rule in group["rules"]}
    document = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(AdvertiseX\w+)` \|", document, re.M) == list(alerts)
    tests = yaml.safe_load((SHIPPED / "tests.yml").read_text(encoding="utf-8"))["tests"]
    fired = {
        test["alertname"]
        for each in tests
        for test in each.get("alert_rule_test", [])
        if test["exp_alerts"]
    }
    assert fired == set(alerts)
    commands = set(cli.main.commands)
    for name, alert in alerts.items():
        assert set(alert["annotations"]) == {"summary", "since", "run"}, name
        program, command = alert["annotations"]["run"].split()[:2]
        assert program == "adx" and (command in commands or command.startswith("{{")), name


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=critical", "scope=pipeline"), "on-call"),
        (("severity=warning", "scope=pipeline"), "team"),
        (("severity=critical", "scope=data"), "data"),
    ],
)
def test_routes(labels: tuple[str, ...], receiver: str) -> None:
    command = [program("amtool"), "config", "routes", "test"]
    done = subprocess.run(
        [*command, f"--config.file={SHIPPED / 'alertmanager.yml'}", *labels],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [receiver]


def test_an_alert_is_fired_and_resolved(
    make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path
) -> None:
    """A stream that stopped is told, and so is its return: warehouse, exporter, Prometheus,
    Alertmanager and webhook, with the shipped rules and routes."""
    warehouse = make_warehouse("duckdb")
    load(warehouse, clicks(landing, "a", 3))
    two_days_ago = "_loaded_at = _loaded_at - interval '2 days'"
    warehouse.execute(f"update raw.clicks set {two_days_ago}")
    with (
        webhook() as told,
        alertmanager(tmp_path, told) as manager,
        watching(warehouse, "--interval", "0.2") as port,
        prometheus(tmp_path, port, manager) as server,
    ):
        receiver, alert = until("the alert", lambda: told.of("AdvertiseXStreamStopped", "firing"))
        assert receiver == "data"
        assert alert["labels"]["stream"] == "clicks"
        assert alert["annotations"] == {
            "summary": "Nothing of the stream clicks has been loaded for over a day",
            "since": alert["annotations"]["since"],
            "run": "adx status",
        }
        assert alert["annotations"]["since"].startswith("for 2d 0h")
        assert told.of("AdvertiseXStreamStopped", "resolved") is None
        load(warehouse, clicks(landing, "b", 3))
        until("its end", lambda: told.of("AdvertiseXStreamStopped", "resolved"))
        assert "AdvertiseXStreamStopped" not in server.alerts()
