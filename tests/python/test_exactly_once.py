"""Exactly once, for any death: kill -9 anywhere, run again, and nothing is lost or doubled.

Real `adx load` processes on DuckDB and PostgreSQL. What a killed load and the next one leave is
compared with what an undisturbed load leaves: all columns but the ids and times of loads.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import random
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import landing
from conftest import MakeWarehouse
from ingestion.pipelines import raw
from landing import avro_file
from support.processes import Running
from support.warehouses import (
    ENGINES,
    ROOT,
    PostgresServer,
    Warehouse,
    postgres_warehouse,
)

KILLS = 200 if landing.LONG else 4  # of each engine, at random moments
TABLES = tuple(raw.tables())
_OF_A_LOAD = ("_dlt_load_id", "load_id", "_loaded_at", "loaded_at")

# --- logs, and what becomes of them --------------------------------------------------------------

BID = {
    "type": "record",
    "name": "Bid",
    "fields": [{"name": "ts", "type": "long"}, {"name": "auction_id", "type": "string"}],
}


def make_logs(folder: Path, rows: int) -> Path:
    """Files of every format and of several streams, with faults, one of them compressed."""
    clicks = b"timestamp,user_id,ad_campaign_id,other\n" + b"".join(
        b"2024-06-09T12:34:56Z,u%d,k%d,%d\n" % (row, row % 7, row % 3) for row in range(rows)
    )
    impressions = b"".join(
        b'{"timestamp":"2024-06-09T12:34:56.%06dZ","user_id":"u%d","ad_creative_id":"c1",'
        b'"website":"https://a.example/%d","price_cpm":1.%d}\n' % (row, row, row, row % 9)
        for row in range(rows)
    )
    bids = [
        [{"ts": 1717936496 + row, "auction_id": f"a{start}-{row}"} for row in range(100)]
        for start in range(max(1, rows // 1000))
    ]
    files = {
        "clicks/a.csv": clicks + b"x\n" + b"yesterday,u,k,\n",
        "clicks/b.csv": clicks.replace(b",u", b",v") + b"2024-06-09T12:34:56Z,,k,1\n",
        "impressions/a.json": impressions + b"{\n",
        "impressions/b.json.gz": gzip.compress(impressions.replace(b'"u', b'"w'))[:-40],
        "interactions/a.csv": b"ts,user_id,campaign_id,event_type,value\n1717936496,u,k,click,\n"
        b"1717936496,u,k,sale,2.5\n1717936496,u,k,sale,x\n1,2\n",
        "bid_requests/a.avro": avro_file(BID, bids, "deflate")[:-7],
        "campaigns/a.csv": b"campaign_id,updated_at,rate\nk1,1717936496,1.5\nk2,never,1\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@dataclass(frozen=True)
class Raw:
    """The rows of each raw table as often as they are there, and how many loads dlt knows."""

    rows: dict[str, Counter[tuple[Any, ...]]]
    loads: int

    @property
    def empty(self) -> bool:
        return not any(self.rows.values()) and not self.loads


def read(warehouse: Warehouse) -> Raw:
    """The raw schema; tables that are not there count as empty."""
    if warehouse.engine == "duckdb" and not Path(warehouse.env["ADX_DUCKDB_PATH"]).exists():
        return Raw({}, 0)
    with contextlib.closing(warehouse.connect()) as connection:
        cursor = connection.cursor()

        def run(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        there = {
            name
            for (name,) in run(
                "select table_name from information_schema.tables where table_schema = 'raw'"
            )
        }
        found = {}
        for table in TABLES:
            names = [name for name in raw.tables()[table].names if name not in _OF_A_LOAD]
            columns = ", ".join(f'"{name}"' for name in names)
            found[table] = Counter(
                run(f"select {columns} from raw.{table}") if table in there else ()
            )
        loads = (
            run("select count(*) from raw._dlt_loads where status = 0")[0][0]
            if ("_dlt_loads" in there)
            else 0
        )
        return Raw(found, loads)


def differences(undisturbed: Raw, found: Raw) -> list[str]:
    wrong = []
    for table, rows in undisturbed.rows.items():
        lost, more = rows - found.rows[table], found.rows[table] - rows
        if lost or more:
            wrong.append(
                f"{table}: {lost.total()} lost, {more.total()} too many of {rows.total()};"
                f" {list(lost)[:2]} {list(more)[:2]}"
            )
    return wrong


# --- processes -----------------------------------------------------------------------------------


def load(warehouse: Warehouse, logs: Path) -> str:
    """A load that must succeed; what it says."""
    return warehouse.adx_here("load", str(logs)).output


def stopping(
    warehouse: Warehouse,
    point: tuple[str, str, int],
    marker: Path,
    logs: Path,
    seconds: str = "wait",
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start a load that stops at the point."""
    target, when, count = point
    stop = (target, when, str(count), str(marker), seconds, "--", "load", str(logs))
    return warehouse.start(*stop, module="support.stop_at", environment=environment)


