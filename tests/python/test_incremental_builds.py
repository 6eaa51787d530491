"""Incremental builds leave what one build of everything leaves, whatever came and when.

Semantics section 9, law 2. `ADX_LONG=1` (`make test-long`) runs a hundred histories on each engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from advertisex.plan import plan_build
from conftest import MakeWarehouse
from ingestion.warehouse import from_environment
from landing import LONG
from support import compare, histories, raw_tables
from support.histories import Build, Load
from support.warehouses import ENGINES, ROOT, Warehouse, environment

TESTED = os.environ.get("ADX_ENGINES", " ".join(ENGINES)).split()
FIRST = int(os.environ.get("ADX_FIRST_SEED", "1"))
SEEDS = range(FIRST, FIRST + (int(os.environ.get("ADX_HISTORIES", "100")) if LONG else 1))
MODELS = [path.stem for path in sorted(Path(ROOT / "models").rglob("*.sql"))]


@pytest.fixture(scope="module")
def engines(make_warehouse: MakeWarehouse) -> dict[str, Warehouse]:
    """A warehouse on each engine for all tests here, so that dbt parses the project once."""
    made = {}
    for engine in TESTED:
        made[engine] = make_warehouse(engine)
        made[engine].dbt("seed")
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("engine", TESTED)
def test_any_history_equals_one_full_refresh(
    engine: str, seed: int, engines: Mapping[str, Warehouse]
) -> None:
    """Random batches and orders, loads that stop, replays, builds between, builds that die."""
    warehouse = engines[engine]
    history = histories.random_history(seed, MODELS)
    raw_tables.write(warehouse, raw_tables.empty())
    for step in history.steps:
        if isinstance(step, Load):
            histories.apply(warehouse, step)
        else:
            histories.run(warehouse, step)
    built = compare.read_marts(warehouse)
    histories.run(warehouse, Build(full=True))
    found = compare.marts_differences(built, compare.read_marts(warehouse))
    assert not found, f"{history}\n" + "\n".join(found)


@pytest.mark.parametrize("engine", TESTED if LONG else TESTED[-1:])
def test_rewritten_records_are_built_anew(engine: str, engines: Mapping[str, Warehouse]) -> None:
    """A back-fill changes records of earlier loads: the next build is one of everything."""
    warehouse = engines[engine]
    raw_tables.write(warehouse, raw_tables.empty())
    for step in histories.random_history(1, MODELS).steps:
        if isinstance(step, Load) and step.finished:
            histories.apply(warehouse, step)
    histories.run(warehouse, Build(full=True))
    before = compare.read_marts(warehouse)
    warehouse.execute("update raw.clicks set user_id = 'u1', website = 'news.example'")
    warehouse.execute("insert into raw.rewrites values ('clicks', 1, '1720000000.5', null)")
    raw_tables.finish(warehouse, ["1720000000.5"])
    assert planned(warehouse).startswith("everything, as records")
    histories.run(warehouse, Build())
    after = compare.read_marts(warehouse)
    assert compare.marts_differences(after, before)
    assert "everything" not in planned(warehouse)
    histories.run(warehouse, Build(full=True))
    found = compare.marts_differences(after, compare.read_marts(warehouse))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("engine", TESTED if LONG else TESTED[:1])
def test_replaced_raw_tables_are_built_anew(engine: str, engines: Mapping[str, Warehouse]) -> None:
    """The raw tables dropped and loaded anew, as many loads as before: nothing is left of those."""
    warehouse = engines[engine]
    for seed in (1, 2):
        raw_tables.write(warehouse, raw_tables.empty())
        loads = [step for step in histories.random_history(seed, MODELS).steps
                 if isinstance(step, Load) and step.finished]  # fmt: skip
        for load in loads[:2]:
            histories.apply(warehouse, load)
        if seed == 2:
            assert planned(warehouse).startswith("everything, as loads")
        histories.run(warehouse, Build(full=seed == 1))
    built = compare.read_marts(warehouse)
    assert "everything" not in planned(warehouse)
    histories.run(warehouse, Build(full=True))
    found = compare.marts_differences(built, compare.read_marts(warehouse))
    assert not found, "\n".join(found)


def planned(warehouse: Warehouse) -> str:
    """What `adx build` would say."""
    with environment(warehouse.env):
        return str(plan_build(from_environment(), tests=False))
