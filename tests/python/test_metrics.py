"""`adx watch`: what it shows is what the warehouse holds, and it is in nobody's way.

And what the Grafana dashboard asks of it is there.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from conftest import MakeWarehouse
from ingestion.pipelines.files import load_files
from ingestion.warehouse import from_environment
from monitoring import measures
from monitoring.exporter import Exporter
from monitoring.grafana import dashboard
from support import prometheus
from support.prometheus import Prometheus, get, metrics, until, watching
from support.servers import free_port, running
from support.warehouses import ENGINES, ROOT, Warehouse, environment

CLICKS = "timestamp,user_id,ad_campaign_id\n"
DOCUMENT = ROOT / "docs" / "monitoring.md"


def clicks(folder: Path, name: str, good: int, *bad: str) -> Path:
    """A file of clicks: good records of a user of the file's name, and bad lines."""
    path = folder / "clicks" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"2024-06-09T12:{minute:02}:00Z,{name},cmp-1" for minute in range(good)]
    path.write_text(CLICKS + "\n".join([*lines, *bad]) + "\n", encoding="utf-8")
    return path


def load(warehouse: Warehouse, path: Path) -> None:
    """What `adx load` does, without its start."""
    with environment(warehouse.env):
        (file,) = load_files([str(path)], from_environment()).files
    assert file.status == "loaded"


def shown(warehouse: Warehouse, *arguments: str, exit_code: int = 0) -> dict[str, float]:
    return metrics(warehouse.adx("watch", "--once", *arguments, exit_code=exit_code).stdout)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, make_warehouse: MakeWarehouse
) -> Mapping[str, Warehouse]:
    """Generated logs, loaded on each engine and built on one, whose tables the other has too."""
    out = tmp_path_factory.mktemp("generated") / "landing"
    found = {engine: make_warehouse(engine) for engine in ENGINES}
    found["duckdb"].adx("generate", str(out), "--events", "3000", "--days", "16", "--seed", "3")
    found["duckdb"].adx_here("run", str(out))
    found["postgres"].adx("load", str(out))
    found["postgres"].execute("drop schema monitoring cascade")
    copy(found["duckdb"], found["postgres"], "marts", "monitoring")
    return found


def copy(source: Warehouse, target: Warehouse, *schemas: str) -> None:
    """The tables of a DuckDB warehouse, in one on PostgreSQL."""
    for schema in schemas:
        target.execute(f"create schema {schema}")
    columns = source.rows(
        "select table_schema, table_name, column_name, data_type from information_schema.columns"
        f" where table_schema in {schemas} order by ordinal_position"
    )
    tables: dict[str, list[str]] = {}
    for row in columns:
        type_ = {"DOUBLE": "double precision", "HUGEINT": "numeric"}.get(
            row["data_type"], row["data_type"]
        )
        table = f"{row['table_schema']}.{row['table_name']}"
        tables.setdefault(table, []).append(f'"{row["column_name"]}" {type_}')
    for table, described in tables.items():
        target.execute(f"create table {table} ({', '.join(described)})")
        with contextlib.closing(source.connect()) as connection:
            data = connection.execute(f"select * from {table}").to_arrow_table()
        if data.num_rows:
            target.append(table, data)


@pytest.fixture(params=ENGINES)
def full(request: pytest.FixtureRequest, built: Mapping[str, Warehouse]) -> Warehouse:
    return built[request.param]


def test_records_are_those_of_the_tables(full: Warehouse) -> None:
    """By the stream of their file, and read = accepted + rejected in each."""
    found = shown(full)
    files = full.rows(
        "select stream, count(*) as files, sum(size) as size, sum(records_read) as records_read,"
        " sum(accepted) as accepted, sum(rejected) as rejected from raw.loaded_files group by 1"
    )
    assert {row["stream"] for row in files} >= {"impressions", "interactions", "bid_requests"}
    for row in files:
        label = f'{{stream="{row["stream"]}"}}'
        for metric, column in (
            ("loaded_files", "files"),
            ("loaded_bytes", "size"),
            ("records_read", "records_read"),
            ("records_accepted", "accepted"),
        ):
            assert found[f"advertisex_{metric}_total{label}"] == row[column], (metric, label)
        rejected = {
            reason: found[
                f'advertisex_records_rejected_total{{reason="{reason}",stream="{row["stream"]}"}}'
            ]
            for reason in measures.REASONS
        }
        assert sum(rejected.values()) == row["rejected"], row["stream"]
    for row in full.rows(
        "select split_part(reason, ':', 1) as reason, count(*) as n"
        " from raw.rejected_records group by 1"
    ):
        every = [
            value
            for name, value in found.items()
            if name.startswith(f'advertisex_records_rejected_total{{reason="{row["reason"]}"')
        ]
        assert sum(every) == row["n"], row["reason"]