def killed_at(
    warehouse: Warehouse,
    logs: Path,
    point: tuple[str, str, int],
    scratch: Path,
    seconds: str = "wait",
) -> bool:
    """Start a load and kill it at the point; False when it does not come there."""
    marker = scratch / f"marker-{time.monotonic_ns()}"
    running = stopping(warehouse, point, marker, logs, seconds)
    patience = time.monotonic() + 120
    while running.poll() is None and not marker.exists():
        assert time.monotonic() < patience
        time.sleep(0.02)
    if seconds == "wait":
        running.kill()
    out, err = running.communicate(timeout=300)
    assert marker.exists() or running.returncode == 0, f"{out[-3000:]}\n{err[-3000:]}"
    return marker.exists() and running.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_logs(tmp_path_factory.mktemp("logs") / "landing", 3_000)


Undisturbed = Callable[[str, Path], Raw]


@pytest.fixture(scope="module")
def undisturbed(make_warehouse: MakeWarehouse) -> Undisturbed:
    """What a load into an empty warehouse leaves, by engine and logs."""

    @functools.cache
    def of(engine: str, logs: Path) -> Raw:
        warehouse = make_warehouse(engine)
        load(warehouse, logs)
        found = read(warehouse)
        assert found.loads == 1
        assert found.rows["clicks"].total() > 1_000
        assert found.rows["rejected_records"].total() > 5
        return found

    return of


# --- killed at a point ---------------------------------------------------------------------------

_WRITERS = "ingestion.pipelines.writers"
_JUDGE = "ingestion.pipelines.judge:Judge"
_DLT = "dlt.destinations.job_client_impl:SqlJobClientBase"
_SQL = {
    "duckdb": "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient.execute_query",
    "postgres": "dlt.destinations.impl.postgres.sql_client:Psycopg2SqlClient.execute_query",
}
_WRITER = {"duckdb": f"{_WRITERS}:_DuckDB", "postgres": f"{_WRITERS}:_Postgres"}
_INSERT = {"duckdb": "_insert", "postgres": "write"}


def points(engine: str) -> dict[str, tuple[str, str, int]]:
    writer = _WRITER[engine]
    return {
        "before dlt": ("ingestion.pipelines.schema:_synchronise", "before", 1),
        "before DDL": (f"{_DLT}._execute_schema_update_sql", "before", 1),
        **{f"DDL, statement {n}": (_SQL[engine], "after", n) for n in (2, 4, 5, 6)},
        "before dlt's schema is stored": (f"{_DLT}._update_schema_in_storage", "before", 1),
        "after DDL": (f"{_DLT}._execute_schema_update_sql", "after", 1),
        "after dlt": ("ingestion.pipelines.schema:_synchronise", "after", 1),
        "reading": ("ingestion.readers.csv_reader:_CsvReader.batch", "before", 2),
        "typing": ("ingestion.plain:Plain.typed", "after", 1),
        "judging": (f"{_JUDGE}._judge", "after", 1),
        "before rows": (f"{writer}.{_INSERT[engine]}", "before", 1),
        "between rows": (f"{writer}.{_INSERT[engine]}", "after", 3),
        "before dlt's note": (f"{_WRITERS}:record_load", "before", 1),
        "before the commit": (f"{writer}.commit", "before", 1),
        "after the commit": (f"{writer}.commit", "after", 1),
        "before the end": ("ingestion.pipelines.files:load_files", "after", 1),
    }


POINTS = [
    pytest.param(engine, point, id=f"{engine} {name}")
    for engine in ENGINES
    for name, point in points(engine).items()
]


@pytest.mark.parametrize(("engine", "point"), POINTS)
def test_killed_at_a_point(
    engine: str,
    point: tuple[str, str, int],
    make_warehouse: MakeWarehouse,
    undisturbed: Undisturbed,
    logs: Path,
    tmp_path: Path,
) -> None:
    warehouse = make_warehouse(engine)
    if not killed_at(warehouse, logs, point, tmp_path):
        pytest.skip("this load does not come there")
    left = read(warehouse)
    assert left.empty or not differences(undisturbed(engine, logs), left), "half a load shows"
    load(warehouse, logs)
    found = read(warehouse)
    assert not differences(undisturbed(engine, logs), found)
    assert found.loads == 1


