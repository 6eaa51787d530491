"""A load's progress: a bar on a terminal, elsewhere a line a file, with `--json` as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from advertisex import console
from ingestion.pipelines.progress import Progress, Step
from monitoring.logs import events

_REDRAW = 0.1  # seconds
_PLAIN = re.compile(r"[^\s\"=]+")


@contextmanager
def loading(*, as_json: bool, lines: bool = True) -> Iterator[Progress]:
    """A listener that shows a load's progress on standard error, and logs each file read.

    Without `lines` there is only the bar of a terminal.
    """
    with _shown(as_json=as_json, lines=lines) as show:

        def listen(step: Step) -> None:
            if step.status == "read":  # what became of the others is logged when the load ends
                events.log("file", **_said(step))
            show(step)

        yield listen


@contextmanager
def _shown(*, as_json: bool, lines: bool) -> Iterator[Progress]:
    if as_json or not console.err.is_terminal:
        write = _json_line if as_json else _line

        def say(step: Step) -> None:
            if lines and step.status != "reading":
                sys.stderr.write(write(_said(step)) + "\n")

        yield say
        return
    columns = (
        TextColumn("{task.fields[name]}", style="dim"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files  {task.fields[rates]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task("", name="starting", rates="", total=None)
        drawn = 0.0

        def draw(step: Step) -> None:
            nonlocal drawn
            if step.all_seconds - drawn < _REDRAW and step.files_done < step.files:
                return
            drawn = step.all_seconds
            bar.update(
                task,
                name=Path(step.file).name,
                completed=step.files_done,
                total=step.files,
                rates=rates(step),
            )

        yield draw


def rates(step: Step) -> str:
    """Megabytes (10^6) and records a second over the load so far."""
    seconds = max(step.all_seconds, 1e-6)
    size, records = step.all_bytes / seconds, step.all_records / seconds
    return f"{size / 1e6:,.1f} MB/s  {records:,.0f} records/s"


def _said(step: Step) -> dict[str, Any]:
    seconds = max(step.seconds, 1e-6)
    return {
        "file": step.file,
        "stream": step.stream,
        "status": step.status,
        "bytes": step.bytes,
        "records": step.records,
        "seconds": round(step.seconds, 3),
        "bytes_per_second": round(step.bytes / seconds),
        "records_per_second": round(step.records / seconds),
        "files_done": step.files_done,
        "files": step.files,
    }


def _json_line(values: dict[str, Any]) -> str:
    return json.dumps({"event": "file", **values})


def _line(values: dict[str, Any]) -> str:
    """`key=value key=value`, quoted as JSON where a value is no plain word."""
    return " ".join(
        f"{key}={value if _PLAIN.fullmatch(str(value)) else json.dumps(str(value))}"
        for key, value in values.items()
        if value is not None
    )