def test_watermarks_are_those_of_the_tables(full: Warehouse) -> None:
    """In seconds since 1970, whatever the zone of the process; a mart's date is its midnight."""
    found = shown(full)
    for table, column, name in (
        ("raw.clicks", '"timestamp"', 'stream_last_event_timestamp_seconds{stream="clicks"}'),
        ("raw.campaigns", "updated_at", 'stream_last_event_timestamp_seconds{stream="campaigns"}'),
        ("raw.clicks", "_loaded_at", 'stream_last_load_timestamp_seconds{stream="clicks"}'),
        ("marts.fct_clicks", "event_at", 'mart_watermark_timestamp_seconds{mart="fct_clicks"}'),
        (
            "marts.fct_campaign_daily",
            "date",
            'mart_watermark_timestamp_seconds{mart="fct_campaign_daily"}',
        ),
    ):
        (row,) = full.rows(
            f"select extract(epoch from max({column})::timestamp) as seconds from {table}"
        )
        assert found[f"advertisex_{name}"] == pytest.approx(float(row["seconds"]), abs=1e-3), name
    marts = {row["table_name"] for row in full.rows(MARTS)}
    assert len(marts) == 12
    assert {
        mart
        for mart in marts
        if f'advertisex_mart_watermark_timestamp_seconds{{mart="{mart}"}}' in found
    } == marts


MARTS = (
    "select table_name from information_schema.tables"
    " where table_schema = 'marts' and table_name like 'fct_%'"
)


def test_the_funnel_is_that_of_the_marts(full: Warehouse) -> None:
    found = shown(full)
    (total,) = full.rows(
        "select sum(impressions) as valid, sum(invalid_impressions) as invalid,"
        " sum(spend) as spend from marts.fct_campaign_daily"
    )
    for validity in ("valid", "invalid"):
        name = f'advertisex_events{{stage="impressions",validity="{validity}"}}'
        assert found[name] == total[validity]
    assert found["advertisex_spend_usd"] == pytest.approx(float(total["spend"]))
    days = full.rows(
        "select campaign_id, clicks, spend from marts.fct_campaign_daily"
        " where date = (select max(date) from marts.fct_campaign_daily)"
    )
    for row in days:
        label = f'campaign_id="{row["campaign_id"]}"'
        assert found[f'advertisex_campaign_day_events{{{label},stage="clicks"}}'] == row["clicks"]
        spend = found[f"advertisex_campaign_day_spend_usd{{{label}}}"]
        assert spend == pytest.approx(float(row["spend"]))


def test_runs_and_tests_are_those_recorded(full: Warehouse) -> None:
    """What `monitoring.runs` and `monitoring.node_results` hold."""
    found = shown(full)
    for command in measures.COMMANDS:
        (run,) = full.rows(
            "select seconds, extract(epoch from ended_at) as ended from monitoring.runs"
            f" where command = '{command}'"
        )
        label = f'command="{command}"'
        assert found[f'advertisex_runs_total{{{label},outcome="succeeded"}}'] == 1
        assert found[f'advertisex_runs_total{{{label},outcome="died"}}'] == 0
        assert found[f"advertisex_run_failing{{{label}}}"] == 0
        assert found[f"advertisex_run_last_duration_seconds{{{label}}}"] == run["seconds"]
        ended = f'advertisex_run_last_end_timestamp_seconds{{{label},outcome="succeeded"}}'
        assert found[ended] == pytest.approx(float(run["ended"]))
        buckets = {
            float(limit): found[f'advertisex_run_duration_seconds_bucket{{{label},le="{limit}"}}']
            for limit in (*measures.DURATIONS, "+Inf")
        }
        assert buckets == {limit: float(run["seconds"] <= limit) for limit in buckets}
        assert found[f"advertisex_run_duration_seconds_sum{{{label}}}"] == run["seconds"]
    tests = full.rows(
        "select severity, status, count(*) as n from monitoring.node_results"
        " where kind = 'test' group by severity, status"
    )
    assert sum(row["n"] for row in tests) > 100
    for row in tests:
        label = f'severity="{row["severity"]}",status="{row["status"]}"'
        assert found[f"advertisex_tests{{{label}}}"] == row["n"]
    assert found['advertisex_tests{severity="error",status="fail"}'] == 0
    model = 'model="fct_campaign_daily"'
    assert found[f"advertisex_model_build_duration_seconds{{{model}}}"] > 0
    built_at = found[f"advertisex_model_last_build_timestamp_seconds{{{model}}}"]
    assert built_at == pytest.approx(time.time(), abs=600)


