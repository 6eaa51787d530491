"""`adx build`: it plans first, is right after it was killed, and does not run twice at once."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from advertisex.plan import _LOCK
from conftest import MakeWarehouse
from landing import LONG
from reference.funnel import Rows
from support import compare, histories, raw_tables
from support.histories import Build, Load
from support.processes import Running
from support.warehouses import ENGINES, ROOT, Warehouse, copied_project

STEPS = len(list((ROOT / "models").rglob("*.sql")))
KILLS = 12 if LONG else 1  # after each load


def history(seed: int) -> list[Load]:
    """Loads alone."""
    steps = histories.random_history(seed, ("none", "at_all")).steps
    return [step for step in steps if isinstance(step, Load)]


def begun(warehouse: Warehouse, loads: list[Load]) -> None:
    """The loads in fresh raw tables."""
    raw_tables.write(warehouse, raw_tables.empty())
    for load in loads:
        histories.apply(warehouse, load)


@contextmanager
def building(warehouse: Warehouse, *options: str) -> Iterator[Running]:
    """`adx build` in a process of its own, which is gone at the end."""
    process = warehouse.start("build", "--no-tests", *options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_step(warehouse: Warehouse, process: Running, step: int) -> None:
    """Until so many models have begun, whose SQL dbt then writes, or the build has ended."""
    while process.poll() is None:
        if len(list((warehouse.folder / "target" / "run").rglob("*.sql"))) >= step:
            return
        time.sleep(0.02)


def full_refresh(warehouse: Warehouse) -> dict[str, Rows]:
    """What a build of everything leaves."""
    warehouse.adx_here("build", "--full-refresh", "--no-tests")
    return compare.read_marts(warehouse)


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[1:])
def test_nothing_new_ends_without_dbt(make_warehouse: MakeWarehouse, engine: str) -> None:
    """With nothing new a build ends without dbt, which alone takes seconds to import."""
    warehouse = make_warehouse(engine)
    loads = history(1)
    begun(warehouse, loads[:-1])
    assert "everything" in warehouse.adx_here("build", "--no-tests").stdout
    assert "nothing new" in warehouse.adx_here("build", "--no-tests").stdout
    code = (
        "import sys; from advertisex.cli import main\n"
        "try: main(['build', '--no-tests'])\n"
        "except SystemExit: print('dbt' in sys.modules, 'dlt' in sys.modules)"
    )
    imported = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **warehouse.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stdout.splitlines()[-1] == "False False"
    histories.apply(warehouse, loads[-1])
    assert "1 load since the last build" in warehouse.adx_here("build", "--no-tests").stdout


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1])
def test_a_killed_build_is_done_again(make_warehouse: MakeWarehouse, engine: str) -> None:
    """Killed at any moment, also while everything is built anew: the next build is right."""
    warehouse = make_warehouse(engine)
    loads = history(2)[: None if LONG else 2]
    dice = random.Random(f"kill {warehouse.engine}")
    begun(warehouse, loads[:1])
    for load in loads[1:]:
        for _ in range(KILLS):
            options = ("--full-refresh",) if dice.random() < 0.3 else ()
            shutil.rmtree(warehouse.folder / "target" / "run", ignore_errors=True)
            with building(warehouse, *options) as process:
                wait_for_step(warehouse, process, dice.randrange(1, STEPS))
                time.sleep(dice.uniform(0, 0.1))
                process.kill()
                assert process.wait() < 0
        histories.apply(warehouse, load)
    warehouse.adx_here("build", "--no-tests")
    found = compare.marts_differences(compare.read_marts(warehouse), full_refresh(warehouse))
    assert not found, "\n".join(found)


def test_a_second_build_waits_or_says_so(warehouse: Warehouse) -> None:
    """One build at a time: on PostgreSQL the second waits, on DuckDB it says who holds the file."""
    begun(warehouse, history(3)[:1])
    with busy(warehouse), building(warehouse) as second:
        if warehouse.engine == "duckdb":
            assert second.wait() == 1
            assert "is held by" in second.err.replace("\n", " ")
        else:
            while "waiting for it to end." not in second.err.replace("\n", " "):
                assert second.poll() is None, second.err
                time.sleep(0.02)
    assert "Built" in warehouse.adx_here("build", "--no-tests").stdout


@contextmanager
def busy(warehouse: Warehouse) -> Iterator[None]:
    """Hold what a build holds while it runs, from a process that is surely not done yet."""
    held = "connect('{}')".format(warehouse.env.get("ADX_DUCKDB_PATH"))
    if warehouse.engine == "postgres":
        connection = warehouse.connect()
        connection.cursor().execute(f"select pg_advisory_lock({_LOCK})")
        try:
            yield
        finally:
            connection.close()
        return
    code = f"import duckdb; c = duckdb.{held}; print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield
    finally:
        holder.communicate("\n")


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1])
def test_changed_vars_need_a_full_refresh(make_warehouse: MakeWarehouse, engine: str) -> None:
    """Section 9, law 2: the build says so and changes nothing, until everything is built anew."""
    warehouse = make_warehouse(engine)
    loads = history(4)
    begun(warehouse, loads[:-1])
    warehouse.dbt("seed")
    histories.run(warehouse, Build(full=True))
    before = compare.read_marts(warehouse)
    histories.apply(warehouse, loads[-1])
    changed = {"click_flood_clicks": 2}
    with pytest.raises(AssertionError, match="full refresh"):
        warehouse.dbt("run", variables=changed)
    assert compare.read_marts(warehouse) == before
    warehouse.dbt("run", "--full-refresh", variables=changed)
    warehouse.dbt("run", variables=changed)
    with pytest.raises(AssertionError, match="full refresh"):
        warehouse.dbt("run")


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[1:])
def test_changed_seeds_need_a_full_refresh(
    make_warehouse: MakeWarehouse, tmp_path: Path, engine: str
) -> None:
    """The build that refuses leaves the seeds as they were: what follows builds with those."""
    warehouse = make_warehouse(engine)
    project = copied_project(tmp_path)
    seed = project / "seeds" / "conversion_types.csv"
    before = seed.read_text()
    build = ("build", "--exclude-resource-type", "unit_test", "test")
    loads = history(5)
    begun(warehouse, loads[:-1])
    warehouse.dbt(*build, project=project)
    histories.apply(warehouse, loads[-1])
    held = warehouse.rows("select * from seeds.conversion_types order by 1")
    seed.write_text(re.sub(r",[0-9.]+,", ",77,", before))
    assert seed.read_text() != before
    with pytest.raises(AssertionError, match="full refresh"):
        warehouse.dbt(*build, project=project)
    assert warehouse.rows("select * from seeds.conversion_types order by 1") == held
    seed.write_text(before)
    warehouse.dbt(*build, project=project)
    found = compare.marts_differences(compare.read_marts(warehouse), full_refresh(warehouse))
    assert not found, "\n".join(found)


def test_duckdb_s_memory_is_bounded(make_warehouse: MakeWarehouse) -> None:
    """By a variable, which is named when it is no amount of memory."""
    warehouse = make_warehouse("duckdb")
    bounded = replace(warehouse, env={**warehouse.env, "ADX_DUCKDB_MEMORY": "2GiB"})
    limit = "select current_setting('memory_limit') as memory_limit"
    (shown,) = bounded.dbt("show", "--inline", limit).results
    assert shown.agate_table.columns["memory_limit"].values() == ("2.0 GiB",)
    begun(warehouse, history(1)[:1])
    wrong = replace(warehouse, env={**warehouse.env, "ADX_DUCKDB_MEMORY": "lots"})
    said = wrong.adx_here("build", "--no-tests", exit_code=1).stderr
    assert "ADX_DUCKDB_MEMORY is 'lots'" in said


def test_settings_name_every_var() -> None:
    """The fingerprint of the settings holds every var of the project but Elementary's."""
    import yaml

    variables = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    macro = Path(ROOT / "macros" / "builds" / "settings.sql").read_text()
    elementary = {
        "days_back",
        "anomaly_sensitivity",
        "ignore_small_changes",
        "test_sample_row_count",
    }
    assert {name for name in variables if f"'{name}'" not in macro} == elementary
