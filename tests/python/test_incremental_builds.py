"""Incremental builds leave what one build of everything leaves, whatever came and when.

Semantics section 9, law 2. `ADX_LONG=1` (`make test-long`) runs a hundred histories on each engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import MakeWarehouse
from support import compare, histories, raw_tables
from support.histories import Build, Load
from support.warehouses import ENGINES, ROOT, Warehouse

LONG = os.environ.get("ADX_LONG") == "1"
FIRST = int(os.environ.get("ADX_FIRST_SEED", "1"))
SEEDS = range(FIRST, FIRST + (int(os.environ.get("ADX_HISTORIES", "100")) if LONG else 3))
MODELS = [path.stem for path in sorted(Path(ROOT / "models").rglob("*.sql"))]


@pytest.fixture(scope="module")
def engines(make_warehouse: MakeWarehouse) -> dict[str, Warehouse]:
    """A warehouse on each engine for all tests here, so that dbt parses the project once."""
    made = {}
    for engine in os.environ.get("ADX_ENGINES", " ".join(ENGINES)).split():
        made[engine] = make_warehouse(engine)
        made[engine].dbt("seed")
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_any_history_equals_one_full_refresh(
    engine: str, seed: int, engines: Mapping[str, Warehouse]
) -> None:
    """Random batches and orders, loads that stop, replays, builds between, builds that die."""
    if engine not in engines:
        pytest.skip("not asked for")
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
