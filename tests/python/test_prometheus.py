"""Rules, routes and the dashboard, in a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from conftest import MakeWarehouse
from monitoring.grafana import dashboard
from support.prometheus import (
    SHIPPED,
    Prometheus,
    alertmanager,
    program,
    prometheus,
    until,
    watching,
    webhook,
)
from support.warehouses import Warehouse
from test_metrics import clicks


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
    warehouse.adx("load", str(clicks(landing, "a", 3)))
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
        warehouse.adx("load", str(clicks(landing, "b", 3)))
        until("its end", lambda: told.of("AdvertiseXStreamStopped", "resolved"))
        assert "AdvertiseXStreamStopped" not in server.alerts()


# The dashboard -----------------------------------------------------------------------------------


def test_the_dashboard_is_as_generated() -> None:
    """`python -m monitoring.grafana.dashboard` writes it; the SDK's own model reads it back."""
    committed = dashboard.JSON.read_text(encoding="utf-8")
    assert committed == dashboard.text()
    document = json.loads(committed)
    again = json.dumps(Dashboard.from_json(document), cls=JSONEncoder, sort_keys=True)
    assert json.loads(again) == document


def panels() -> list[dict[str, Any]]:
    document = json.loads(dashboard.JSON.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in panels()
    for target in panel["targets"]
]


def test_panels_lie_side_by_side() -> None:
    """Each has a title and a description, and none lies over another."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"] and panel["description"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len(panels()) > 20


@pytest.fixture(scope="module")
def watched(
    make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has seen a warehouse loaded, built, and loaded and built again."""
    folder = tmp_path_factory.mktemp("prometheus")
    program("prometheus")
    warehouse = make_warehouse("duckdb")
    generated = folder / "landing"
    warehouse.adx("generate", str(generated), "--events", "2000", "--days", "16", "--seed", "3")
    warehouse.adx("run", str(generated))
    with (
        watching(warehouse, "--interval", "0.2") as port,
        prometheus(folder, port) as server,
    ):
        until("a scrape", lambda: server.query("advertisex_records_read_total > 0"))
        again(warehouse, folder)
        read = 'stream:advertisex_records_read:increase1h{stream="clicks"} > 0'
        until("the second load", lambda: server.query(read))
        yield server


def again(warehouse: Warehouse, folder: Path) -> None:
    warehouse.adx("run", str(clicks(folder / "more", "more", 20, "no time,u,c")))


@pytest.mark.parametrize("query", QUERIES)
def test_each_panel_has_data(watched: Prometheus, query: str) -> None:
    found = watched.query(query)
    assert found, query
    assert all(sample["value"][1] not in ("NaN", "+Inf", "-Inf") for sample in found), found
