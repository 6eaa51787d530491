"""What people read: tables, numbers and errors on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from ingestion.storage import is_url

# A file or a pipe has no width of its own, and what reads it wants whole lines.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table whose numbers stand to the right; columns that no row fills are left out."""
    found = [list(row) for row in rows]
    filled = [
        index for index in range(len(columns)) if any(row[index] not in (None, "") for row in found)
    ]
    shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index in filled:
        numeric = all(_is_number(row[index]) for row in found)
        shown.add_column(
            columns[index],
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
            header_style="dim",
        )
    for row in found:
        shown.add_row(*(text(row[index]) for index in filled))
    out.print(shown)
    out.print()


def rows(title: str, found: Iterable[Mapping[str, object]]) -> None:
    """A table of rows by the names of their columns; nothing when there is none."""
    listed = list(found)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    if listed:
        names = [column.replace("_", " ") for column in columns]
        table(title, names, [[row.get(column) for column in columns] for row in listed])


def by_reason(counts: Mapping[tuple[str, str], int]) -> list[dict[str, object]]:
    """Counts by stream and reason as rows."""
    return [
        {"stream": stream, "reason": reason, "records": count}
        for (stream, reason), count in sorted(counts.items())
    ]


def file(name: str) -> str:
    """A file's name in the warehouse as seen from here."""
    return name if is_url(name) else os.path.relpath(name)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return not value or value.endswith("%")
    return isinstance(value, int | float | Decimal | None)


def text(value: object) -> str:
    """A value as people write it: 1,234 · 0.0123 · 2024-06-09 12:34 · nothing for none."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case Decimal():
            return f"{value:,.2f}"
        case float():
            return f"{value:,.2f}"
        case dt.datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)


def percent(part: float | None) -> str:
    """A ratio as a percentage, empty for none."""
    return "" if part is None else f"{100 * part:.2f} %"


def as_json(value: Any) -> None:
    """One JSON document on standard output, for machines."""
    print(json.dumps(value, default=_plain, indent=2))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return str(value)