GROWN = "  experiment: {type: string}\n"


_POINTS_OF_GROWTH = ("before DDL", "DDL, statement 5", "before dlt's schema is stored",
          "after DDL", "between rows", "before the commit")  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (engine, name)
        for number, engine in enumerate(ENGINES)
        for name in (_POINTS_OF_GROWTH if landing.LONG else _POINTS_OF_GROWTH[number::2])
    ],
)
def test_killed_in_a_load_after_the_contract_grew(
    engine: str, name: str, make_warehouse: MakeWarehouse, logs: Path, tmp_path: Path
) -> None:
    """A copy of the project whose clicks have a field more, on a warehouse that lacks it."""
    warehouse = make_warehouse(engine)
    load(warehouse, logs / "campaigns")
    project = tmp_path / "grown"
    for part in ("ingestion", "advertisex"):
        shutil.copytree(ROOT / part, project / part)
    contract = project / "ingestion" / "contracts" / "clicks.yml"
    contract.write_text(contract.read_text() + GROWN)
    (logs.parent / "grown" / "clicks").mkdir(parents=True, exist_ok=True)
    more = logs.parent / "grown"
    (more / "clicks" / "g.csv").write_bytes(
        b"timestamp,user_id,ad_campaign_id,experiment\n1717936496,u,k,e1\n1717936496,v,k,\n"
    )
    paths = {"PYTHONPATH": f"{project}{os.pathsep}{ROOT / 'tests' / 'python'}"}
    marker = tmp_path / "marker"
    killed = stopping(warehouse, points(engine)[name], marker, more, environment=paths)
    while killed.poll() is None and not marker.exists():
        time.sleep(0.02)
    killed.kill()
    said = killed.communicate()
    if not marker.exists():
        assert killed.returncode == 0, said
        pytest.skip("this load does not come there")
    again = warehouse.start("load", str(more), environment=paths)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, out + err
    rows = warehouse.rows("select user_id, experiment from raw.clicks order by user_id")
    assert rows == [
        {"user_id": "u", "experiment": "e1"},
        {"user_id": "v", "experiment": None},
    ]
    assert read(warehouse).loads == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_in_the_commit_and_in_the_end(
    engine: str,
    make_warehouse: MakeWarehouse,
    undisturbed: Undisturbed,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    """Some milliseconds into the commit, and into what DuckDB does when it is closed."""
    rows = 60_000 if landing.LONG else 20_000
    logs = make_logs(tmp_path_factory.mktemp("many") / "landing", rows)
    dice = random.Random(5)
    whens = [(f"{_WRITER[engine]}.commit", "before"), (f"{_WRITER[engine]}.commit", "after")]
    for number in range(40 if landing.LONG else 2):
        warehouse = make_warehouse(engine)
        target, when = whens[number % 2]
        seconds = dice.uniform(0, 0.3 if when == "before" else 0.05)
        killed_at(warehouse, logs, (target, when, 1), tmp_path, str(seconds))
        left = read(warehouse)
        assert left.empty or not differences(undisturbed(engine, logs), left), "half a load shows"
        load(warehouse, logs)
        found = read(warehouse)
        assert not differences(undisturbed(engine, logs), found)
        assert found.loads == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_random_moments(
    engine: str, make_warehouse: MakeWarehouse, undisturbed: Undisturbed, logs: Path
) -> None:
    """Up to four deaths, then a run that is left alone; the temporary folder kept or wiped."""
    dice = random.Random(11)
    began = time.monotonic()
    expected = undisturbed(engine, logs)
    whole = time.monotonic() - began
    kills = 0
    while kills < KILLS:
        warehouse = make_warehouse(engine)
        temporary = warehouse.folder / "temporary"
        for _ in range(dice.randint(1, 4)):
            temporary.mkdir(exist_ok=True)
            running = warehouse.start("load", str(logs), environment={"TMPDIR": str(temporary)})
            time.sleep(dice.uniform(0.2, 1) * whole)
            running.kill()
            running.communicate()
            kills += 1
            left = read(warehouse)
            assert left.empty or not differences(expected, left), "half a load shows"
            if dice.random() < 0.5:
                shutil.rmtree(temporary)
        load(warehouse, logs)
        found = read(warehouse)
        assert not differences(expected, found), f"after {kills} kills"
        assert found.loads == 1


# --- two at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_two_loads_at_once(
    engine: str,
    make_warehouse: MakeWarehouse,
    undisturbed: Undisturbed,
    logs: Path,
    tmp_path: Path,
) -> None:
    """One holds the warehouse from its first look at it: the other waits or says who does."""
    names = ("before dlt", "before the commit", "after dlt", "reading")
    for name in names if landing.LONG else names[:2]:
        warehouse = make_warehouse(engine)
        marker = tmp_path / name.replace(" ", "_")
        first = stopping(warehouse, points(engine)[name], marker, logs)
        while first.poll() is None and not marker.exists():
            time.sleep(0.02)
        second = warehouse.start("load", str(logs))
        out, err = second.communicate(timeout=120)
        first.kill()
        first.communicate()
        assert second.returncode == 1, name
        assert "Traceback" not in out + err
        assert f"process {first.pid}" in " ".join(err.split()), err
        if engine == "postgres":
            for word in ("user postgres", "client", "since 20", "UTC"):
                assert word in " ".join(err.split()), err
        load(warehouse, logs)  # at once: what a killed client held goes by itself
        assert not differences(undisturbed(engine, logs), read(warehouse))


