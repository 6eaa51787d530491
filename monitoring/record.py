"""What happened: a row for each load and build, and dbt's result for each node.

A step is written as `running` before its work and ended after it, each in a short transaction of
its own: the work holds DuckDB's file for itself. A step whose process is gone without having ended
it has `died`, which the next command that records or judges finds out (and takes for its end).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import psutil
import psycopg2

from ingestion import clock
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import Warehouse, rows
from monitoring.logs import events
from monitoring.tables import SCHEMA, insert, transaction, upsert

if TYPE_CHECKING:
    from advertisex.dbt import BuildReport
    from ingestion.pipelines.files import LoadReport

Command = Literal["load", "build"]
_LOG = logging.getLogger(__name__)
_LOCKS = 7_239_117  # PostgreSQL advisory locks: one for each step that runs
_OTHER_HOST = dt.timedelta(minutes=10)
_KEPT = dt.timedelta(days=90)
# The latest result of each node; what no build ran for a week before the latest of all is no more.
LATEST_RESULTS = f"""
    select *
    from (
        select
            results.*,
            row_number() over (partition by node_id order by ended_at desc, run_id) as age,
            max(ended_at) over () as newest
        from {SCHEMA}.node_results as results
    ) as aged
    where age = 1 and ended_at >= newest - interval '7 days'
"""
_NODE = {"id": "node_id"}
_PROBLEMS = (UserError, duckdb.Error, psycopg2.Error)


@dataclass
class Step:
    """A load or a build under way; what it came to is filled in while it runs."""

    run_id: str
    command: Command
    started_at: dt.datetime
    error: str | None = None
    load: LoadReport | None = None
    build: BuildReport | None = None
    is_void: bool = False  # the command was called in a wrong way: nothing happened
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def new_run() -> str:
    """An id for one command; its load and its build share it. In order of time."""
    return f"{clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


@contextlib.contextmanager
def step(warehouse: Warehouse, run_id: str, command: Command) -> Iterator[Step]:
    """Record a step: set `load` or `build`, and `error` when it failed without an exception.

    What cannot be recorded is said in one line and never ends the step.
    """
    found = Step(run_id, command, clock.now())
    with found._stack, events.of_run(run_id):
        events.log(command, status="started", warehouse=str(warehouse))
        begun = _attempt(lambda: _begin(warehouse, found))
        try:
            yield found
        except BaseException as error:
            found.is_void = isinstance(error, WrongUsage)
            found.error = str(error).strip() or type(error).__name__
            raise
        finally:
            _attempt(lambda: _end(warehouse, found), said=not begun)
            events.ended(found, (clock.now() - found.started_at).total_seconds())


def bury(warehouse: Warehouse) -> None:
    """Mark what runs no more as died. Raises UserError when the warehouse is not to be had."""
    with transaction(warehouse) as connection:
        _bury(warehouse, connection)


def _attempt(write: Callable[[], None], *, said: bool = False) -> bool:
    try:
        write()
    except _PROBLEMS as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if not said:
            _LOG.warning("This run is not recorded: %s", lines[0])
        return False
    return True


def _begin(warehouse: Warehouse, found: Step) -> None:
    if found.command == "build" and not warehouse.exists():
        return
    if warehouse.path is None:
        # The lock goes with the process, from whatever host it came.
        held = found._stack.enter_context(warehouse.connect())
        held.autocommit = True
        rows(
            held,
            "select pg_advisory_lock(?, hashtext(?))",
            [_LOCKS, _lock_name(found.run_id, found.command)],
        )
    with transaction(warehouse) as connection:
        _bury(warehouse, connection)
        _write(connection, found, "running", {})


def _end(warehouse: Warehouse, found: Step) -> None:
    if not warehouse.exists():
        return
    now = clock.now()
    came_to: dict[str, object] = {
        "ended_at": now,
        "seconds": (now - found.started_at).total_seconds(),
        "error": found.error,
    }
    if found.load is not None:
        rejected = found.load.rejected.total()
        came_to |= {
            "load_id": found.load.load_id,
            "records_read": found.load.read,
            "accepted": found.load.read - rejected,
            "rejected": rejected,
        }
    with transaction(warehouse) as connection:
        if found.is_void:
            rows(connection, f"delete from {SCHEMA}.runs where run_id = ?", [found.run_id])
            return
        _write(connection, found, "failed" if found.error else "succeeded", came_to)
        if found.build is not None and found.build.nodes:
            nodes = [asdict(node) for node in found.build.nodes]
            insert(
                connection,
                "node_results",
                ["run_id", "ended_at", *(_NODE.get(name, name) for name in nodes[0])],
                [(found.run_id, now, *node.values()) for node in nodes],
            )
        rows(connection, f"delete from {SCHEMA}.node_results where ended_at < ?", [now - _KEPT])


def _write(connection: Any, found: Step, outcome: str, came_to: dict[str, object]) -> None:
    values: dict[str, object] = {
        "run_id": found.run_id,
        "command": found.command,
        "started_at": found.started_at,
        "outcome": outcome,
        "process": _this_process(),
        **came_to,
    }
    upsert(connection, "runs", ("run_id", "command"), values)


def _bury(warehouse: Warehouse, connection: Any) -> None:
    running = rows(
        connection,
        f"select run_id, command, started_at, process from {SCHEMA}.runs where outcome = 'running'",
    )
    for run_id, command, started_at, process in running:
        if warehouse.path is None:
            name = _lock_name(run_id, command)
            free = "select pg_try_advisory_xact_lock(?, hashtext(?))"
            gone = bool(rows(connection, free, [_LOCKS, name])[0][0])
        else:
            gone = _is_gone(process, started_at)
        if gone:
            rows(
                connection,
                f"update {SCHEMA}.runs set outcome = 'died', ended_at = ?,"
                " error = 'its process ended without a word: killed, or out of memory'"
                " where run_id = ? and command = ?",
                [clock.now(), run_id, command],
            )


def _lock_name(run_id: str, command: str) -> str:
    return f"{run_id} {command}"


def _this_process() -> str:
    began = psutil.Process().create_time()
    return f"{socket.gethostname()} {os.getpid()} {began:.2f}"


def _is_gone(process: str, started_at: dt.datetime) -> bool:
    """Whether a step on a DuckDB file, which we have for ourselves now, runs no more.

    A process of this host is known by its id and its start. One of another host (or of a container
    that is no more) would hold the file, but for its first moments.
    """
    host, pid, began = process.rsplit(" ", 2)
    if host != socket.gethostname():
        return clock.now() - started_at > _OTHER_HOST
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(began)) > 1
    except psutil.NoSuchProcess:
        return True
