"""Fixtures for all tests: a real PostgreSQL, and fresh warehouses on both engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring import packages
from reference.funnel import Seeds
from support.warehouses import (
    ENGINES,
    PostgresServer,
    Warehouse,
    duckdb_warehouse,
    postgres_warehouse,
    read_seeds,
)

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
# Whether this user has installed Elementary must not change the other tests, nor their time.
os.environ.setdefault("ADX_TEST_DBT_PACKAGES", str(packages.installed() or ""))
os.environ[packages.VARIABLE] = ""

MakeWarehouse = Callable[[str], Warehouse]

# The files that take longest come first: one that began last would run on alone.
LONGEST = (
    "test_exactly_once",
    "test_builds",
    "test_storage",
    "test_planted_faults",
    "test_elementary",
    "test_incremental_builds",
    "test_funnel_reference",
    "test_replay",
    "test_worked_example",
    "test_drift",
    "test_conservation",
    "test_end_to_end",
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as tests also wait for servers and for processes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by the time they take; within a file nothing moves."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the session, stopped at its end."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def make_warehouse(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MakeWarehouse:
    """Make an empty warehouse on the engine that is named; it lives until the session ends.

    The PostgreSQL starts with the first warehouse that needs it.
    """

    def make(engine: str) -> Warehouse:
        folder = tmp_path_factory.mktemp(f"warehouse_{engine}")
        if engine == "duckdb":
            return duckdb_warehouse(folder)
        return postgres_warehouse(request.getfixturevalue("postgres_server"), folder)

    return make


@pytest.fixture(scope="session")
def with_packages(make_warehouse: MakeWarehouse) -> MakeWarehouse:
    """Make a warehouse whose `adx` finds Elementary's dbt packages, where they are installed."""
    folder = os.environ["ADX_TEST_DBT_PACKAGES"]
    if not folder:
        pytest.skip("Elementary's dbt packages are not installed: run `adx packages`")

    def make(engine: str) -> Warehouse:
        warehouse = make_warehouse(engine)
        return replace(warehouse, env={**warehouse.env, packages.VARIABLE: folder})

    return make


@pytest.fixture(params=ENGINES)
def warehouse(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Warehouse:
    """An empty warehouse for this test alone, on each engine."""
    return make_warehouse(request.param)


@pytest.fixture(scope="session")
def seeds() -> Seeds:
    """The project's seeds."""
    return read_seeds()


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An empty landing folder."""
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder
