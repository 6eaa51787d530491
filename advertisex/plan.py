"""What a build has to do, found out in a moment and without dbt, which takes seconds to import."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ingestion.errors import UserError
from ingestion.warehouse import PROJECT, RAW, Warehouse, rows
from monitoring import packages

_LOADS = "stg_ingestion__loads"
_NO_BUILD = "there is no complete build yet"
_LOCK = 7_239_116_041  # PostgreSQL advisory lock: one build at a time in a database
# What the numbers and their tests depend on beside the raw tables.
_SOURCES = (
    "dbt_project.yml",
    "models/**/*",
    "macros/**/*",
    "seeds/*",
    "tests/*.sql",
    "tests/generic/*",
)


@dataclass(frozen=True)
class Plan:
    """What there is to do: `loads` are those since the last complete build.

    `everything` says why all has to be built, None when a build can continue the last one;
    `is_changed` tells that the last build was of other project files, with other packages, or by
    dbt alone, `is_untested` that it was made without tests or that some failed.
    """

    loads: int
    everything: str | None
    is_changed: bool
    is_untested: bool

    @property
    def nothing_new(self) -> bool:
        return not (self.everything or self.loads or self.is_changed or self.is_untested)

    def __str__(self) -> str:
        if self.everything:
            return f"everything, as {self.everything}"
        if self.loads:
            return f"{self.loads:,} load{'s' if self.loads > 1 else ''} since the last build"
        if self.is_changed:
            return "no new loads, but the project, its packages or who built last are others"
        return "nothing new, but the tests have not passed" if self.is_untested else "nothing new"


def check_loaded(warehouse: Warehouse) -> None:
    """Raise UserError unless the raw schema is there to build from."""
    if not warehouse.has("loaded_files"):
        raise UserError(f"nothing is loaded into {warehouse} yet; run `adx load PATH` first")


def plan_build(warehouse: Warehouse, *, tests: bool = True) -> Plan:
    """What a build of all models has to do now. Raises UserError when the warehouse is busy."""
    if not warehouse.has(_LOADS, schema="staging"):
        return Plan(0, _NO_BUILD, False, False)
    (last,) = warehouse.query(
        f"""
        select
            count(case when is_built then 1 end) as built,
            count(case when is_built and not is_tested then 1 end) as untested,
            count(case when is_built and project <> '{digest()}' then 1 end) as changed
        from staging.{_LOADS}
        """
    )
    (raw,) = warehouse.query(
        f"select count(distinct load_id) as loads from {RAW}._dlt_loads where status = 0"
    )
    return Plan(
        loads=raw["loads"] - last["built"],
        everything=_everything(warehouse) if last["built"] else _NO_BUILD,
        is_changed=last["changed"] > 0,
        is_untested=tests and last["untested"] > 0,
    )


def _everything(warehouse: Warehouse) -> str | None:
    """Why a build cannot continue the last one: the macros `is_gone` and `is_rewritten`."""
    built = f"select load_id from staging.{_LOADS} where is_built"
    finished = f"select load_id from {RAW}._dlt_loads where status = 0"
    if warehouse.query(f"{built} and load_id not in ({finished}) limit 1"):
        return "loads that the last build took in are no longer there"
    if warehouse.has("rewrites") and warehouse.query(
        f"select 1 from {RAW}.rewrites where load_id not in ({built}) limit 1"
    ):
        return "records of earlier loads were rewritten since the last build"
    return None


def digest() -> str:
    """A fingerprint of the project's files, and of the packages that watch with it."""
    state = hashlib.sha256((packages.said() if packages.installed() else "").encode())
    for path in sorted({found for pattern in _SOURCES for found in PROJECT.glob(pattern)}):
        if path.is_file():
            state.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()


@contextmanager
def one_at_a_time(warehouse: Warehouse, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep other builds out: a second one says `waiting` and waits for the first to end.

    DuckDB's file lock keeps the second one out by itself, which then says who holds it.
    """
    if warehouse.path is not None:
        yield
        return
    with warehouse.connect() as connection:
        connection.autocommit = True
        if not rows(connection, "select pg_try_advisory_lock(?)", [_LOCK])[0][0]:
            waiting()
            rows(connection, "select pg_advisory_lock(?)", [_LOCK])
        yield