def test_the_latest_result_of_a_test_counts(make_warehouse: MakeWarehouse) -> None:
    """Whatever run it is of; a failed run is told from a good one; a test that went is gone."""
    warehouse = make_warehouse("duckdb")
    warehouse.execute("create schema monitoring")
    warehouse.execute(
        "create table monitoring.runs as select * from (values"
        " ('1', 'build', timestamp '2026-01-01', timestamp '2026-01-01 00:01', 'succeeded', 60.0),"
        " ('2', 'build', timestamp '2026-01-02', null, 'died', null),"
        " ('2', 'load', timestamp '2026-01-02', null, 'running', null))"
        " as t (run_id, command, started_at, ended_at, outcome, seconds)"
    )
    warehouse.execute(
        "create table monitoring.node_results as select * from (values"
        " ('1', 'gone', 'test', 'error', 'fail', timestamp '2025-12-01'),"
        " ('1', 'mended', 'test', 'error', 'fail', timestamp '2026-01-01'),"
        " ('2', 'mended', 'test', 'error', 'pass', timestamp '2026-01-02'),"
        " ('1', 'broken', 'test', 'error', 'runtime error', timestamp '2026-01-01'))"
        " as t (run_id, node_id, kind, severity, status, ended_at)"
    )
    warehouse.execute("alter table monitoring.node_results add column name text")
    warehouse.execute("alter table monitoring.node_results add column seconds double")
    found = shown(warehouse)
    tests = {name: value for name, value in found.items() if "_tests{" in name and value}
    assert tests == {
        'advertisex_tests{severity="error",status="pass"}': 1,
        'advertisex_tests{severity="error",status="error"}': 1,
    }
    assert found['advertisex_run_failing{command="build"}'] == 1
    assert found['advertisex_runs_total{command="build",outcome="died"}'] == 1
    since = 'advertisex_run_running_since_timestamp_seconds{command="load"}'
    assert found[since] == 1767312000


def test_many_campaigns_are_few_labels(make_warehouse: MakeWarehouse) -> None:
    """Those with most spend have a label, the others one together."""
    warehouse = make_warehouse("duckdb")
    warehouse.execute("create schema marts")
    warehouse.execute(
        "create table marts.fct_campaign_daily as select 'c' || range as campaign_id,"
        " date '2024-06-09' as date, range as spend, 2 * range as revenue, 1 as bid_requests,"
        " 1 as impressions, 1 as clicks, 1 as conversions, 0 as invalid_bid_requests,"
        " 0 as invalid_impressions, 0 as invalid_clicks, 0 as invalid_conversions from range(1000)"
    )
    found = shown(warehouse)
    spend = {name: value for name, value in found.items() if "campaign_day_spend" in name}
    assert len(spend) == measures.CAMPAIGNS + 1
    assert sum(spend.values()) == sum(range(1000))
    assert spend['advertisex_campaign_day_spend_usd{campaign_id="c999"}'] == 999
    clicks = 'advertisex_campaign_day_events{campaign_id="other",stage="clicks"}'
    assert found[clicks] == 1000 - measures.CAMPAIGNS


def test_names_keep_the_conventions(full: Warehouse) -> None:
    """As `promtool check metrics` knows them."""
    promtool = prometheus.program("promtool")
    text = full.adx("watch", "--once").stdout
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(metrics(text)) > 100


def test_counters_do_not_fall(make_warehouse: MakeWarehouse, landing: Path) -> None:
    """Rejects that are deleted do not look like a new start."""
    warehouse = make_warehouse("duckdb")
    load(warehouse, clicks(landing, "a", 3, "no time,u,c", "worse,u,c"))
    with environment(warehouse.env):
        exporter = Exporter(from_environment())

    def rejected() -> float:
        assert exporter.refresh() is None
        found = exporter.registry.get_sample_value(
            "advertisex_records_rejected_total", {"stream": "clicks", "reason": "bad_type"}
        )
        assert found is not None
        return found

    assert rejected() == 2
    warehouse.execute("delete from raw.rejected_records")
    assert rejected() == 2
    load(warehouse, clicks(landing, "b", 3, *["no time,u,c"] * 3))
    assert rejected() == 3
    warehouse.execute("delete from raw.loaded_files")
    warehouse.execute("delete from raw.rejected_records")
    assert rejected() == 0  # a new warehouse under the old name


