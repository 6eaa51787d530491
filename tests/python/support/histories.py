"""Random histories of a warehouse: the same rows in several loads, with builds between them.

A history ends with a build that must leave what one build of everything leaves (semantics section
9, law 2). On its way loads come in any order, events are sent again, loads stop half way and leave
rows behind, rejected records are replayed, and builds die.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from reference.funnel import EVENT_STREAMS, REFERENCE_STREAMS, Row, Rows
from support import raw_tables
from support.random_raw import TYPES, random_raw
from support.warehouses import Warehouse

STREAMS = (*EVENT_STREAMS, *REFERENCE_STREAMS)
FIRST_LOAD = datetime(2024, 3, 1, 5)
# What a died build stops before: any model, with all that follows it.
MODELS_PER_DEATH = 2


@dataclass
class Load:
    """What one load brings, and which rejected records it takes away again."""

    load_id: str
    rows: dict[str, Rows] = field(default_factory=lambda: {name: [] for name in STREAMS})
    rejected: Rows = field(default_factory=list)
    replayed: Rows = field(default_factory=list)
    finished: bool = True


@dataclass(frozen=True)
class Build:
    """One build: `full` for a full refresh; it dies before these models and all that follow."""

    full: bool = False
    dies_before: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """Loads and builds, in order."""

    steps: tuple[Load | Build, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"load {step.load_id}: "
            + ", ".join(f"{len(rows)} {name}" for name, rows in step.rows.items() if rows)
            + ("" if step.finished else " (unfinished)")
            if isinstance(step, Load)
            else str(step)
            for step in self.steps
        )


def random_history(seed: int, models: Sequence[str], events: int = 150) -> History:
    """A history of 2 to 6 loads; the seed decides everything."""
    maker = random.Random(f"history {seed}")
    raw = random_raw(seed, events, TYPES)
    loads = [Load(f"17100{number:05}.{seed}") for number in range(maker.randrange(2, 7))]
    order = maker.choice(("any", "any", "time", "reverse", "stream"))
    times = sorted(
        row[_time(stream)] for stream in STREAMS for row in raw[stream] if row[_time(stream)]
    )
    for stream in STREAMS:
        for row in raw[stream]:
            number = _place(order, maker, row[_time(stream)], times, stream, len(loads))
            _bring(loads[number], stream, row, number)
            while maker.random() < 0.05:  # sent again, with the same load or another
                again = maker.randrange(len(loads))
                _bring(loads[again], stream, row, again)
    for row in raw["rejected_records"]:
        number = maker.randrange(len(loads))
        loaded = {"_loaded_at": _loaded_at(number), "_dlt_load_id": loads[number].load_id}
        loads[number].rejected.append(row | loaded)
        if number + 1 < len(loads) and maker.random() < 0.3:
            loads[maker.randrange(number + 1, len(loads))].replayed.append(row)
    steps: list[Load | Build] = []
    for number, load in enumerate(loads):
        if number and maker.random() < 0.3:
            steps.append(_unfinished(maker, load))
            steps += _builds(maker, models, sure=True)
        steps.append(load)
        if number == 0:
            steps.append(Build(full=True, dies_before=_death(maker, models, 0.3)))
        if number + 1 < len(loads):
            steps += _builds(maker, models, sure=False)
    return History((*steps, Build()))


def _time(stream: str) -> str:
    return "updated_at" if stream in REFERENCE_STREAMS else "timestamp"


def _loaded_at(number: int) -> datetime:
    """Some loads share a date."""
    return FIRST_LOAD + timedelta(hours=17 * number)


def _place(
    order: str, maker: random.Random, at: datetime, times: Rows, stream: str, loads: int
) -> int:
    """The number of the load that brings a row: some rows come late in every order."""
    if order == "any" or maker.random() < 0.1:
        return maker.randrange(loads)
    if order == "stream":
        return STREAMS.index(stream) * loads // len(STREAMS)
    place = times.index(at) * loads // len(times)  # type: ignore[arg-type]
    return place if order == "time" else loads - 1 - place


def _bring(load: Load, stream: str, row: Row, number: int) -> None:
    lineage = {
        "_loaded_at": _loaded_at(number),
        "_dlt_load_id": load.load_id,
        "_position": len(load.rows[stream]) + 1,
    }
    load.rows[stream].append(row | lineage)


def _unfinished(maker: random.Random, load: Load) -> Load:
    """What a load has written when it dies; the next load wipes it and brings it all."""
    dead = Load(f"{load.load_id}dead", finished=False)
    for stream, rows in load.rows.items():
        dead.rows[stream] = [
            row | {"_dlt_load_id": dead.load_id} for row in rows if maker.random() < 0.7
        ]
    dead.rejected = [row | {"_dlt_load_id": dead.load_id} for row in load.rejected]
    return dead


def _builds(maker: random.Random, models: Sequence[str], *, sure: bool) -> list[Load | Build]:
    """Builds between two loads: none, one, one that dies, or both."""
    builds: list[Load | Build] = []
    if maker.random() < 0.35:
        dies_before = _death(maker, models, 1)
        builds.append(Build(full=maker.random() < 0.15, dies_before=dies_before))
    if maker.random() < 0.5 or (sure and not builds):
        builds.append(Build())
    maker.shuffle(builds)
    return builds


def _death(maker: random.Random, models: Sequence[str], chance: float) -> tuple[str, ...]:
    """Where a build dies, if it does."""
    if maker.random() >= chance:
        return ()
    return tuple(maker.sample(sorted(models), maker.randrange(1, MODELS_PER_DEATH + 1)))


def apply(warehouse: Warehouse, load: Load) -> None:
    """Write what the load leaves in the raw schema."""
    finished = "select load_id from raw._dlt_loads"
    for stream in STREAMS:
        warehouse.execute(f"delete from raw.{stream} where _dlt_load_id not in ({finished})")
        if load.rows[stream]:
            raw_tables.append(warehouse, stream, load.rows[stream])
    warehouse.execute(f"delete from raw.rejected_records where _dlt_load_id not in ({finished})")
    for row in load.replayed:
        warehouse.execute(
            f"delete from raw.rejected_records where stream = '{row['stream']}'"
            f" and position = {row['position']}"
        )
    if load.rejected:
        raw_tables.append(warehouse, "rejected_records", load.rejected)
    if load.finished:
        raw_tables.finish(warehouse, [load.load_id])


def run(warehouse: Warehouse, build: Build) -> None:
    """One build, of the models alone: the seeds are there and the data is not tested."""
    arguments = ["--no-write-json", "run"]
    if build.full:
        arguments.append("--full-refresh")
    if build.dies_before:
        arguments += ["--exclude", *(f"{model}+" for model in build.dies_before)]
    warehouse.dbt(*arguments, manifest=manifest(warehouse))


@cache
def manifest(warehouse: Warehouse) -> Any:
    """The project, parsed once for many builds."""
    return warehouse.dbt("parse")
