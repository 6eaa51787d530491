"""What a load and a build leave in `monitoring.runs` and `monitoring.node_results`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from conftest import MakeWarehouse
from support.warehouses import Warehouse

CLICKS = b"timestamp,user_id,ad_campaign_id\n2024-06-09T12:34:56Z,u1,k1\n2024-06-09T12:35Z,u2,k1\n"


def runs(warehouse: Warehouse) -> list[dict[str, object]]:
    return warehouse.rows("select * from monitoring.runs order by started_at, command")


def test_a_load_is_recorded_with_what_it_read(warehouse: Warehouse, landing: Path) -> None:
    file = landing / "clicks.csv"
    file.write_bytes(CLICKS)
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    warehouse.adx_here("load", "--stream", "clicks", str(file))
    (run,) = runs(warehouse)
    (loaded,) = warehouse.rows("select * from raw.loaded_files")
    assert (run["command"], run["outcome"], run["error"]) == ("load", "succeeded", None)
    assert (run["records_read"], run["accepted"], run["rejected"]) == (2, 1, 1)
    assert run["load_id"] == loaded["load_id"]
    assert before <= run["started_at"] <= loaded["loaded_at"] <= run["ended_at"]  # type: ignore[operator]


def test_a_load_that_fails_says_why(warehouse: Warehouse, landing: Path) -> None:
    (landing / "notes.csv").write_bytes(b"a,b\n")
    warehouse.adx_here("load", str(landing), exit_code=1)
    (run,) = runs(warehouse)
    assert run["outcome"] == "failed"
    assert f"{landing}: no folder in it" in str(run["error"])


def test_a_command_called_in_a_wrong_way_is_no_run(
    make_warehouse: MakeWarehouse, landing: Path
) -> None:
    """Nobody is to be woken by a typing error; and a build without a warehouse makes none."""
    warehouse = make_warehouse("duckdb")
    warehouse.adx_here("build", exit_code=1)
    assert not Path(warehouse.env["ADX_DUCKDB_PATH"]).exists()
    warehouse.adx_here("load", "--stream", "klicks", str(landing), exit_code=2)
    assert runs(warehouse) == []


def test_a_load_that_was_killed_has_died(warehouse: Warehouse, landing: Path) -> None:
    """The next command finds that its process is gone; one that still runs stays as it is."""
    (landing / "clicks.csv").write_bytes(CLICKS)
    load = ("load", "--stream", "clicks", str(landing))
    with warehouse.adx_stopped("ingestion.pipelines.files:find_files", *load):
        warehouse.adx_here(*load)
        assert [run["outcome"] for run in runs(warehouse)] == ["running", "succeeded"]
    warehouse.adx_here(*load)
    assert [run["outcome"] for run in runs(warehouse)] == ["died", "succeeded", "succeeded"]


def test_a_warehouse_that_is_held_is_said_once(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    """A failure to record ends with one line, and the load says its own."""
    warehouse = make_warehouse("duckdb")
    (tmp_path / "clicks.csv").write_bytes(CLICKS)
    connection = warehouse.connect()
    try:
        done = warehouse.adx("load", "--stream", "clicks", str(tmp_path), exit_code=1)
    finally:
        connection.close()
    assert done.stderr.count("This run is not recorded") == 1
    assert "is held by" in done.stderr


def test_a_build_is_recorded_node_by_node(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """Models with their relations; tests with severity, failures and the model they are about."""
    warehouse = make_warehouse("duckdb")
    (tmp_path / "clicks.csv").write_bytes(CLICKS)
    warehouse.adx_here("run", "--stream", "clicks", str(tmp_path))
    load, build = runs(warehouse)
    assert load["run_id"] == build["run_id"]
    assert (build["command"], build["outcome"]) == ("build", "succeeded")
    nodes = {row["node_id"]: row for row in warehouse.rows("select * from monitoring.node_results")}
    assert {row["run_id"] for row in nodes.values()} == {build["run_id"]}
    clicks = nodes["model.advertisex.fct_clicks"]
    assert (clicks["kind"], clicks["status"], clicks["model"]) == ("model", "success", "fct_clicks")
    assert str(clicks["relation"]).replace('"', "").endswith("marts.fct_clicks")
    test = nodes["test.advertisex.accepted_are_events_and_extra_copies"]
    assert (test["status"], test["severity"], test["failures"]) == ("pass", "error", 0)
    columns = [
        row for row in nodes.values() if row["model"] == "fct_clicks" and row["kind"] == "test"
    ]
    assert columns