@pytest.mark.parametrize("engine", ENGINES)
def test_many_loads_at_once(
    engine: str, make_warehouse: MakeWarehouse, undisturbed: Undisturbed, logs: Path
) -> None:
    warehouse = make_warehouse(engine)
    running = [warehouse.start("load", str(logs)) for _ in range(3)]
    said = [each.communicate(timeout=300) for each in running]
    codes = [each.returncode for each in running]
    assert set(codes) <= {0, 1}, said
    assert 0 in codes, said
    found = read(warehouse)
    assert not differences(undisturbed(engine, logs), found)
    assert found.loads == 1


# --- what else befalls a load --------------------------------------------------------------------


@contextlib.contextmanager
def stopped_load(warehouse: Warehouse, logs: Path, name: str, marker: Path) -> Iterator[Any]:
    """A load that waits at a point, and goes on when the marker is taken away."""
    running = stopping(warehouse, points(warehouse.engine)[name], marker, logs)
    while running.poll() is None and not marker.exists():
        time.sleep(0.02)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("name", ["before dlt", "reading", "between rows", "before the commit"])
def test_a_postgres_connection_that_is_ended(
    name: str,
    make_warehouse: MakeWarehouse,
    undisturbed: Undisturbed,
    logs: Path,
    tmp_path: Path,
) -> None:
    """`pg_terminate_backend` on all that a load has open: it fails and says so."""
    warehouse = make_warehouse("postgres")
    marker = tmp_path / "marker"
    with stopped_load(warehouse, logs, name, marker) as running:
        warehouse.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        marker.unlink()
        out, err = running.communicate(timeout=120)
    assert running.returncode == 1, out + err
    assert "Traceback" not in out + err
    assert "Error:" in err
    assert read(warehouse).empty
    load(warehouse, logs)
    assert not differences(undisturbed("postgres", logs), read(warehouse))


def test_a_postgres_that_is_killed_and_started_again(
    undisturbed: Undisturbed, logs: Path, tmp_path: Path
) -> None:
    server = PostgresServer()
    try:
        for name in ("before dlt", "between rows", "before the commit", "after the commit"):
            warehouse = postgres_warehouse(server, tmp_path)
            marker = tmp_path / name.replace(" ", "_")
            with stopped_load(warehouse, logs, name, marker) as running:
                pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
                os.kill(pid, signal.SIGQUIT)  # as after a crash: no checkpoint, recovery next
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.05)
                marker.unlink()
                out, err = running.communicate(timeout=120)
            assert "Traceback" not in out + err
            if name != "after the commit":
                assert running.returncode == 1, out + err
            server.start_again()
            left = read(warehouse)
            assert left.empty or not differences(undisturbed("postgres", logs), left)
            load(warehouse, logs)
            assert not differences(undisturbed("postgres", logs), read(warehouse))
    finally:
        server.stop()


def test_a_duckdb_file_that_may_not_grow(
    make_warehouse: MakeWarehouse, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Where a quota ends: said, nothing shows; all is there when the limit has gone."""
    logs = make_logs(tmp_path / "landing", 60_000)
    expected = undisturbed("duckdb", logs)
    for limit in (
        (100_000, 1_000_000, 3_000_000, 6_000_000) if landing.LONG else (100_000, 3_000_000)
    ):
        warehouse = make_warehouse("duckdb")
        limited = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        running = warehouse.start("load", str(logs), before=limited)
        out, err = running.communicate(timeout=300)
        assert running.returncode in (0, 1), (limit, out, err)
        assert "Traceback" not in out + err
        left = read(warehouse)
        assert left.empty or not differences(expected, left), limit
        load(warehouse, logs)
        assert not differences(expected, read(warehouse)), limit
