"""`adx rejects`: what was rejected and why, and judging it again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from advertisex import console, progress
from advertisex.command import command, escaped
from ingestion.errors import WrongUsage
from ingestion.warehouse import Warehouse

if TYPE_CHECKING:
    from ingestion.pipelines.rejects import ReplayReport


@click.command()
@click.option("--stream", help="Only rejects of this stream.")
@click.option("--reason", help="Only for this reason, e.g. missing:user_id, or its kind, missing.")
@click.option("--file", "path", help="Only of this file, or of the files in this folder.")
@click.option(
    "--limit",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="How many samples to show of each stream and reason.",
)
@click.option("--replay", is_flag=True, help="Judge them again and load those that pass now.")
@click.option("--contract", help="With --replay: a feed's own layout, as for load.")
@command
def rejects(
    warehouse: Warehouse,
    stream: str | None,
    reason: str | None,
    path: str | None,
    limit: int,
    replay: bool,
    contract: str | None,
    as_json: bool,
) -> None:
    """List rejected records by reason, with samples; with --replay load those that pass now."""
    from advertisex.plan import check_loaded
    from ingestion.pipelines import rejects as rejected

    if contract is not None and not replay:
        raise WrongUsage("--contract goes with --replay")
    check_loaded(warehouse)
    which = rejected.Filter(stream, reason, path)
    if not replay:
        groups = rejected.listed(warehouse, which, limit)
        if as_json:
            console.as_json({"rejects": groups})
        else:
            _show(groups)
        return
    with progress.loading(as_json=as_json) as listener:
        report = rejected.replay(warehouse, which, contract=contract, progress=listener)
    if as_json:
        console.as_json(
            {
                "load_id": report.load_id,
                "replayed": console.by_reason(report.replayed),
                "added": report.added,
                "rejected": console.by_reason(report.rejected),
                "changed": report.changed,
                "left": [dataclasses.asdict(left) for left in report.left],
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        _show_replay(report)


def _show(groups: list[dict[str, Any]]) -> None:
    """A row a stream and reason, then the samples of each: where, what, and how the text begins."""
    console.rows("Rejected", [{key: row[key] for key in row if key != "samples"} for row in groups])
    for group in groups:
        if group["samples"]:
            console.out.print(f"[bold]{group['stream']}: {escaped(group['reason'])}[/]")
        for sample in group["samples"]:
            _line(f"  {_place(sample)}  {sample['detail'] or ''}".rstrip())
            _line(f"    {sample['text'] or ''}", style="dim")
    if groups:
        console.out.print()
        console.out.print(
            "When a contract or a file is mended, `adx rejects --replay` loads what passes then."
        )
    else:
        console.out.print("No record is rejected.")


def _place(sample: dict[str, Any]) -> str:
    name = console.file(sample["file"])
    line = f" line {sample['line']:,}," if sample["line"] is not None else ""
    return f"{name}{line} record {sample['position']:,}"


def _line(text: str, style: str | None = None) -> None:
    """A text of any origin as one line, cut at the terminal's edge."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    console.out.print(escaped(plain), style=style, no_wrap=True, overflow="ellipsis")


def _show_replay(report: ReplayReport) -> None:
    console.rows("Accepted now, by former reason", console.by_reason(report.replayed))
    console.rows("Still rejected", console.by_reason(report.rejected))
    for left in report.left:
        console.out.print(
            f"Not replayed: {left.records:,} of {escaped(console.file(left.file))}:"
            f" {escaped(left.message)}"
        )
    added = f" (and {report.added:,} that came to light with them)" if report.added else ""
    console.out.print(
        f"Replayed {report.replayed.total():,} records{added},"
        f" {report.rejected.total():,} are still rejected,"
        f" {sum(left.records for left in report.left):,} could not be judged again;"
        + (f" load {report.load_id}" if report.load_id else " nothing is changed")
    )
