"""The log: one JSON event a line, in the file that ADX_LOG_FILE names; without it there is none.

Each line has `time` (UTC), `level`, `event` and, within a load or build, its `run_id`; the rest is
the event's own. Nothing is logged that `redaction` does not let through.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
from collections.abc import Iterator
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.errors import UserError

if TYPE_CHECKING:
    from advertisex.dbt import BuildReport
    from ingestion.pipelines.files import LoadReport
    from monitoring.alerts import Told
    from monitoring.record import Step

VARIABLE = "ADX_LOG_FILE"
_ROOMS = ("advertisex", "ingestion", "monitoring")
_LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
_LOG = logging.getLogger(__name__)
_RUN: contextvars.ContextVar[str | None] = contextvars.ContextVar("run_id", default=None)


def configure() -> None:
    """Begin to log where ADX_LOG_FILE says. Raises UserError when that cannot be written."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    try:
        # Goes on in a new file when a rotation has moved the old one away.
        handler = WatchedFileHandler(Path(path), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the log {path}: {error.strerror or error}; mend or unset {VARIABLE}"
        ) from None
    from monitoring.logs.line import Line

    handler.setFormatter(Line())
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    for room in _ROOMS:  # their warnings are for people too
        logging.getLogger(room).addHandler(handler)
        logging.getLogger(room).addHandler(logging.lastResort or logging.NullHandler())


def log(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """One event; fields that are None are left out."""
    if _LOG.handlers:
        _LOG.log(level, event, extra={"event": event, "run_id": _RUN.get(), **fields})


@contextlib.contextmanager
def of_run(run_id: str) -> Iterator[None]:
    """What is logged meanwhile bears the id of this load or build."""
    token = _RUN.set(run_id)
    try:
        yield
    finally:
        _RUN.reset(token)


def ended(step: Step, seconds: float) -> None:
    """A load or build is over: an event for each of its files or nodes, and one for itself."""
    if step.load is not None:
        _loaded(step.load)
    if step.build is not None:
        _built(step.build)
    counts: dict[str, object] = {}
    if step.load is not None:
        rejected = step.load.rejected.total()
        counts = {
            "load_id": step.load.load_id,
            "files": len(step.load.files),
            "records_read": step.load.read,
            "accepted": step.load.read - rejected,
            "rejected": rejected,
        }
    log(
        step.command,
        level=logging.ERROR if step.error else logging.INFO,
        status="failed" if step.error else "succeeded",
        **counts,
        seconds=round(seconds, 3),
        error=step.error,
    )


def judged(told: Told) -> None:
    """An event an alert that is new or over, one a judgement that could not be made, and one a
    channel that did not take its messages."""
    for status, alerts in (("fired", told.fired), ("resolved", told.resolved)):
        for alert in alerts:
            log(
                "alert",
                level=_LEVELS[alert.severity] if status == "fired" else logging.INFO,
                status=status,
                key=alert.key,
                kind=alert.kind,
                severity=alert.severity,
                stream=alert.stream,
                campaigns=list(alert.campaigns) or None,
                since=f"{alert.since.isoformat()}Z",
                summary=alert.summary,
            )
    for kinds, problem in told.problems.items():
        log("judgement", level=logging.WARNING, status="failed", kinds=kinds, error=problem)
    for channel, problem in told.failures.items():
        log("delivery", level=logging.ERROR, status="failed", channel=channel, error=problem)


def _loaded(report: LoadReport) -> None:
    for file in report.files:
        log(
            "file",
            level=logging.ERROR if file.status == "failed" else logging.INFO,
            stream=file.stream,
            file=str(file.path),
            status=file.status,
            records_read=file.read,
            accepted=file.accepted,
            rejected=file.read - file.accepted,
            rejected_by_reason=file.rejected or None,
            seconds=round(file.seconds, 3),
            error=file.message or None,
        )


def _built(report: BuildReport) -> None:
    for node in report.nodes:
        usual = logging.WARNING if node.status == "warn" else logging.INFO
        log(
            "node",
            level=logging.ERROR if node.failed else usual,
            node=node.name,
            kind=node.kind,
            model=node.model,
            status=node.status,
            failures=node.failures,
            seconds=round(node.seconds, 3),
            error=node.message if node.failed or node.status == "warn" else None,
        )