@pytest.mark.parametrize("engine", ENGINES)
def test_a_replay_is_counted(make_warehouse: MakeWarehouse, landing: Path, engine: str) -> None:
    """read = accepted + rejected - replayed: a reject that was accepted after all is both."""
    warehouse = make_warehouse(engine)
    path = clicks(landing, "a", 3, "no time,u,c", "worse,u,c")
    load(warehouse, path)
    path.write_text(path.read_text().replace("no time", "2024-06-09T13:00:00Z"))
    warehouse.adx("rejects", "--replay")
    found = shown(warehouse)
    assert found['advertisex_records_read_total{stream="clicks"}'] == 5
    assert found['advertisex_records_accepted_total{stream="clicks"}'] == 4
    rejected = 'advertisex_records_rejected_total{reason="bad_type",stream="clicks"}'
    assert found[rejected] == 2
    assert found['advertisex_records_replayed_total{stream="clicks"}'] == 1


def test_a_warehouse_that_is_held_keeps_its_values(
    make_warehouse: MakeWarehouse, landing: Path
) -> None:
    """A scrape is answered at once, says that the values are old, and goes on when it may."""
    warehouse = make_warehouse("duckdb")
    load(warehouse, clicks(landing, "a", 3))
    accepted = 'advertisex_records_accepted_total{stream="clicks"}'
    with watching(warehouse, "--interval", "0.1") as port:

        def scraped() -> dict[str, float]:
            return metrics(get(f"http://127.0.0.1:{port}/metrics"))

        before = scraped()
        assert (before["advertisex_warehouse_up"], before[accepted]) == (1, 3)
        holder = warehouse.connect()
        try:
            holder.execute("create table held as select 1 as one")
            holder.execute("checkpoint")
            locked = until("word of the lock", lambda: not_up(scraped()))
            assert locked["advertisex_warehouse_locked"] == 1
            assert locked[accepted] == 3
            read_at = "advertisex_warehouse_last_read_timestamp_seconds"
            time.sleep(0.3)  # three intervals
            assert scraped()[read_at] == locked[read_at]
        finally:
            holder.close()
        until("the warehouse", lambda: scraped()["advertisex_warehouse_up"] == 1)
        load(warehouse, clicks(landing, "b", 4))
        until("the new records", lambda: scraped()[accepted] == 7)


def not_up(found: dict[str, float]) -> dict[str, float] | None:
    return found if found["advertisex_warehouse_up"] == 0 else None


