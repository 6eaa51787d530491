"""`adx backfill`, and the fields that no contract names, which it moves once one does."""

from __future__ import annotations

from typing import Any

import click

from advertisex import console
from advertisex.command import command, escaped
from ingestion.warehouse import Warehouse

_SHOWN_FIELDS = 20


@click.command()
@click.option("--stream", help="Only in this stream.")
@click.option("--field", "name", help="Only this field.")
@command
def backfill(warehouse: Warehouse, stream: str | None, name: str | None, as_json: bool) -> None:
    """Move fields that a contract names now out of `extra` into their columns."""
    from advertisex.plan import check_loaded
    from ingestion.pipelines import backfill as filling

    check_loaded(warehouse)
    report = filling.backfill(warehouse, stream=stream, name=name)
    filled = [
        {"stream": stream, "field": field, "records": count}
        for (stream, field), count in sorted(report.filled.items())
    ]
    if as_json:
        console.as_json(
            {
                "filled": filled,
                "refused": console.by_reason(report.refused),
                "identities": dict(+report.identities),
                "changed": report.changed,
                "seconds": round(report.seconds, 3),
            }
        )
        return
    console.rows("Filled", filled)
    console.rows("Refused, kept in extra", console.by_reason(report.refused))
    console.out.print(
        f"Filled {report.filled.total():,} values, refused {report.refused.total():,}"
        f" in {report.seconds:.1f} s; "
        + ("`adx build` builds everything anew" if report.changed else "nothing is changed")
    )


def show_unknown(unknown: list[dict[str, Any]]) -> None:
    """Fields that are new since the last load are named, all of them; of the others a few."""
    new = [row for row in unknown if row["is_new"]]
    old = [row for row in unknown if not row["is_new"]]
    console.rows("New fields that no contract names, kept in extra", map(_seen, new))
    console.rows("Other fields that no contract names", map(_seen, old[:_SHOWN_FIELDS]))
    if len(old) > _SHOWN_FIELDS:
        others = len(old) - _SHOWN_FIELDS
        console.out.print(f"… and {others:,} others: `adx status --json` lists them")
        console.out.print()
    named = ", ".join(f"{row['stream']}.{row['field']}" for row in unknown if row["is_named"])
    if named:
        console.out.print(
            f"Named by their contract now: {escaped(named)}; `adx backfill` moves them."
        )


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("stream", "field", "records", "since_load", "since")}


def show_new(unknown: list[dict[str, Any]]) -> None:
    """A line for each field that the last load brought first."""
    for row in unknown:
        if row["is_new"]:
            console.out.print(
                f"[yellow]New field:[/] {row['stream']}.{escaped(row['field'])} in"
                f" {row['records']:,} records since load {row['since_load']}; no contract"
                " names it, it is kept in extra"
            )