def test_looking_keeps_no_load_from_its_work(make_warehouse: MakeWarehouse, landing: Path) -> None:
    """A file that is read over and over again is there for a load, which waits a moment."""
    warehouse = make_warehouse("duckdb")
    load(warehouse, clicks(landing, "first", 1))
    script = (
        "import sys, time, pathlib\n"
        "from ingestion.warehouse import Warehouse\n"
        "from monitoring.exporter import Exporter\n"
        "while not pathlib.Path(sys.argv[2]).exists():\n"
        "    print('looking', flush=True)\n"
        "    Exporter(Warehouse('duckdb', pathlib.Path(sys.argv[1]))).refresh()\n"
        "    time.sleep(0.05)\n"
    )
    stop = landing / "stop"
    looking = subprocess.Popen(
        [sys.executable, "-c", script, warehouse.env["ADX_DUCKDB_PATH"], str(stop)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert looking.stdout is not None
    assert looking.stdout.readline() == b"looking\n"
    try:
        for number in range(2):
            load(warehouse, clicks(landing, f"more{number}", 1))
    finally:
        stop.touch()
        looking.communicate(timeout=20)
    assert looking.returncode == 0
    (row,) = warehouse.rows("select count(*) as files from raw.loaded_files")
    assert row["files"] == 3


def test_once_prints_json(full: Warehouse) -> None:
    document = json.loads(full.adx("watch", "--once", "--json").stdout)
    found = shown(full)
    assert document["advertisex_warehouse_up"] == [{"labels": {}, "value": 1.0}]
    read = {
        row["labels"]["stream"]: row["value"] for row in document["advertisex_records_read_total"]
    }
    for stream, value in read.items():
        assert found[f'advertisex_records_read_total{{stream="{stream}"}}'] == value


def test_a_textfile_is_never_half(built: Mapping[str, Warehouse], tmp_path: Path) -> None:
    """Whoever reads it sees a whole one, and node_exporter's folder holds no other file."""
    warehouse = built["duckdb"]
    folder = tmp_path / "node"
    folder.mkdir()
    path = folder / "advertisex.prom"
    warehouse.adx("watch", "--once", "--textfile", str(path))
    whole = len(metrics(path.read_text()))
    counts: set[int] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            counts.add(len(metrics(path.read_text())))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for _ in range(3):
                warehouse.adx("watch", "--once", "--textfile", str(path))
        finally:
            done.set()
        reader.result()
    assert counts == {whole}
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert metrics(path.read_text())["advertisex_warehouse_up"] == 1
    failed = warehouse.adx(
        "watch", "--once", "--textfile", str(tmp_path / "none" / "a.prom"), exit_code=1
    )
    assert "a.prom" in failed.stderr and "No such file" in failed.stderr


def test_push_to_a_gateway(built: Mapping[str, Warehouse], tmp_path: Path) -> None:
    gateway = shutil.which("prometheus-pushgateway")
    if gateway is None:
        pytest.skip("prometheus-pushgateway is not installed (Debian has it)")
    port = free_port()
    command = [gateway, f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, port, tmp_path / "gateway.log"):
        built["duckdb"].adx("watch", "--once", "--push", f"http://127.0.0.1:{port}")
        text = get(f"http://127.0.0.1:{port}/metrics")
    assert re.search(r'^advertisex_warehouse_up\{.*job="advertisex"\} 1$', text, re.M)
    assert re.search(r'^advertisex_records_read_total\{.*stream="clicks"\} [1-9]', text, re.M)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("--push", "http://me:pa55word@127.0.0.1:9"), 1, "does not take the metrics"),
        (("--push", "gateway"), 1, "is no URL of a Pushgateway"),
        (("--push", "http://gateway", "--textfile", "a.prom"), 2, "not both"),
    ],
)
def test_errors_say_what_to_do(
    built: Mapping[str, Warehouse], arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    done = built["duckdb"].adx("watch", "--once", *arguments, exit_code=exit_code)
    assert words in done.stderr
    assert "pa55word" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_no_warehouse_is_said(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """In a file for node_exporter too, so that an alert can be raised of it."""
    path = tmp_path / "advertisex.prom"
    failed = make_warehouse("duckdb").adx("watch", "--once", "--textfile", str(path), exit_code=1)
    assert "there is no warehouse at" in failed.stderr
    assert metrics(path.read_text())["advertisex_warehouse_up"] == 0


def test_a_port_that_is_taken_is_said(make_warehouse: MakeWarehouse) -> None:
    warehouse = make_warehouse("duckdb")
    warehouse.execute("create table something as select 1 as one")
    with watching(warehouse) as port:
        failed = warehouse.adx("watch", "--port", str(port), exit_code=1)
    assert f"cannot listen on 127.0.0.1:{port}" in failed.stderr


def test_the_document_lists_the_metrics() -> None:
    """Each with its kind and labels, as it is exposed."""
    table = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(advertisex_\w+)` \| (\w+) \| (.*?) \|", table, re.MULTILINE)
    listed = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    exposed: dict[str, Any] = {
        f"{family.name}{'_total' if family.kind == 'counter' else ''}": (
            family.kind,
            list(family.labels),
        )
        for family in measures.families()
    }
    assert listed == exposed


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
    built: Mapping[str, Warehouse], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has seen a built warehouse, and a load into it with rejects."""
    folder = tmp_path_factory.mktemp("prometheus")
    copy = folder / "advertisex.duckdb"
    shutil.copyfile(built["duckdb"].env["ADX_DUCKDB_PATH"], copy)
    warehouse = Warehouse("duckdb", {**built["duckdb"].env, "ADX_DUCKDB_PATH": str(copy)}, folder)
    with (
        watching(warehouse, "--interval", "0.2") as port,
        prometheus.prometheus(folder, port) as server,
    ):
        until("a scrape", lambda: server.query("advertisex_records_read_total > 0"))
        load(warehouse, clicks(folder / "more", "more", 20, "no time,u,c"))
        read = 'stream:advertisex_records_read:increase1h{stream="clicks"} > 0'
        until("the second load", lambda: server.query(read))
        yield server


@pytest.mark.parametrize("query", QUERIES)
def test_each_panel_has_data(watched: Prometheus, query: str) -> None:
    found = watched.query(query)
    assert found, query
    assert all(sample["value"][1] not in ("NaN", "+Inf", "-Inf") for sample in found), found
